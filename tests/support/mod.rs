//! What the integration tests share.
#![allow(dead_code, reason = "every test binary compiles this module and uses its own part")]

pub mod cli;
pub mod compare;
pub mod dit;
pub mod fill;
pub mod golden;
pub mod kind;
pub mod second_stage;
pub mod step;
pub mod tensor;
