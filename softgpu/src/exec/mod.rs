//! Executing: parsed functions are lowered once to function pointers over register rows, then run a warp at a time.
//!
//! [`lower`] inlines calls and turns every instruction into an [`Inst`]; [`liveness`] gives registers rows that they share when
//! their lives do not overlap; [`block`] schedules warps and their groups of lanes; [`launch`] spreads blocks over threads.

pub mod block;
pub mod groups;
pub mod inst;
pub mod launch;
pub mod liveness;
pub mod lower;
pub mod program;
pub mod rng;
pub mod warp;
pub mod watch;

pub use inst::{ALWAYS, Class, Exec, Flow, Inst, Op, Row, pick};
pub use lower::{Lower, Width};
pub use warp::{LANES, Lane, Warp};
