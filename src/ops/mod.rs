//! Every operation, one file each: formula, forward, backward, CPU body, CUDA launch geometry and
//! the table of cases that tests, gradient checks and benchmarks run over.
//!
//! Adding one is a header in `kernels/`, a `.cu` beside it, a file here and a word in [`ops!`](crate::ops);
//! see `docs/adding-an-op.md`.

mod case;
mod channel_tile;
mod check;
mod grads;
mod matrix_tile;
mod part_sums;
pub mod position;
mod row_team;
mod rows;

pub use case::{Case, Input, Tolerance, Values};

use crate::device::KernelInfo;

/// One entry of the registry.
pub struct OpEntry {
    /// The op's (and its file's) name.
    pub name: &'static str,
    /// Its kernels.
    pub kernels: fn() -> Vec<KernelInfo>,
    /// Its cases: shapes, settings, tolerances, FLOPs and bytes.
    pub cases: fn() -> Vec<Case>,
}

macro_rules! ops {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every op there is.
        pub const REGISTRY: &[OpEntry] = &[
            $(OpEntry { name: stringify!($name), kernels: $name::kernels, cases: $name::cases },)*
        ];
    };
}

ops! {
    activation,
    adamw,
    adaptive,
    add,
    attention,
    batch_norm,
    cast,
    chunk,
    combine,
    conv2d,
    cosine_similarity,
    embedding,
    fill,
    gate,
    gated_linear,
    gaussian,
    group_norm,
    guidance,
    hinge,
    image,
    interpolate,
    l1,
    l2_normalize,
    layer_norm,
    linear,
    matmul,
    max_pool,
    mlp,
    modulate,
    patches,
    qkv_attention,
    resize,
    rms_norm,
    rope,
    sum,
    swiglu,
    timestep_embedding,
    tokens,
    transpose,
    upsample,
    velocity_loss,
    vf_loss,
}
