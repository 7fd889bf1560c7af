//! The kernels' parameter structures and constants, as declared in `kernels/*.h`.
//!
//! Written by bindgen: change the headers, then run `cargo xtask bindings`.

pub const ACTIVATION_SILU: u32 = 0;
pub const ACTIVATION_GELU_ERF: u32 = 1;
pub const ACTIVATION_GELU_TANH: u32 = 2;
pub const ACTIVATION_LEAKY_RELU: u32 = 3;
pub const ADAMW_LIST: u32 = 512;
pub const ADAMW_BLOCK_ELEMENTS: u32 = 4096;
pub const ADAMW_THREADS: u32 = 256;
pub const ADAMW_UPDATES: u32 = 0;
pub const ADAMW_SKIPPED: u32 = 1;
pub const ADAMW_NORM: u32 = 2;
pub const ADAMW_FACTOR: u32 = 3;
pub const ADAMW_STEP_SIZE: u32 = 4;
pub const ADAMW_RSQRT_CORRECTION2: u32 = 5;
pub const ADAMW_DECAY: u32 = 6;
pub const ADAMW_APPLY: u32 = 7;
pub const ADAMW_STATE: u32 = 8;
pub const ADAPTIVE_NORM_FLOOR: f64 = 0.0001;
pub const ATTENTION_THREADS: u32 = 256;
pub const ATTENTION_FWD_THREADS: u32 = 128;
pub const ATTENTION_FEW_QUERIES: u32 = 64;
pub const ATTENTION_MAX_HEAD: u32 = 512;
pub const ATTENTION_DELTA_ROWS: u32 = 64;
pub const ATTENTION_WIDE_ROWS: u32 = 32;
pub const ATTENTION_WIDE_BYTES_F32: u32 = 95744;
pub const ATTENTION_WIDE_BYTES_BF16: u32 = 50688;
pub const BATCH_NORM_TRACK_THREADS: u32 = 128;
pub const CAST_FOURS: u32 = 2;
pub const CHANNEL_TILE_THREADS: u32 = 256;
pub const CONV2D_TILE_LARGE: u32 = 0;
pub const CONV2D_TILE_NARROW: u32 = 1;
pub const CONV2D_TILE_FEW: u32 = 2;
pub const CONV2D_WEIGHT_THREADS: u32 = 256;
pub const ELEMENTWISE_THREADS: u32 = 256;
pub const EMBEDDING_INDICES: u32 = 1024;
pub const EMBEDDING_BWD_THREADS: u32 = 256;
pub const GAUSSIAN_LOGVAR_MIN: i32 = -30;
pub const GAUSSIAN_LOGVAR_MAX: u32 = 20;
pub const MATRIX_THREADS: u32 = 128;
pub const MATRIX_SHARED: u32 = 81920;
pub const MATRIX_128X128: u32 = 0;
pub const MATRIX_128X64: u32 = 1;
pub const MATRIX_64X64: u32 = 2;
pub const MATRIX_RAGGED: u32 = 3;
pub const LINEAR_IDENTITY: u32 = 16;
pub const LINEAR_SWIGLU: u32 = 17;
pub const LINEAR_SUM_THREADS: u32 = 256;
pub const LINEAR_BIAS_COLUMNS: u32 = 64;
pub const MATMUL_NT: u32 = 0;
pub const MATMUL_NN: u32 = 1;
pub const MATMUL_TN: u32 = 2;
pub const PART_SUMS_COLUMNS: u32 = 64;
pub const PART_SUMS_BLOCK: u32 = 256;
pub const QKV_ATTENTION_THREADS: u32 = 256;
pub const QKV_ATTENTION_FWD_THREADS_F32: u32 = 128;
pub const QKV_ATTENTION_MAX_HEAD: u32 = 128;
pub const QKV_ATTENTION_ROWS_PER_BLOCK: u32 = 128;
pub const RANDOM_THREADS: u32 = 256;
pub const RESIZE_BILINEAR: u32 = 0;
pub const RESIZE_BICUBIC_ANTIALIAS: u32 = 1;
pub const ROPE_IMAGES: u32 = 4;
pub const ROW_NORM_SUM_COLUMNS: u32 = 16;
pub const ROW_NORM_SUM_THREADS: u32 = 256;
pub const ROW_TEAM_THREADS: u32 = 512;
pub const ROW_TEAM_ROWS: u32 = 2;
pub const ROWS_THREADS: u32 = 256;
pub const SWIGLU_THREADS: u32 = 256;
pub const TIMESTEP_EMBEDDING_THREADS: u32 = 128;
pub const TRANSPOSE_TILE: u32 = 32;
pub const TRANSPOSE_THREADS: u32 = 256;
pub const VELOCITY_LOSS_ROWS: u32 = 4;
pub const VF_LOSS_TILE: u32 = 64;
pub const VF_LOSS_MAX_CHANNELS: u32 = 64;
pub const VF_LOSS_NARROW_CHANNELS: u32 = 32;
pub const VF_LOSS_EPS_DISTMAT: f64 = 0.000000000001;
pub const VF_LOSS_EPS_COS: f64 = 0.00000001;
pub const VF_LOSS_FWD_THREADS: u32 = 256;
pub const VF_LOSS_FWD_SHARED: u32 = 119888;
pub const VF_LOSS_FWD_SHARED_WIDE: u32 = 148560;
pub const VF_LOSS_BWD_THREADS: u32 = 128;
pub const VF_LOSS_BWD_SHARED_BF16: u32 = 62464;
pub const VF_LOSS_BWD_SHARED_F32: u32 = 82944;
pub const VF_LOSS_BWD_SHARED_WIDE_BF16: u32 = 88576;
pub const VF_LOSS_BWD_SHARED_WIDE_F32: u32 = 121344;
pub const VF_LOSS_BWD_PARTS: u32 = 64;
pub const VF_LOSS_WEIGHT_THREADS: u32 = 256;
pub const VF_LOSS_WEIGHT_SHARED: u32 = 69632;
pub const VF_LOSS_WEIGHT_TILE: u32 = 16;
#[doc = " y = f(x)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ActivationFwd {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (count), written"]
    pub y: u64,
    pub count: u32,
    pub kind: u32,
    #[doc = " of the leaky ReLU's negative side"]
    pub slope: f32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ActivationFwd"][::std::mem::size_of::<ActivationFwd>() - 32usize];
    ["Alignment of ActivationFwd"][::std::mem::align_of::<ActivationFwd>() - 8usize];
    ["Offset of field: ActivationFwd::x"][::std::mem::offset_of!(ActivationFwd, x) - 0usize];
    ["Offset of field: ActivationFwd::y"][::std::mem::offset_of!(ActivationFwd, y) - 8usize];
    ["Offset of field: ActivationFwd::count"][::std::mem::offset_of!(ActivationFwd, count) - 16usize];
    ["Offset of field: ActivationFwd::kind"][::std::mem::offset_of!(ActivationFwd, kind) - 20usize];
    ["Offset of field: ActivationFwd::slope"][::std::mem::offset_of!(ActivationFwd, slope) - 24usize];
    ["Offset of field: ActivationFwd::reserved"][::std::mem::offset_of!(ActivationFwd, reserved) - 28usize];
};
#[doc = " dx = f'(x) · dy."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ActivationBwd {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (count), read"]
    pub dy: u64,
    #[doc = " (count), written"]
    pub dx: u64,
    pub count: u32,
    pub kind: u32,
    pub slope: f32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ActivationBwd"][::std::mem::size_of::<ActivationBwd>() - 40usize];
    ["Alignment of ActivationBwd"][::std::mem::align_of::<ActivationBwd>() - 8usize];
    ["Offset of field: ActivationBwd::x"][::std::mem::offset_of!(ActivationBwd, x) - 0usize];
    ["Offset of field: ActivationBwd::dy"][::std::mem::offset_of!(ActivationBwd, dy) - 8usize];
    ["Offset of field: ActivationBwd::dx"][::std::mem::offset_of!(ActivationBwd, dx) - 16usize];
    ["Offset of field: ActivationBwd::count"][::std::mem::offset_of!(ActivationBwd, count) - 24usize];
    ["Offset of field: ActivationBwd::kind"][::std::mem::offset_of!(ActivationBwd, kind) - 28usize];
    ["Offset of field: ActivationBwd::slope"][::std::mem::offset_of!(ActivationBwd, slope) - 32usize];
    ["Offset of field: ActivationBwd::reserved"][::std::mem::offset_of!(ActivationBwd, reserved) - 36usize];
};
#[doc = " parts[first_part + b] = Σ grad² over the elements of block b."]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AdamWNorm {
    #[doc = " a part for each block, written"]
    pub parts: u64,
    #[doc = " (count) each, read"]
    pub grad: [u64; 512usize],
    pub count: [u32; 512usize],
    pub first_block: [u32; 512usize],
    pub tensors: u32,
    pub first_part: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AdamWNorm"][::std::mem::size_of::<AdamWNorm>() - 8208usize];
    ["Alignment of AdamWNorm"][::std::mem::align_of::<AdamWNorm>() - 8usize];
    ["Offset of field: AdamWNorm::parts"][::std::mem::offset_of!(AdamWNorm, parts) - 0usize];
    ["Offset of field: AdamWNorm::grad"][::std::mem::offset_of!(AdamWNorm, grad) - 8usize];
    ["Offset of field: AdamWNorm::count"][::std::mem::offset_of!(AdamWNorm, count) - 4104usize];
    ["Offset of field: AdamWNorm::first_block"][::std::mem::offset_of!(AdamWNorm, first_block) - 6152usize];
    ["Offset of field: AdamWNorm::tensors"][::std::mem::offset_of!(AdamWNorm, tensors) - 8200usize];
    ["Offset of field: AdamWNorm::first_part"][::std::mem::offset_of!(AdamWNorm, first_part) - 8204usize];
};
#[doc = " The scalars of the next update: norm = √Σ parts · scale; factor = scale · min(1, max_norm / norm); cᵢ = 1 − βᵢᵗ. A norm that is\n not finite makes it a skipped one."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AdamWPrepare {
    #[doc = " (count), read"]
    pub parts: u64,
    #[doc = " (1), read"]
    pub lr: u64,
    #[doc = " (ADAMW_STATE), read and written"]
    pub state: u64,
    pub count: u32,
    pub scale: f32,
    #[doc = " 0: gradients are not clipped"]
    pub max_norm: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub weight_decay: f32,
    #[doc = " 1: AdamW; 0: Adam"]
    pub decoupled: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AdamWPrepare"][::std::mem::size_of::<AdamWPrepare>() - 56usize];
    ["Alignment of AdamWPrepare"][::std::mem::align_of::<AdamWPrepare>() - 8usize];
    ["Offset of field: AdamWPrepare::parts"][::std::mem::offset_of!(AdamWPrepare, parts) - 0usize];
    ["Offset of field: AdamWPrepare::lr"][::std::mem::offset_of!(AdamWPrepare, lr) - 8usize];
    ["Offset of field: AdamWPrepare::state"][::std::mem::offset_of!(AdamWPrepare, state) - 16usize];
    ["Offset of field: AdamWPrepare::count"][::std::mem::offset_of!(AdamWPrepare, count) - 24usize];
    ["Offset of field: AdamWPrepare::scale"][::std::mem::offset_of!(AdamWPrepare, scale) - 28usize];
    ["Offset of field: AdamWPrepare::max_norm"][::std::mem::offset_of!(AdamWPrepare, max_norm) - 32usize];
    ["Offset of field: AdamWPrepare::beta1"][::std::mem::offset_of!(AdamWPrepare, beta1) - 36usize];
    ["Offset of field: AdamWPrepare::beta2"][::std::mem::offset_of!(AdamWPrepare, beta2) - 40usize];
    ["Offset of field: AdamWPrepare::weight_decay"][::std::mem::offset_of!(AdamWPrepare, weight_decay) - 44usize];
    ["Offset of field: AdamWPrepare::decoupled"][::std::mem::offset_of!(AdamWPrepare, decoupled) - 48usize];
    ["Offset of field: AdamWPrepare::reserved"][::std::mem::offset_of!(AdamWPrepare, reserved) - 52usize];
};
#[doc = " One step of Adam (weight decay added to the gradient) or AdamW (decay decoupled), then ema ← d·ema + (1−d)·param:\n   g = factor·grad (+ wd·p for Adam);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;\n   p ← p(1 − lr·wd for AdamW) − (lr/c₁)·m / (√v/√c₂ + eps);  rounded ← p in bf16."]
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AdamW {
    #[doc = " (ADAMW_STATE), read"]
    pub state: u64,
    #[doc = " (count) each, read"]
    pub grad: [u64; 512usize],
    #[doc = " (count) each, read and written"]
    pub param: [u64; 512usize],
    #[doc = " (count) each, read and written"]
    pub exp_avg: [u64; 512usize],
    #[doc = " (count) each, read and written"]
    pub exp_avg_sq: [u64; 512usize],
    #[doc = " (count) each or absent, read and written"]
    pub ema: [u64; 512usize],
    #[doc = " (count) bf16 each or absent, written"]
    pub rounded: [u64; 512usize],
    pub count: [u32; 512usize],
    pub first_block: [u32; 512usize],
    pub tensors: u32,
    pub first_part: u32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub ema_decay: f32,
    #[doc = " 1: AdamW; 0: Adam"]
    pub decoupled: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AdamW"][::std::mem::size_of::<AdamW>() - 28712usize];
    ["Alignment of AdamW"][::std::mem::align_of::<AdamW>() - 8usize];
    ["Offset of field: AdamW::state"][::std::mem::offset_of!(AdamW, state) - 0usize];
    ["Offset of field: AdamW::grad"][::std::mem::offset_of!(AdamW, grad) - 8usize];
    ["Offset of field: AdamW::param"][::std::mem::offset_of!(AdamW, param) - 4104usize];
    ["Offset of field: AdamW::exp_avg"][::std::mem::offset_of!(AdamW, exp_avg) - 8200usize];
    ["Offset of field: AdamW::exp_avg_sq"][::std::mem::offset_of!(AdamW, exp_avg_sq) - 12296usize];
    ["Offset of field: AdamW::ema"][::std::mem::offset_of!(AdamW, ema) - 16392usize];
    ["Offset of field: AdamW::rounded"][::std::mem::offset_of!(AdamW, rounded) - 20488usize];
    ["Offset of field: AdamW::count"][::std::mem::offset_of!(AdamW, count) - 24584usize];
    ["Offset of field: AdamW::first_block"][::std::mem::offset_of!(AdamW, first_block) - 26632usize];
    ["Offset of field: AdamW::tensors"][::std::mem::offset_of!(AdamW, tensors) - 28680usize];
    ["Offset of field: AdamW::first_part"][::std::mem::offset_of!(AdamW, first_part) - 28684usize];
    ["Offset of field: AdamW::beta1"][::std::mem::offset_of!(AdamW, beta1) - 28688usize];
    ["Offset of field: AdamW::beta2"][::std::mem::offset_of!(AdamW, beta2) - 28692usize];
    ["Offset of field: AdamW::eps"][::std::mem::offset_of!(AdamW, eps) - 28696usize];
    ["Offset of field: AdamW::ema_decay"][::std::mem::offset_of!(AdamW, ema_decay) - 28700usize];
    ["Offset of field: AdamW::decoupled"][::std::mem::offset_of!(AdamW, decoupled) - 28704usize];
    ["Offset of field: AdamW::reserved"][::std::mem::offset_of!(AdamW, reserved) - 28708usize];
};
#[doc = " parts[b] = Σ xᵢ² over the elements of block b."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct SumOfSquares {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (parts) f32, written"]
    pub sum: u64,
    pub count: u32,
    pub parts: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SumOfSquares"][::std::mem::size_of::<SumOfSquares>() - 24usize];
    ["Alignment of SumOfSquares"][::std::mem::align_of::<SumOfSquares>() - 8usize];
    ["Offset of field: SumOfSquares::x"][::std::mem::offset_of!(SumOfSquares, x) - 0usize];
    ["Offset of field: SumOfSquares::sum"][::std::mem::offset_of!(SumOfSquares, sum) - 8usize];
    ["Offset of field: SumOfSquares::count"][::std::mem::offset_of!(SumOfSquares, count) - 16usize];
    ["Offset of field: SumOfSquares::parts"][::std::mem::offset_of!(SumOfSquares, parts) - 20usize];
};
#[doc = " weight = clamp(√nll / (√other + 1e-4), 0, largest) · factor, of squared norms."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AdaptiveWeight {
    #[doc = " (1) f32, read"]
    pub nll: u64,
    #[doc = " (1) f32, read"]
    pub other: u64,
    #[doc = " (1) f32, written"]
    pub weight: u64,
    pub largest: f32,
    pub factor: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AdaptiveWeight"][::std::mem::size_of::<AdaptiveWeight>() - 32usize];
    ["Alignment of AdaptiveWeight"][::std::mem::align_of::<AdaptiveWeight>() - 8usize];
    ["Offset of field: AdaptiveWeight::nll"][::std::mem::offset_of!(AdaptiveWeight, nll) - 0usize];
    ["Offset of field: AdaptiveWeight::other"][::std::mem::offset_of!(AdaptiveWeight, other) - 8usize];
    ["Offset of field: AdaptiveWeight::weight"][::std::mem::offset_of!(AdaptiveWeight, weight) - 16usize];
    ["Offset of field: AdaptiveWeight::largest"][::std::mem::offset_of!(AdaptiveWeight, largest) - 24usize];
    ["Offset of field: AdaptiveWeight::factor"][::std::mem::offset_of!(AdaptiveWeight, factor) - 28usize];
};
#[doc = " y = scale · x."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Scale {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (1) f32, read"]
    pub scale: u64,
    #[doc = " (count), written"]
    pub y: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Scale"][::std::mem::size_of::<Scale>() - 32usize];
    ["Alignment of Scale"][::std::mem::align_of::<Scale>() - 8usize];
    ["Offset of field: Scale::x"][::std::mem::offset_of!(Scale, x) - 0usize];
    ["Offset of field: Scale::scale"][::std::mem::offset_of!(Scale, scale) - 8usize];
    ["Offset of field: Scale::y"][::std::mem::offset_of!(Scale, y) - 16usize];
    ["Offset of field: Scale::count"][::std::mem::offset_of!(Scale, count) - 24usize];
    ["Offset of field: Scale::reserved"][::std::mem::offset_of!(Scale, reserved) - 28usize];
};
#[doc = " sum += scale · x."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AddScaled {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (1) f32, read"]
    pub scale: u64,
    #[doc = " (count), read and written"]
    pub sum: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddScaled"][::std::mem::size_of::<AddScaled>() - 32usize];
    ["Alignment of AddScaled"][::std::mem::align_of::<AddScaled>() - 8usize];
    ["Offset of field: AddScaled::x"][::std::mem::offset_of!(AddScaled, x) - 0usize];
    ["Offset of field: AddScaled::scale"][::std::mem::offset_of!(AddScaled, scale) - 8usize];
    ["Offset of field: AddScaled::sum"][::std::mem::offset_of!(AddScaled, sum) - 16usize];
    ["Offset of field: AddScaled::count"][::std::mem::offset_of!(AddScaled, count) - 24usize];
    ["Offset of field: AddScaled::reserved"][::std::mem::offset_of!(AddScaled, reserved) - 28usize];
};
#[doc = " y = a + b."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AddFwd {
    #[doc = " (count), read"]
    pub a: u64,
    #[doc = " (count), read"]
    pub b: u64,
    #[doc = " (count), written"]
    pub y: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddFwd"][::std::mem::size_of::<AddFwd>() - 32usize];
    ["Alignment of AddFwd"][::std::mem::align_of::<AddFwd>() - 8usize];
    ["Offset of field: AddFwd::a"][::std::mem::offset_of!(AddFwd, a) - 0usize];
    ["Offset of field: AddFwd::b"][::std::mem::offset_of!(AddFwd, b) - 8usize];
    ["Offset of field: AddFwd::y"][::std::mem::offset_of!(AddFwd, y) - 16usize];
    ["Offset of field: AddFwd::count"][::std::mem::offset_of!(AddFwd, count) - 24usize];
    ["Offset of field: AddFwd::reserved"][::std::mem::offset_of!(AddFwd, reserved) - 28usize];
};
#[doc = " sum += x."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AddInto {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (count), read and written"]
    pub sum: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddInto"][::std::mem::size_of::<AddInto>() - 24usize];
    ["Alignment of AddInto"][::std::mem::align_of::<AddInto>() - 8usize];
    ["Offset of field: AddInto::x"][::std::mem::offset_of!(AddInto, x) - 0usize];
    ["Offset of field: AddInto::sum"][::std::mem::offset_of!(AddInto, sum) - 8usize];
    ["Offset of field: AddInto::count"][::std::mem::offset_of!(AddInto, count) - 16usize];
    ["Offset of field: AddInto::reserved"][::std::mem::offset_of!(AddInto, reserved) - 20usize];
};
#[doc = " out = softmax(scale·q·kᵀ)·v per head; logsumexp of every row of scores is kept for the gradients."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AttentionFwd {
    #[doc = " (batch, queries, heads, head_dim), read"]
    pub q: u64,
    #[doc = " (batch, keys, heads, head_dim), read"]
    pub k: u64,
    #[doc = " (batch, keys, heads, head_dim), read"]
    pub v: u64,
    #[doc = " (batch, queries, heads, head_dim), written"]
    pub out: u64,
    #[doc = " (batch, heads, queries) f32, written"]
    pub logsumexp: u64,
    pub batch: u32,
    pub queries: u32,
    pub keys: u32,
    pub heads: u32,
    pub head_dim: u32,
    pub scale: f32,
    #[doc = " queries of a block on a GPU, for heads of up to 128 channels"]
    pub block_queries: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionFwd"][::std::mem::size_of::<AttentionFwd>() - 72usize];
    ["Alignment of AttentionFwd"][::std::mem::align_of::<AttentionFwd>() - 8usize];
    ["Offset of field: AttentionFwd::q"][::std::mem::offset_of!(AttentionFwd, q) - 0usize];
    ["Offset of field: AttentionFwd::k"][::std::mem::offset_of!(AttentionFwd, k) - 8usize];
    ["Offset of field: AttentionFwd::v"][::std::mem::offset_of!(AttentionFwd, v) - 16usize];
    ["Offset of field: AttentionFwd::out"][::std::mem::offset_of!(AttentionFwd, out) - 24usize];
    ["Offset of field: AttentionFwd::logsumexp"][::std::mem::offset_of!(AttentionFwd, logsumexp) - 32usize];
    ["Offset of field: AttentionFwd::batch"][::std::mem::offset_of!(AttentionFwd, batch) - 40usize];
    ["Offset of field: AttentionFwd::queries"][::std::mem::offset_of!(AttentionFwd, queries) - 44usize];
    ["Offset of field: AttentionFwd::keys"][::std::mem::offset_of!(AttentionFwd, keys) - 48usize];
    ["Offset of field: AttentionFwd::heads"][::std::mem::offset_of!(AttentionFwd, heads) - 52usize];
    ["Offset of field: AttentionFwd::head_dim"][::std::mem::offset_of!(AttentionFwd, head_dim) - 56usize];
    ["Offset of field: AttentionFwd::scale"][::std::mem::offset_of!(AttentionFwd, scale) - 60usize];
    ["Offset of field: AttentionFwd::block_queries"][::std::mem::offset_of!(AttentionFwd, block_queries) - 64usize];
    ["Offset of field: AttentionFwd::reserved"][::std::mem::offset_of!(AttentionFwd, reserved) - 68usize];
};
#[doc = " delta = Σ out·dout of every row and head."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AttentionDelta {
    #[doc = " (batch, queries, heads, head_dim), read"]
    pub out: u64,
    #[doc = " (batch, queries, heads, head_dim), read"]
    pub dout: u64,
    #[doc = " (batch, heads, queries) f32, written"]
    pub delta: u64,
    pub batch: u32,
    pub queries: u32,
    pub heads: u32,
    pub head_dim: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionDelta"][::std::mem::size_of::<AttentionDelta>() - 40usize];
    ["Alignment of AttentionDelta"][::std::mem::align_of::<AttentionDelta>() - 8usize];
    ["Offset of field: AttentionDelta::out"][::std::mem::offset_of!(AttentionDelta, out) - 0usize];
    ["Offset of field: AttentionDelta::dout"][::std::mem::offset_of!(AttentionDelta, dout) - 8usize];
    ["Offset of field: AttentionDelta::delta"][::std::mem::offset_of!(AttentionDelta, delta) - 16usize];
    ["Offset of field: AttentionDelta::batch"][::std::mem::offset_of!(AttentionDelta, batch) - 24usize];
    ["Offset of field: AttentionDelta::queries"][::std::mem::offset_of!(AttentionDelta, queries) - 28usize];
    ["Offset of field: AttentionDelta::heads"][::std::mem::offset_of!(AttentionDelta, heads) - 32usize];
    ["Offset of field: AttentionDelta::head_dim"][::std::mem::offset_of!(AttentionDelta, head_dim) - 36usize];
};
#[doc = " The gradients, with the probabilities recomputed from q, k and logsumexp."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AttentionBwd {
    #[doc = " (batch, queries, heads, head_dim), read"]
    pub q: u64,
    #[doc = " (batch, keys, heads, head_dim), read"]
    pub k: u64,
    #[doc = " (batch, keys, heads, head_dim), read"]
    pub v: u64,
    #[doc = " (batch, queries, heads, head_dim) where delta is absent, read"]
    pub out: u64,
    #[doc = " (batch, heads, queries) f32, read"]
    pub logsumexp: u64,
    #[doc = " (batch, heads, queries) f32 or absent, read"]
    pub delta: u64,
    #[doc = " (batch, queries, heads, head_dim), read"]
    pub dout: u64,
    #[doc = " (batch, queries, heads, head_dim) or absent, written"]
    pub dq: u64,
    #[doc = " (batch, keys, heads, head_dim) or absent, written"]
    pub dk: u64,
    #[doc = " (batch, keys, heads, head_dim) or absent, written"]
    pub dv: u64,
    #[doc = " (parts, batch, queries, heads, head_dim) f32 in place of dq, or absent, written"]
    pub dq_parts: u64,
    pub batch: u32,
    pub queries: u32,
    pub keys: u32,
    pub heads: u32,
    pub head_dim: u32,
    pub scale: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionBwd"][::std::mem::size_of::<AttentionBwd>() - 112usize];
    ["Alignment of AttentionBwd"][::std::mem::align_of::<AttentionBwd>() - 8usize];
    ["Offset of field: AttentionBwd::q"][::std::mem::offset_of!(AttentionBwd, q) - 0usize];
    ["Offset of field: AttentionBwd::k"][::std::mem::offset_of!(AttentionBwd, k) - 8usize];
    ["Offset of field: AttentionBwd::v"][::std::mem::offset_of!(AttentionBwd, v) - 16usize];
    ["Offset of field: AttentionBwd::out"][::std::mem::offset_of!(AttentionBwd, out) - 24usize];
    ["Offset of field: AttentionBwd::logsumexp"][::std::mem::offset_of!(AttentionBwd, logsumexp) - 32usize];
    ["Offset of field: AttentionBwd::delta"][::std::mem::offset_of!(AttentionBwd, delta) - 40usize];
    ["Offset of field: AttentionBwd::dout"][::std::mem::offset_of!(AttentionBwd, dout) - 48usize];
    ["Offset of field: AttentionBwd::dq"][::std::mem::offset_of!(AttentionBwd, dq) - 56usize];
    ["Offset of field: AttentionBwd::dk"][::std::mem::offset_of!(AttentionBwd, dk) - 64usize];
    ["Offset of field: AttentionBwd::dv"][::std::mem::offset_of!(AttentionBwd, dv) - 72usize];
    ["Offset of field: AttentionBwd::dq_parts"][::std::mem::offset_of!(AttentionBwd, dq_parts) - 80usize];
    ["Offset of field: AttentionBwd::batch"][::std::mem::offset_of!(AttentionBwd, batch) - 88usize];
    ["Offset of field: AttentionBwd::queries"][::std::mem::offset_of!(AttentionBwd, queries) - 92usize];
    ["Offset of field: AttentionBwd::keys"][::std::mem::offset_of!(AttentionBwd, keys) - 96usize];
    ["Offset of field: AttentionBwd::heads"][::std::mem::offset_of!(AttentionBwd, heads) - 100usize];
    ["Offset of field: AttentionBwd::head_dim"][::std::mem::offset_of!(AttentionBwd, head_dim) - 104usize];
    ["Offset of field: AttentionBwd::scale"][::std::mem::offset_of!(AttentionBwd, scale) - 108usize];
};
#[doc = " dq = the sum of what the parts of a head's keys gave. dq comes first because an entry has the dtype of the first tensor."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AttentionBwdSum {
    #[doc = " (elements), written"]
    pub dq: u64,
    #[doc = " (parts, elements) f32, read"]
    pub dq_parts: u64,
    pub elements: u32,
    pub parts: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionBwdSum"][::std::mem::size_of::<AttentionBwdSum>() - 24usize];
    ["Alignment of AttentionBwdSum"][::std::mem::align_of::<AttentionBwdSum>() - 8usize];
    ["Offset of field: AttentionBwdSum::dq"][::std::mem::offset_of!(AttentionBwdSum, dq) - 0usize];
    ["Offset of field: AttentionBwdSum::dq_parts"][::std::mem::offset_of!(AttentionBwdSum, dq_parts) - 8usize];
    ["Offset of field: AttentionBwdSum::elements"][::std::mem::offset_of!(AttentionBwdSum, elements) - 16usize];
    ["Offset of field: AttentionBwdSum::parts"][::std::mem::offset_of!(AttentionBwdSum, parts) - 20usize];
};
#[doc = " y = (x − mean)/√(var + eps)·weight + bias.\n Grid: (slices, channels / tile); dynamic shared memory: two arrays of channels (channel_tile.cuh)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct BatchNormEvalFwd {
    #[doc = " (rows, channels), read"]
    pub x: u64,
    #[doc = " (channels) f32, read"]
    pub weight: u64,
    #[doc = " (channels) f32, read"]
    pub bias: u64,
    #[doc = " (channels) f32, read"]
    pub mean: u64,
    #[doc = " (channels) f32, read"]
    pub var: u64,
    #[doc = " (rows, channels), written"]
    pub y: u64,
    pub rows: u32,
    pub channels: u32,
    #[doc = " channels of a block"]
    pub tile: u32,
    #[doc = " rows are cut into this many slices, one for a block"]
    pub slices: u32,
    pub eps: f32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchNormEvalFwd"][::std::mem::size_of::<BatchNormEvalFwd>() - 72usize];
    ["Alignment of BatchNormEvalFwd"][::std::mem::align_of::<BatchNormEvalFwd>() - 8usize];
    ["Offset of field: BatchNormEvalFwd::x"][::std::mem::offset_of!(BatchNormEvalFwd, x) - 0usize];
    ["Offset of field: BatchNormEvalFwd::weight"][::std::mem::offset_of!(BatchNormEvalFwd, weight) - 8usize];
    ["Offset of field: BatchNormEvalFwd::bias"][::std::mem::offset_of!(BatchNormEvalFwd, bias) - 16usize];
    ["Offset of field: BatchNormEvalFwd::mean"][::std::mem::offset_of!(BatchNormEvalFwd, mean) - 24usize];
    ["Offset of field: BatchNormEvalFwd::var"][::std::mem::offset_of!(BatchNormEvalFwd, var) - 32usize];
    ["Offset of field: BatchNormEvalFwd::y"][::std::mem::offset_of!(BatchNormEvalFwd, y) - 40usize];
    ["Offset of field: BatchNormEvalFwd::rows"][::std::mem::offset_of!(BatchNormEvalFwd, rows) - 48usize];
    ["Offset of field: BatchNormEvalFwd::channels"][::std::mem::offset_of!(BatchNormEvalFwd, channels) - 52usize];
    ["Offset of field: BatchNormEvalFwd::tile"][::std::mem::offset_of!(BatchNormEvalFwd, tile) - 56usize];
    ["Offset of field: BatchNormEvalFwd::slices"][::std::mem::offset_of!(BatchNormEvalFwd, slices) - 60usize];
    ["Offset of field: BatchNormEvalFwd::eps"][::std::mem::offset_of!(BatchNormEvalFwd, eps) - 64usize];
    ["Offset of field: BatchNormEvalFwd::reserved"][::std::mem::offset_of!(BatchNormEvalFwd, reserved) - 68usize];
};
#[doc = " dx = weight·dy/√(var + eps); and, per part of the rows, of dy and of dy·x\u{302}, the sums whose sums are dbias and dweight.\n Grid: (parts, channels / tile); dynamic shared memory: two arrays of channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct BatchNormEvalBwd {
    #[doc = " (rows, channels), read"]
    pub x: u64,
    #[doc = " (channels) f32, read"]
    pub weight: u64,
    #[doc = " (channels) f32, read"]
    pub mean: u64,
    #[doc = " (channels) f32, read"]
    pub var: u64,
    #[doc = " (rows, channels), read"]
    pub dy: u64,
    #[doc = " (rows, channels) or absent, written"]
    pub dx: u64,
    #[doc = " (parts, 2, channels) f32 or absent, written"]
    pub sums: u64,
    pub rows: u32,
    pub channels: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " rows are cut into this many parts of equal length, the last one shorter"]
    pub parts: u32,
    pub eps: f32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchNormEvalBwd"][::std::mem::size_of::<BatchNormEvalBwd>() - 80usize];
    ["Alignment of BatchNormEvalBwd"][::std::mem::align_of::<BatchNormEvalBwd>() - 8usize];
    ["Offset of field: BatchNormEvalBwd::x"][::std::mem::offset_of!(BatchNormEvalBwd, x) - 0usize];
    ["Offset of field: BatchNormEvalBwd::weight"][::std::mem::offset_of!(BatchNormEvalBwd, weight) - 8usize];
    ["Offset of field: BatchNormEvalBwd::mean"][::std::mem::offset_of!(BatchNormEvalBwd, mean) - 16usize];
    ["Offset of field: BatchNormEvalBwd::var"][::std::mem::offset_of!(BatchNormEvalBwd, var) - 24usize];
    ["Offset of field: BatchNormEvalBwd::dy"][::std::mem::offset_of!(BatchNormEvalBwd, dy) - 32usize];
    ["Offset of field: BatchNormEvalBwd::dx"][::std::mem::offset_of!(BatchNormEvalBwd, dx) - 40usize];
    ["Offset of field: BatchNormEvalBwd::sums"][::std::mem::offset_of!(BatchNormEvalBwd, sums) - 48usize];
    ["Offset of field: BatchNormEvalBwd::rows"][::std::mem::offset_of!(BatchNormEvalBwd, rows) - 56usize];
    ["Offset of field: BatchNormEvalBwd::channels"][::std::mem::offset_of!(BatchNormEvalBwd, channels) - 60usize];
    ["Offset of field: BatchNormEvalBwd::tile"][::std::mem::offset_of!(BatchNormEvalBwd, tile) - 64usize];
    ["Offset of field: BatchNormEvalBwd::parts"][::std::mem::offset_of!(BatchNormEvalBwd, parts) - 68usize];
    ["Offset of field: BatchNormEvalBwd::eps"][::std::mem::offset_of!(BatchNormEvalBwd, eps) - 72usize];
    ["Offset of field: BatchNormEvalBwd::reserved"][::std::mem::offset_of!(BatchNormEvalBwd, reserved) - 76usize];
};
#[doc = " running += momentum·(batch − running).\n Grid: channels / 128, rounded up."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct BatchNormTrack {
    #[doc = " (channels) f32, read"]
    pub batch: u64,
    #[doc = " (channels) f32, read and written"]
    pub running: u64,
    pub channels: u32,
    pub momentum: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchNormTrack"][::std::mem::size_of::<BatchNormTrack>() - 24usize];
    ["Alignment of BatchNormTrack"][::std::mem::align_of::<BatchNormTrack>() - 8usize];
    ["Offset of field: BatchNormTrack::batch"][::std::mem::offset_of!(BatchNormTrack, batch) - 0usize];
    ["Offset of field: BatchNormTrack::running"][::std::mem::offset_of!(BatchNormTrack, running) - 8usize];
    ["Offset of field: BatchNormTrack::channels"][::std::mem::offset_of!(BatchNormTrack, channels) - 16usize];
    ["Offset of field: BatchNormTrack::momentum"][::std::mem::offset_of!(BatchNormTrack, momentum) - 20usize];
};
#[doc = " y = x in the other of the two dtypes."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Cast {
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (count) of the other dtype, written"]
    pub y: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Cast"][::std::mem::size_of::<Cast>() - 24usize];
    ["Alignment of Cast"][::std::mem::align_of::<Cast>() - 8usize];
    ["Offset of field: Cast::x"][::std::mem::offset_of!(Cast, x) - 0usize];
    ["Offset of field: Cast::y"][::std::mem::offset_of!(Cast, y) - 8usize];
    ["Offset of field: Cast::count"][::std::mem::offset_of!(Cast, count) - 16usize];
    ["Offset of field: Cast::reserved"][::std::mem::offset_of!(Cast, reserved) - 20usize];
};
#[doc = " Part i = columns i·cols to (i + 1)·cols of every row of x."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ChunkFwd {
    #[doc = " (rows, parts·cols), read"]
    pub x: u64,
    #[doc = " (rows, cols), written"]
    pub a: u64,
    #[doc = " (rows, cols) or absent, written"]
    pub b: u64,
    #[doc = " (rows, cols) or absent, written"]
    pub c: u64,
    #[doc = " (rows, cols) or absent, written"]
    pub d: u64,
    #[doc = " (rows, cols) or absent, written"]
    pub e: u64,
    #[doc = " (rows, cols) or absent, written"]
    pub f: u64,
    pub rows: u32,
    pub cols: u32,
    pub parts: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ChunkFwd"][::std::mem::size_of::<ChunkFwd>() - 72usize];
    ["Alignment of ChunkFwd"][::std::mem::align_of::<ChunkFwd>() - 8usize];
    ["Offset of field: ChunkFwd::x"][::std::mem::offset_of!(ChunkFwd, x) - 0usize];
    ["Offset of field: ChunkFwd::a"][::std::mem::offset_of!(ChunkFwd, a) - 8usize];
    ["Offset of field: ChunkFwd::b"][::std::mem::offset_of!(ChunkFwd, b) - 16usize];
    ["Offset of field: ChunkFwd::c"][::std::mem::offset_of!(ChunkFwd, c) - 24usize];
    ["Offset of field: ChunkFwd::d"][::std::mem::offset_of!(ChunkFwd, d) - 32usize];
    ["Offset of field: ChunkFwd::e"][::std::mem::offset_of!(ChunkFwd, e) - 40usize];
    ["Offset of field: ChunkFwd::f"][::std::mem::offset_of!(ChunkFwd, f) - 48usize];
    ["Offset of field: ChunkFwd::rows"][::std::mem::offset_of!(ChunkFwd, rows) - 56usize];
    ["Offset of field: ChunkFwd::cols"][::std::mem::offset_of!(ChunkFwd, cols) - 60usize];
    ["Offset of field: ChunkFwd::parts"][::std::mem::offset_of!(ChunkFwd, parts) - 64usize];
    ["Offset of field: ChunkFwd::reserved"][::std::mem::offset_of!(ChunkFwd, reserved) - 68usize];
};
#[doc = " dx = da | db | …, zeros where one is absent."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ChunkBwd {
    #[doc = " (rows, cols) or absent, read"]
    pub da: u64,
    #[doc = " (rows, cols) or absent, read"]
    pub db: u64,
    #[doc = " (rows, cols) or absent, read"]
    pub dc: u64,
    #[doc = " (rows, cols) or absent, read"]
    pub dd: u64,
    #[doc = " (rows, cols) or absent, read"]
    pub de: u64,
    #[doc = " (rows, cols) or absent, read"]
    pub df: u64,
    #[doc = " (rows, parts·cols), written"]
    pub dx: u64,
    pub rows: u32,
    pub cols: u32,
    pub parts: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ChunkBwd"][::std::mem::size_of::<ChunkBwd>() - 72usize];
    ["Alignment of ChunkBwd"][::std::mem::align_of::<ChunkBwd>() - 8usize];
    ["Offset of field: ChunkBwd::da"][::std::mem::offset_of!(ChunkBwd, da) - 0usize];
    ["Offset of field: ChunkBwd::db"][::std::mem::offset_of!(ChunkBwd, db) - 8usize];
    ["Offset of field: ChunkBwd::dc"][::std::mem::offset_of!(ChunkBwd, dc) - 16usize];
    ["Offset of field: ChunkBwd::dd"][::std::mem::offset_of!(ChunkBwd, dd) - 24usize];
    ["Offset of field: ChunkBwd::de"][::std::mem::offset_of!(ChunkBwd, de) - 32usize];
    ["Offset of field: ChunkBwd::df"][::std::mem::offset_of!(ChunkBwd, df) - 40usize];
    ["Offset of field: ChunkBwd::dx"][::std::mem::offset_of!(ChunkBwd, dx) - 48usize];
    ["Offset of field: ChunkBwd::rows"][::std::mem::offset_of!(ChunkBwd, rows) - 56usize];
    ["Offset of field: ChunkBwd::cols"][::std::mem::offset_of!(ChunkBwd, cols) - 60usize];
    ["Offset of field: ChunkBwd::parts"][::std::mem::offset_of!(ChunkBwd, parts) - 64usize];
    ["Offset of field: ChunkBwd::reserved"][::std::mem::offset_of!(ChunkBwd, reserved) - 68usize];
};
#[doc = " y = Σᵢ coefficients[i]·xᵢ over the tensors that are there."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct CombineFwd {
    #[doc = " (count), read"]
    pub x0: u64,
    #[doc = " (count) or absent, read"]
    pub x1: u64,
    #[doc = " (count) or absent, read"]
    pub x2: u64,
    #[doc = " (count) or absent, read"]
    pub x3: u64,
    #[doc = " (count) or absent, read"]
    pub x4: u64,
    #[doc = " (count) or absent, read"]
    pub x5: u64,
    #[doc = " (count) or absent, read"]
    pub x6: u64,
    #[doc = " (count) or absent, read"]
    pub x7: u64,
    #[doc = " (count), written"]
    pub y: u64,
    pub coefficients: [f32; 8usize],
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CombineFwd"][::std::mem::size_of::<CombineFwd>() - 112usize];
    ["Alignment of CombineFwd"][::std::mem::align_of::<CombineFwd>() - 8usize];
    ["Offset of field: CombineFwd::x0"][::std::mem::offset_of!(CombineFwd, x0) - 0usize];
    ["Offset of field: CombineFwd::x1"][::std::mem::offset_of!(CombineFwd, x1) - 8usize];
    ["Offset of field: CombineFwd::x2"][::std::mem::offset_of!(CombineFwd, x2) - 16usize];
    ["Offset of field: CombineFwd::x3"][::std::mem::offset_of!(CombineFwd, x3) - 24usize];
    ["Offset of field: CombineFwd::x4"][::std::mem::offset_of!(CombineFwd, x4) - 32usize];
    ["Offset of field: CombineFwd::x5"][::std::mem::offset_of!(CombineFwd, x5) - 40usize];
    ["Offset of field: CombineFwd::x6"][::std::mem::offset_of!(CombineFwd, x6) - 48usize];
    ["Offset of field: CombineFwd::x7"][::std::mem::offset_of!(CombineFwd, x7) - 56usize];
    ["Offset of field: CombineFwd::y"][::std::mem::offset_of!(CombineFwd, y) - 64usize];
    ["Offset of field: CombineFwd::coefficients"][::std::mem::offset_of!(CombineFwd, coefficients) - 72usize];
    ["Offset of field: CombineFwd::count"][::std::mem::offset_of!(CombineFwd, count) - 104usize];
    ["Offset of field: CombineFwd::reserved"][::std::mem::offset_of!(CombineFwd, reserved) - 108usize];
};
#[doc = " dxᵢ = coefficients[i]·dy for those that are there."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct CombineBwd {
    #[doc = " (count), read"]
    pub dy: u64,
    #[doc = " (count) or absent, written"]
    pub dx0: u64,
    #[doc = " (count) or absent, written"]
    pub dx1: u64,
    #[doc = " (count) or absent, written"]
    pub dx2: u64,
    #[doc = " (count) or absent, written"]
    pub dx3: u64,
    #[doc = " (count) or absent, written"]
    pub dx4: u64,
    #[doc = " (count) or absent, written"]
    pub dx5: u64,
    #[doc = " (count) or absent, written"]
    pub dx6: u64,
    #[doc = " (count) or absent, written"]
    pub dx7: u64,
    pub coefficients: [f32; 8usize],
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CombineBwd"][::std::mem::size_of::<CombineBwd>() - 112usize];
    ["Alignment of CombineBwd"][::std::mem::align_of::<CombineBwd>() - 8usize];
    ["Offset of field: CombineBwd::dy"][::std::mem::offset_of!(CombineBwd, dy) - 0usize];
    ["Offset of field: CombineBwd::dx0"][::std::mem::offset_of!(CombineBwd, dx0) - 8usize];
    ["Offset of field: CombineBwd::dx1"][::std::mem::offset_of!(CombineBwd, dx1) - 16usize];
    ["Offset of field: CombineBwd::dx2"][::std::mem::offset_of!(CombineBwd, dx2) - 24usize];
    ["Offset of field: CombineBwd::dx3"][::std::mem::offset_of!(CombineBwd, dx3) - 32usize];
    ["Offset of field: CombineBwd::dx4"][::std::mem::offset_of!(CombineBwd, dx4) - 40usize];
    ["Offset of field: CombineBwd::dx5"][::std::mem::offset_of!(CombineBwd, dx5) - 48usize];
    ["Offset of field: CombineBwd::dx6"][::std::mem::offset_of!(CombineBwd, dx6) - 56usize];
    ["Offset of field: CombineBwd::dx7"][::std::mem::offset_of!(CombineBwd, dx7) - 64usize];
    ["Offset of field: CombineBwd::coefficients"][::std::mem::offset_of!(CombineBwd, coefficients) - 72usize];
    ["Offset of field: CombineBwd::count"][::std::mem::offset_of!(CombineBwd, count) - 104usize];
    ["Offset of field: CombineBwd::reserved"][::std::mem::offset_of!(CombineBwd, reserved) - 108usize];
};
#[doc = " y[b, i, j, o] = residual[b, i, j, o] + bias[o] + Σ_{u, v, c} x\u{303}[b, stride·i + u − top, stride·j + v − left, c]·weight[o, u, v, c],\n where x\u{303} is x (with `upsample` = 1: x doubled by nearest neighbour) and 0 outside of it."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv2dFwd {
    #[doc = " (batch, height, width, inputs), read"]
    pub x: u64,
    #[doc = " (outputs, kernel_height, kernel_width, inputs), or with `phased` = 1 what Conv2dPhases makes of it, read"]
    pub weight: u64,
    #[doc = " (outputs) or absent, f32, read"]
    pub bias: u64,
    #[doc = " as y or absent, read"]
    pub residual: u64,
    #[doc = " (batch, out_height, out_width, outputs), written"]
    pub y: u64,
    #[doc = " (batch, parts, groups, 2) f32 or absent, written: of y what GroupNormStats writes, a part for each tile's pixels. On CUDA, where tiles\n have whole groups of pixels of one image (`statistics_parts` in src/ops/conv2d/tiles.rs)."]
    pub statistics: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub kernel_height: u32,
    pub kernel_width: u32,
    pub stride: u32,
    pub top: u32,
    pub left: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub upsample: u32,
    #[doc = " 1 only with `upsample`, and on CUDA always then"]
    pub phased: u32,
    #[doc = " on CUDA"]
    pub tile: u32,
    #[doc = " of `statistics`"]
    pub groups: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dFwd"][::std::mem::size_of::<Conv2dFwd>() - 112usize];
    ["Alignment of Conv2dFwd"][::std::mem::align_of::<Conv2dFwd>() - 8usize];
    ["Offset of field: Conv2dFwd::x"][::std::mem::offset_of!(Conv2dFwd, x) - 0usize];
    ["Offset of field: Conv2dFwd::weight"][::std::mem::offset_of!(Conv2dFwd, weight) - 8usize];
    ["Offset of field: Conv2dFwd::bias"][::std::mem::offset_of!(Conv2dFwd, bias) - 16usize];
    ["Offset of field: Conv2dFwd::residual"][::std::mem::offset_of!(Conv2dFwd, residual) - 24usize];
    ["Offset of field: Conv2dFwd::y"][::std::mem::offset_of!(Conv2dFwd, y) - 32usize];
    ["Offset of field: Conv2dFwd::statistics"][::std::mem::offset_of!(Conv2dFwd, statistics) - 40usize];
    ["Offset of field: Conv2dFwd::batch"][::std::mem::offset_of!(Conv2dFwd, batch) - 48usize];
    ["Offset of field: Conv2dFwd::height"][::std::mem::offset_of!(Conv2dFwd, height) - 52usize];
    ["Offset of field: Conv2dFwd::width"][::std::mem::offset_of!(Conv2dFwd, width) - 56usize];
    ["Offset of field: Conv2dFwd::inputs"][::std::mem::offset_of!(Conv2dFwd, inputs) - 60usize];
    ["Offset of field: Conv2dFwd::outputs"][::std::mem::offset_of!(Conv2dFwd, outputs) - 64usize];
    ["Offset of field: Conv2dFwd::kernel_height"][::std::mem::offset_of!(Conv2dFwd, kernel_height) - 68usize];
    ["Offset of field: Conv2dFwd::kernel_width"][::std::mem::offset_of!(Conv2dFwd, kernel_width) - 72usize];
    ["Offset of field: Conv2dFwd::stride"][::std::mem::offset_of!(Conv2dFwd, stride) - 76usize];
    ["Offset of field: Conv2dFwd::top"][::std::mem::offset_of!(Conv2dFwd, top) - 80usize];
    ["Offset of field: Conv2dFwd::left"][::std::mem::offset_of!(Conv2dFwd, left) - 84usize];
    ["Offset of field: Conv2dFwd::out_height"][::std::mem::offset_of!(Conv2dFwd, out_height) - 88usize];
    ["Offset of field: Conv2dFwd::out_width"][::std::mem::offset_of!(Conv2dFwd, out_width) - 92usize];
    ["Offset of field: Conv2dFwd::upsample"][::std::mem::offset_of!(Conv2dFwd, upsample) - 96usize];
    ["Offset of field: Conv2dFwd::phased"][::std::mem::offset_of!(Conv2dFwd, phased) - 100usize];
    ["Offset of field: Conv2dFwd::tile"][::std::mem::offset_of!(Conv2dFwd, tile) - 104usize];
    ["Offset of field: Conv2dFwd::groups"][::std::mem::offset_of!(Conv2dFwd, groups) - 108usize];
};
#[doc = " dx: the transpose of `Conv2dFwd` in x."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv2dBwdData {
    #[doc = " (batch, out_height, out_width, outputs), read"]
    pub dy: u64,
    #[doc = " as Conv2dFwd's, read"]
    pub weight: u64,
    #[doc = " (batch, height, width, inputs), written"]
    pub dx: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub kernel_height: u32,
    pub kernel_width: u32,
    pub stride: u32,
    pub top: u32,
    pub left: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub upsample: u32,
    #[doc = " as Conv2dFwd's"]
    pub phased: u32,
    pub tile: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dBwdData"][::std::mem::size_of::<Conv2dBwdData>() - 88usize];
    ["Alignment of Conv2dBwdData"][::std::mem::align_of::<Conv2dBwdData>() - 8usize];
    ["Offset of field: Conv2dBwdData::dy"][::std::mem::offset_of!(Conv2dBwdData, dy) - 0usize];
    ["Offset of field: Conv2dBwdData::weight"][::std::mem::offset_of!(Conv2dBwdData, weight) - 8usize];
    ["Offset of field: Conv2dBwdData::dx"][::std::mem::offset_of!(Conv2dBwdData, dx) - 16usize];
    ["Offset of field: Conv2dBwdData::batch"][::std::mem::offset_of!(Conv2dBwdData, batch) - 24usize];
    ["Offset of field: Conv2dBwdData::height"][::std::mem::offset_of!(Conv2dBwdData, height) - 28usize];
    ["Offset of field: Conv2dBwdData::width"][::std::mem::offset_of!(Conv2dBwdData, width) - 32usize];
    ["Offset of field: Conv2dBwdData::inputs"][::std::mem::offset_of!(Conv2dBwdData, inputs) - 36usize];
    ["Offset of field: Conv2dBwdData::outputs"][::std::mem::offset_of!(Conv2dBwdData, outputs) - 40usize];
    ["Offset of field: Conv2dBwdData::kernel_height"][::std::mem::offset_of!(Conv2dBwdData, kernel_height) - 44usize];
    ["Offset of field: Conv2dBwdData::kernel_width"][::std::mem::offset_of!(Conv2dBwdData, kernel_width) - 48usize];
    ["Offset of field: Conv2dBwdData::stride"][::std::mem::offset_of!(Conv2dBwdData, stride) - 52usize];
    ["Offset of field: Conv2dBwdData::top"][::std::mem::offset_of!(Conv2dBwdData, top) - 56usize];
    ["Offset of field: Conv2dBwdData::left"][::std::mem::offset_of!(Conv2dBwdData, left) - 60usize];
    ["Offset of field: Conv2dBwdData::out_height"][::std::mem::offset_of!(Conv2dBwdData, out_height) - 64usize];
    ["Offset of field: Conv2dBwdData::out_width"][::std::mem::offset_of!(Conv2dBwdData, out_width) - 68usize];
    ["Offset of field: Conv2dBwdData::upsample"][::std::mem::offset_of!(Conv2dBwdData, upsample) - 72usize];
    ["Offset of field: Conv2dBwdData::phased"][::std::mem::offset_of!(Conv2dBwdData, phased) - 76usize];
    ["Offset of field: Conv2dBwdData::tile"][::std::mem::offset_of!(Conv2dBwdData, tile) - 80usize];
    ["Offset of field: Conv2dBwdData::reserved"][::std::mem::offset_of!(Conv2dBwdData, reserved) - 84usize];
};
#[doc = " dweight and dbias: the transpose of `Conv2dFwd` in weight and bias. CUDA cuts the sum over pixels into `splits` parts, which\n Conv2dBwdWeightSum adds up; with `phased` = 1 it also leaves the four phases of y's pixels apart, as Conv2dPhases does the weights'."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv2dBwdWeight {
    #[doc = " (batch, height, width, inputs), read"]
    pub x: u64,
    #[doc = " (batch, out_height, out_width, outputs), read"]
    pub dy: u64,
    #[doc = " (splits) of (outputs, kernel_height, kernel_width, inputs), or of phases as Conv2dPhases', or absent, f32, written"]
    pub dweight: u64,
    #[doc = " (splits, outputs), with `phased` (splits, 4, outputs), or absent, f32, written"]
    pub dbias: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub kernel_height: u32,
    pub kernel_width: u32,
    pub stride: u32,
    pub top: u32,
    pub left: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub upsample: u32,
    #[doc = " as Conv2dFwd's"]
    pub phased: u32,
    pub tile: u32,
    #[doc = " 1 on the CPU"]
    pub splits: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dBwdWeight"][::std::mem::size_of::<Conv2dBwdWeight>() - 96usize];
    ["Alignment of Conv2dBwdWeight"][::std::mem::align_of::<Conv2dBwdWeight>() - 8usize];
    ["Offset of field: Conv2dBwdWeight::x"][::std::mem::offset_of!(Conv2dBwdWeight, x) - 0usize];
    ["Offset of field: Conv2dBwdWeight::dy"][::std::mem::offset_of!(Conv2dBwdWeight, dy) - 8usize];
    ["Offset of field: Conv2dBwdWeight::dweight"][::std::mem::offset_of!(Conv2dBwdWeight, dweight) - 16usize];
    ["Offset of field: Conv2dBwdWeight::dbias"][::std::mem::offset_of!(Conv2dBwdWeight, dbias) - 24usize];
    ["Offset of field: Conv2dBwdWeight::batch"][::std::mem::offset_of!(Conv2dBwdWeight, batch) - 32usize];
    ["Offset of field: Conv2dBwdWeight::height"][::std::mem::offset_of!(Conv2dBwdWeight, height) - 36usize];
    ["Offset of field: Conv2dBwdWeight::width"][::std::mem::offset_of!(Conv2dBwdWeight, width) - 40usize];
    ["Offset of field: Conv2dBwdWeight::inputs"][::std::mem::offset_of!(Conv2dBwdWeight, inputs) - 44usize];
    ["Offset of field: Conv2dBwdWeight::outputs"][::std::mem::offset_of!(Conv2dBwdWeight, outputs) - 48usize];
    ["Offset of field: Conv2dBwdWeight::kernel_height"]
        [::std::mem::offset_of!(Conv2dBwdWeight, kernel_height) - 52usize];
    ["Offset of field: Conv2dBwdWeight::kernel_width"][::std::mem::offset_of!(Conv2dBwdWeight, kernel_width) - 56usize];
    ["Offset of field: Conv2dBwdWeight::stride"][::std::mem::offset_of!(Conv2dBwdWeight, stride) - 60usize];
    ["Offset of field: Conv2dBwdWeight::top"][::std::mem::offset_of!(Conv2dBwdWeight, top) - 64usize];
    ["Offset of field: Conv2dBwdWeight::left"][::std::mem::offset_of!(Conv2dBwdWeight, left) - 68usize];
    ["Offset of field: Conv2dBwdWeight::out_height"][::std::mem::offset_of!(Conv2dBwdWeight, out_height) - 72usize];
    ["Offset of field: Conv2dBwdWeight::out_width"][::std::mem::offset_of!(Conv2dBwdWeight, out_width) - 76usize];
    ["Offset of field: Conv2dBwdWeight::upsample"][::std::mem::offset_of!(Conv2dBwdWeight, upsample) - 80usize];
    ["Offset of field: Conv2dBwdWeight::phased"][::std::mem::offset_of!(Conv2dBwdWeight, phased) - 84usize];
    ["Offset of field: Conv2dBwdWeight::tile"][::std::mem::offset_of!(Conv2dBwdWeight, tile) - 88usize];
    ["Offset of field: Conv2dBwdWeight::splits"][::std::mem::offset_of!(Conv2dBwdWeight, splits) - 92usize];
};
#[doc = " dweight[o, u, v, i] = Σ over splits of parts; with `phased` = 1 also over the four phases, of phase (a, b)'s tap to which (u, v) went."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv2dBwdWeightSum {
    #[doc = " Conv2dBwdWeight's dweight or absent, f32, read"]
    pub parts: u64,
    #[doc = " Conv2dBwdWeight's dbias or absent, f32, read"]
    pub bias_parts: u64,
    #[doc = " (outputs, kernel_height, kernel_width, inputs) or absent, f32, written"]
    pub dweight: u64,
    #[doc = " (outputs) or absent, f32, written"]
    pub dbias: u64,
    pub inputs: u32,
    pub outputs: u32,
    pub kernel_height: u32,
    pub kernel_width: u32,
    pub top: u32,
    pub left: u32,
    pub phased: u32,
    pub splits: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dBwdWeightSum"][::std::mem::size_of::<Conv2dBwdWeightSum>() - 64usize];
    ["Alignment of Conv2dBwdWeightSum"][::std::mem::align_of::<Conv2dBwdWeightSum>() - 8usize];
    ["Offset of field: Conv2dBwdWeightSum::parts"][::std::mem::offset_of!(Conv2dBwdWeightSum, parts) - 0usize];
    ["Offset of field: Conv2dBwdWeightSum::bias_parts"]
        [::std::mem::offset_of!(Conv2dBwdWeightSum, bias_parts) - 8usize];
    ["Offset of field: Conv2dBwdWeightSum::dweight"][::std::mem::offset_of!(Conv2dBwdWeightSum, dweight) - 16usize];
    ["Offset of field: Conv2dBwdWeightSum::dbias"][::std::mem::offset_of!(Conv2dBwdWeightSum, dbias) - 24usize];
    ["Offset of field: Conv2dBwdWeightSum::inputs"][::std::mem::offset_of!(Conv2dBwdWeightSum, inputs) - 32usize];
    ["Offset of field: Conv2dBwdWeightSum::outputs"][::std::mem::offset_of!(Conv2dBwdWeightSum, outputs) - 36usize];
    ["Offset of field: Conv2dBwdWeightSum::kernel_height"]
        [::std::mem::offset_of!(Conv2dBwdWeightSum, kernel_height) - 40usize];
    ["Offset of field: Conv2dBwdWeightSum::kernel_width"]
        [::std::mem::offset_of!(Conv2dBwdWeightSum, kernel_width) - 44usize];
    ["Offset of field: Conv2dBwdWeightSum::top"][::std::mem::offset_of!(Conv2dBwdWeightSum, top) - 48usize];
    ["Offset of field: Conv2dBwdWeightSum::left"][::std::mem::offset_of!(Conv2dBwdWeightSum, left) - 52usize];
    ["Offset of field: Conv2dBwdWeightSum::phased"][::std::mem::offset_of!(Conv2dBwdWeightSum, phased) - 56usize];
    ["Offset of field: Conv2dBwdWeightSum::splits"][::std::mem::offset_of!(Conv2dBwdWeightSum, splits) - 60usize];
};
#[doc = " The weights of a convolution through the nearest-neighbour ×2 upsample as four convolutions of x itself, one for each parity (a, b) of\n y's rows and columns: phases[a, b, o, t, r, i] = Σ weight[o, u, v, i] over the u with ⌊((a + top) % 2 + u)/2⌋ = t and the v likewise.\n Tap (t, r) of phase (a, b) reads x at row ⌊(a − top)/2⌋ + t for row a of y. t < kernel_height/2 + 1, r < kernel_width/2 + 1."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv2dPhases {
    #[doc = " (outputs, kernel_height, kernel_width, inputs), read"]
    pub weight: u64,
    #[doc = " (2, 2, outputs, kernel_height/2 + 1, kernel_width/2 + 1, inputs), written"]
    pub phases: u64,
    pub inputs: u32,
    pub outputs: u32,
    pub kernel_height: u32,
    pub kernel_width: u32,
    pub top: u32,
    pub left: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dPhases"][::std::mem::size_of::<Conv2dPhases>() - 40usize];
    ["Alignment of Conv2dPhases"][::std::mem::align_of::<Conv2dPhases>() - 8usize];
    ["Offset of field: Conv2dPhases::weight"][::std::mem::offset_of!(Conv2dPhases, weight) - 0usize];
    ["Offset of field: Conv2dPhases::phases"][::std::mem::offset_of!(Conv2dPhases, phases) - 8usize];
    ["Offset of field: Conv2dPhases::inputs"][::std::mem::offset_of!(Conv2dPhases, inputs) - 16usize];
    ["Offset of field: Conv2dPhases::outputs"][::std::mem::offset_of!(Conv2dPhases, outputs) - 20usize];
    ["Offset of field: Conv2dPhases::kernel_height"][::std::mem::offset_of!(Conv2dPhases, kernel_height) - 24usize];
    ["Offset of field: Conv2dPhases::kernel_width"][::std::mem::offset_of!(Conv2dPhases, kernel_width) - 28usize];
    ["Offset of field: Conv2dPhases::top"][::std::mem::offset_of!(Conv2dPhases, top) - 32usize];
    ["Offset of field: Conv2dPhases::left"][::std::mem::offset_of!(Conv2dPhases, left) - 36usize];
};
#[doc = " y[row, c] = x[row, c], with zeros for further channels: on CUDA the tensors of convolutions have channels in multiples of 16 bytes."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv2dChannels {
    #[doc = " (rows, from), read"]
    pub x: u64,
    #[doc = " (rows, to), written"]
    pub y: u64,
    pub rows: u32,
    pub from: u32,
    #[doc = " on CUDA the larger one of the two is a multiple of 16 bytes"]
    pub to: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dChannels"][::std::mem::size_of::<Conv2dChannels>() - 32usize];
    ["Alignment of Conv2dChannels"][::std::mem::align_of::<Conv2dChannels>() - 8usize];
    ["Offset of field: Conv2dChannels::x"][::std::mem::offset_of!(Conv2dChannels, x) - 0usize];
    ["Offset of field: Conv2dChannels::y"][::std::mem::offset_of!(Conv2dChannels, y) - 8usize];
    ["Offset of field: Conv2dChannels::rows"][::std::mem::offset_of!(Conv2dChannels, rows) - 16usize];
    ["Offset of field: Conv2dChannels::from"][::std::mem::offset_of!(Conv2dChannels, from) - 20usize];
    ["Offset of field: Conv2dChannels::to"][::std::mem::offset_of!(Conv2dChannels, to) - 24usize];
    ["Offset of field: Conv2dChannels::reserved"][::std::mem::offset_of!(Conv2dChannels, reserved) - 28usize];
};
#[doc = " y[r] = a·b / (max(‖a‖, eps)·max(‖b‖, eps)).\n Grid: parts."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct CosineSimilarityFwd {
    #[doc = " (rows, channels), read"]
    pub a: u64,
    #[doc = " (rows, channels), read"]
    pub b: u64,
    #[doc = " (rows), written"]
    pub y: u64,
    pub rows: u32,
    pub channels: u32,
    #[doc = " rows are cut into this many equal parts, the last one shorter"]
    pub parts: u32,
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CosineSimilarityFwd"][::std::mem::size_of::<CosineSimilarityFwd>() - 40usize];
    ["Alignment of CosineSimilarityFwd"][::std::mem::align_of::<CosineSimilarityFwd>() - 8usize];
    ["Offset of field: CosineSimilarityFwd::a"][::std::mem::offset_of!(CosineSimilarityFwd, a) - 0usize];
    ["Offset of field: CosineSimilarityFwd::b"][::std::mem::offset_of!(CosineSimilarityFwd, b) - 8usize];
    ["Offset of field: CosineSimilarityFwd::y"][::std::mem::offset_of!(CosineSimilarityFwd, y) - 16usize];
    ["Offset of field: CosineSimilarityFwd::rows"][::std::mem::offset_of!(CosineSimilarityFwd, rows) - 24usize];
    ["Offset of field: CosineSimilarityFwd::channels"][::std::mem::offset_of!(CosineSimilarityFwd, channels) - 28usize];
    ["Offset of field: CosineSimilarityFwd::parts"][::std::mem::offset_of!(CosineSimilarityFwd, parts) - 32usize];
    ["Offset of field: CosineSimilarityFwd::eps"][::std::mem::offset_of!(CosineSimilarityFwd, eps) - 36usize];
};
#[doc = " da = dy·(b/(‖a‖‖b‖) − y·a/‖a‖²), the second term only where ‖a‖ > eps; db likewise.\n Grid: parts."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct CosineSimilarityBwd {
    #[doc = " (rows, channels), read"]
    pub a: u64,
    #[doc = " (rows, channels), read"]
    pub b: u64,
    #[doc = " (rows), read"]
    pub dy: u64,
    #[doc = " (rows, channels) or absent, written"]
    pub da: u64,
    #[doc = " (rows, channels) or absent, written"]
    pub db: u64,
    pub rows: u32,
    pub channels: u32,
    #[doc = " as above"]
    pub parts: u32,
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CosineSimilarityBwd"][::std::mem::size_of::<CosineSimilarityBwd>() - 56usize];
    ["Alignment of CosineSimilarityBwd"][::std::mem::align_of::<CosineSimilarityBwd>() - 8usize];
    ["Offset of field: CosineSimilarityBwd::a"][::std::mem::offset_of!(CosineSimilarityBwd, a) - 0usize];
    ["Offset of field: CosineSimilarityBwd::b"][::std::mem::offset_of!(CosineSimilarityBwd, b) - 8usize];
    ["Offset of field: CosineSimilarityBwd::dy"][::std::mem::offset_of!(CosineSimilarityBwd, dy) - 16usize];
    ["Offset of field: CosineSimilarityBwd::da"][::std::mem::offset_of!(CosineSimilarityBwd, da) - 24usize];
    ["Offset of field: CosineSimilarityBwd::db"][::std::mem::offset_of!(CosineSimilarityBwd, db) - 32usize];
    ["Offset of field: CosineSimilarityBwd::rows"][::std::mem::offset_of!(CosineSimilarityBwd, rows) - 40usize];
    ["Offset of field: CosineSimilarityBwd::channels"][::std::mem::offset_of!(CosineSimilarityBwd, channels) - 44usize];
    ["Offset of field: CosineSimilarityBwd::parts"][::std::mem::offset_of!(CosineSimilarityBwd, parts) - 48usize];
    ["Offset of field: CosineSimilarityBwd::eps"][::std::mem::offset_of!(CosineSimilarityBwd, eps) - 52usize];
};
#[doc = " y[i] = table[indices[i]]; NaN where an index lies outside the table."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct EmbeddingFwd {
    #[doc = " (entries, cols), read"]
    pub table: u64,
    #[doc = " (count) u32, read"]
    pub indices: u64,
    #[doc = " (count, cols), written"]
    pub y: u64,
    pub entries: u32,
    pub cols: u32,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of EmbeddingFwd"][::std::mem::size_of::<EmbeddingFwd>() - 40usize];
    ["Alignment of EmbeddingFwd"][::std::mem::align_of::<EmbeddingFwd>() - 8usize];
    ["Offset of field: EmbeddingFwd::table"][::std::mem::offset_of!(EmbeddingFwd, table) - 0usize];
    ["Offset of field: EmbeddingFwd::indices"][::std::mem::offset_of!(EmbeddingFwd, indices) - 8usize];
    ["Offset of field: EmbeddingFwd::y"][::std::mem::offset_of!(EmbeddingFwd, y) - 16usize];
    ["Offset of field: EmbeddingFwd::entries"][::std::mem::offset_of!(EmbeddingFwd, entries) - 24usize];
    ["Offset of field: EmbeddingFwd::cols"][::std::mem::offset_of!(EmbeddingFwd, cols) - 28usize];
    ["Offset of field: EmbeddingFwd::count"][::std::mem::offset_of!(EmbeddingFwd, count) - 32usize];
    ["Offset of field: EmbeddingFwd::reserved"][::std::mem::offset_of!(EmbeddingFwd, reserved) - 36usize];
};
#[doc = " dtable[k] = Σ_{i: indices[i] = k} dy[i], in ascending order of i."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct EmbeddingBwd {
    #[doc = " (count, cols), read"]
    pub dy: u64,
    #[doc = " (count) u32, read"]
    pub indices: u64,
    #[doc = " (entries, cols) f32, written"]
    pub dtable: u64,
    pub entries: u32,
    pub cols: u32,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of EmbeddingBwd"][::std::mem::size_of::<EmbeddingBwd>() - 40usize];
    ["Alignment of EmbeddingBwd"][::std::mem::align_of::<EmbeddingBwd>() - 8usize];
    ["Offset of field: EmbeddingBwd::dy"][::std::mem::offset_of!(EmbeddingBwd, dy) - 0usize];
    ["Offset of field: EmbeddingBwd::indices"][::std::mem::offset_of!(EmbeddingBwd, indices) - 8usize];
    ["Offset of field: EmbeddingBwd::dtable"][::std::mem::offset_of!(EmbeddingBwd, dtable) - 16usize];
    ["Offset of field: EmbeddingBwd::entries"][::std::mem::offset_of!(EmbeddingBwd, entries) - 24usize];
    ["Offset of field: EmbeddingBwd::cols"][::std::mem::offset_of!(EmbeddingBwd, cols) - 28usize];
    ["Offset of field: EmbeddingBwd::count"][::std::mem::offset_of!(EmbeddingBwd, count) - 32usize];
    ["Offset of field: EmbeddingBwd::reserved"][::std::mem::offset_of!(EmbeddingBwd, reserved) - 36usize];
};
#[doc = " y = value."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Fill {
    #[doc = " (count), written"]
    pub y: u64,
    pub value: f32,
    pub count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Fill"][::std::mem::size_of::<Fill>() - 16usize];
    ["Alignment of Fill"][::std::mem::align_of::<Fill>() - 8usize];
    ["Offset of field: Fill::y"][::std::mem::offset_of!(Fill, y) - 0usize];
    ["Offset of field: Fill::value"][::std::mem::offset_of!(Fill, value) - 8usize];
    ["Offset of field: Fill::count"][::std::mem::offset_of!(Fill, count) - 12usize];
};
#[doc = " out = x + gate·y.\n Grid: (slices, cols / tile, gates), blocks of channel_tile.cuh; dynamic shared memory: one array of channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GateFwd {
    #[doc = " (gates, rows_per_gate, cols), read"]
    pub x: u64,
    #[doc = " (gates, cols), or f32 as `parameter` says; read"]
    pub gate: u64,
    #[doc = " (gates, rows_per_gate, cols), read"]
    pub y: u64,
    #[doc = " (gates, rows_per_gate, cols), written"]
    pub out: u64,
    pub gates: u32,
    pub rows_per_gate: u32,
    pub cols: u32,
    #[doc = " columns of a block"]
    pub tile: u32,
    #[doc = " a gate's rows are cut into this many slices, one for a block"]
    pub slices: u32,
    #[doc = " 1: the gate is a parameter (layer scale), which is f32 whatever the others are"]
    pub parameter: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GateFwd"][::std::mem::size_of::<GateFwd>() - 56usize];
    ["Alignment of GateFwd"][::std::mem::align_of::<GateFwd>() - 8usize];
    ["Offset of field: GateFwd::x"][::std::mem::offset_of!(GateFwd, x) - 0usize];
    ["Offset of field: GateFwd::gate"][::std::mem::offset_of!(GateFwd, gate) - 8usize];
    ["Offset of field: GateFwd::y"][::std::mem::offset_of!(GateFwd, y) - 16usize];
    ["Offset of field: GateFwd::out"][::std::mem::offset_of!(GateFwd, out) - 24usize];
    ["Offset of field: GateFwd::gates"][::std::mem::offset_of!(GateFwd, gates) - 32usize];
    ["Offset of field: GateFwd::rows_per_gate"][::std::mem::offset_of!(GateFwd, rows_per_gate) - 36usize];
    ["Offset of field: GateFwd::cols"][::std::mem::offset_of!(GateFwd, cols) - 40usize];
    ["Offset of field: GateFwd::tile"][::std::mem::offset_of!(GateFwd, tile) - 44usize];
    ["Offset of field: GateFwd::slices"][::std::mem::offset_of!(GateFwd, slices) - 48usize];
    ["Offset of field: GateFwd::parameter"][::std::mem::offset_of!(GateFwd, parameter) - 52usize];
};
#[doc = " dy = gate·dout (dx is dout itself), and dgate = Σ dout·y over a gate's rows: of each part of them where there are several.\n Grid: (parts, cols / tile, gates); dynamic shared memory: one array of channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GateBwd {
    #[doc = " (gates, rows_per_gate, cols), read"]
    pub dout: u64,
    #[doc = " (gates, cols), as above, read"]
    pub gate: u64,
    #[doc = " (gates, rows_per_gate, cols), read"]
    pub y: u64,
    #[doc = " (gates, rows_per_gate, cols) or absent, written"]
    pub dy: u64,
    #[doc = " as the gate, or absent; written if `parts` is 1"]
    pub dgate: u64,
    #[doc = " (gates, parts, 1, cols) f32, dgate's parts, or absent; written"]
    pub sums: u64,
    pub gates: u32,
    pub rows_per_gate: u32,
    pub cols: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " a gate's rows are cut into this many parts of equal length, the last one shorter"]
    pub parts: u32,
    #[doc = " as above"]
    pub parameter: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GateBwd"][::std::mem::size_of::<GateBwd>() - 72usize];
    ["Alignment of GateBwd"][::std::mem::align_of::<GateBwd>() - 8usize];
    ["Offset of field: GateBwd::dout"][::std::mem::offset_of!(GateBwd, dout) - 0usize];
    ["Offset of field: GateBwd::gate"][::std::mem::offset_of!(GateBwd, gate) - 8usize];
    ["Offset of field: GateBwd::y"][::std::mem::offset_of!(GateBwd, y) - 16usize];
    ["Offset of field: GateBwd::dy"][::std::mem::offset_of!(GateBwd, dy) - 24usize];
    ["Offset of field: GateBwd::dgate"][::std::mem::offset_of!(GateBwd, dgate) - 32usize];
    ["Offset of field: GateBwd::sums"][::std::mem::offset_of!(GateBwd, sums) - 40usize];
    ["Offset of field: GateBwd::gates"][::std::mem::offset_of!(GateBwd, gates) - 48usize];
    ["Offset of field: GateBwd::rows_per_gate"][::std::mem::offset_of!(GateBwd, rows_per_gate) - 52usize];
    ["Offset of field: GateBwd::cols"][::std::mem::offset_of!(GateBwd, cols) - 56usize];
    ["Offset of field: GateBwd::tile"][::std::mem::offset_of!(GateBwd, tile) - 60usize];
    ["Offset of field: GateBwd::parts"][::std::mem::offset_of!(GateBwd, parts) - 64usize];
    ["Offset of field: GateBwd::parameter"][::std::mem::offset_of!(GateBwd, parameter) - 68usize];
};
#[doc = " z = mean + exp(logvar/2)·noise;  kl = ½ Σ (mean² + e^logvar − 1 − logvar) / batch."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GaussianFwd {
    #[doc = " (pixels, 2·channels) = mean | logvar, read"]
    pub moments: u64,
    #[doc = " (pixels, channels), read"]
    pub noise: u64,
    #[doc = " (pixels, channels), written"]
    pub z: u64,
    #[doc = " f32, a part for each block, written"]
    pub kl: u64,
    #[doc = " batch·height·width"]
    pub pixels: u32,
    pub channels: u32,
    pub batch: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GaussianFwd"][::std::mem::size_of::<GaussianFwd>() - 48usize];
    ["Alignment of GaussianFwd"][::std::mem::align_of::<GaussianFwd>() - 8usize];
    ["Offset of field: GaussianFwd::moments"][::std::mem::offset_of!(GaussianFwd, moments) - 0usize];
    ["Offset of field: GaussianFwd::noise"][::std::mem::offset_of!(GaussianFwd, noise) - 8usize];
    ["Offset of field: GaussianFwd::z"][::std::mem::offset_of!(GaussianFwd, z) - 16usize];
    ["Offset of field: GaussianFwd::kl"][::std::mem::offset_of!(GaussianFwd, kl) - 24usize];
    ["Offset of field: GaussianFwd::pixels"][::std::mem::offset_of!(GaussianFwd, pixels) - 32usize];
    ["Offset of field: GaussianFwd::channels"][::std::mem::offset_of!(GaussianFwd, channels) - 36usize];
    ["Offset of field: GaussianFwd::batch"][::std::mem::offset_of!(GaussianFwd, batch) - 40usize];
    ["Offset of field: GaussianFwd::reserved"][::std::mem::offset_of!(GaussianFwd, reserved) - 44usize];
};
#[doc = " dmean = dz + mean·dkl/batch;  dlogvar = ½ exp(logvar/2)·noise·dz + ½ (e^logvar − 1)·dkl/batch;  dnoise = exp(logvar/2)·dz."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GaussianBwd {
    #[doc = " (pixels, 2·channels), read"]
    pub moments: u64,
    #[doc = " (pixels, channels), read"]
    pub noise: u64,
    #[doc = " (pixels, channels) or absent, read"]
    pub dz: u64,
    #[doc = " (1) f32 or absent, read"]
    pub dkl: u64,
    #[doc = " (pixels, 2·channels) or absent, written"]
    pub dmoments: u64,
    #[doc = " (pixels, channels) or absent, written"]
    pub dnoise: u64,
    pub pixels: u32,
    pub channels: u32,
    pub batch: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GaussianBwd"][::std::mem::size_of::<GaussianBwd>() - 64usize];
    ["Alignment of GaussianBwd"][::std::mem::align_of::<GaussianBwd>() - 8usize];
    ["Offset of field: GaussianBwd::moments"][::std::mem::offset_of!(GaussianBwd, moments) - 0usize];
    ["Offset of field: GaussianBwd::noise"][::std::mem::offset_of!(GaussianBwd, noise) - 8usize];
    ["Offset of field: GaussianBwd::dz"][::std::mem::offset_of!(GaussianBwd, dz) - 16usize];
    ["Offset of field: GaussianBwd::dkl"][::std::mem::offset_of!(GaussianBwd, dkl) - 24usize];
    ["Offset of field: GaussianBwd::dmoments"][::std::mem::offset_of!(GaussianBwd, dmoments) - 32usize];
    ["Offset of field: GaussianBwd::dnoise"][::std::mem::offset_of!(GaussianBwd, dnoise) - 40usize];
    ["Offset of field: GaussianBwd::pixels"][::std::mem::offset_of!(GaussianBwd, pixels) - 48usize];
    ["Offset of field: GaussianBwd::channels"][::std::mem::offset_of!(GaussianBwd, channels) - 52usize];
    ["Offset of field: GaussianBwd::batch"][::std::mem::offset_of!(GaussianBwd, batch) - 56usize];
    ["Offset of field: GaussianBwd::reserved"][::std::mem::offset_of!(GaussianBwd, reserved) - 60usize];
};
#[doc = " terms = mean² + e^logvar − 1 − logvar."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct KlTermsFwd {
    #[doc = " (pixels, 2·channels), read"]
    pub moments: u64,
    #[doc = " (pixels, channels), written"]
    pub terms: u64,
    pub pixels: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of KlTermsFwd"][::std::mem::size_of::<KlTermsFwd>() - 24usize];
    ["Alignment of KlTermsFwd"][::std::mem::align_of::<KlTermsFwd>() - 8usize];
    ["Offset of field: KlTermsFwd::moments"][::std::mem::offset_of!(KlTermsFwd, moments) - 0usize];
    ["Offset of field: KlTermsFwd::terms"][::std::mem::offset_of!(KlTermsFwd, terms) - 8usize];
    ["Offset of field: KlTermsFwd::pixels"][::std::mem::offset_of!(KlTermsFwd, pixels) - 16usize];
    ["Offset of field: KlTermsFwd::channels"][::std::mem::offset_of!(KlTermsFwd, channels) - 20usize];
};
#[doc = " dmean = 2·mean·dterms;  dlogvar = (e^logvar − 1)·dterms."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct KlTermsBwd {
    #[doc = " (pixels, 2·channels), read"]
    pub moments: u64,
    #[doc = " (pixels, channels), read"]
    pub dterms: u64,
    #[doc = " (pixels, 2·channels), written"]
    pub dmoments: u64,
    pub pixels: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of KlTermsBwd"][::std::mem::size_of::<KlTermsBwd>() - 32usize];
    ["Alignment of KlTermsBwd"][::std::mem::align_of::<KlTermsBwd>() - 8usize];
    ["Offset of field: KlTermsBwd::moments"][::std::mem::offset_of!(KlTermsBwd, moments) - 0usize];
    ["Offset of field: KlTermsBwd::dterms"][::std::mem::offset_of!(KlTermsBwd, dterms) - 8usize];
    ["Offset of field: KlTermsBwd::dmoments"][::std::mem::offset_of!(KlTermsBwd, dmoments) - 16usize];
    ["Offset of field: KlTermsBwd::pixels"][::std::mem::offset_of!(KlTermsBwd, pixels) - 24usize];
    ["Offset of field: KlTermsBwd::channels"][::std::mem::offset_of!(KlTermsBwd, channels) - 28usize];
};
#[doc = " The mean and the sum of squared differences from it, of each group in each part of the positions.\n Grid: (parts, channels / tile, batch); dynamic shared memory: two arrays of channels (channel_tile.cuh)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GroupNormStats {
    #[doc = " (batch, positions, channels), read"]
    pub x: u64,
    #[doc = " (batch, parts, groups, 2) f32: mean, sum of squares; written"]
    pub partial: u64,
    pub batch: u32,
    pub positions: u32,
    pub channels: u32,
    pub groups: u32,
    #[doc = " channels of a block: whole groups and whole chunks of 16 bytes, and a divisor of `channels`"]
    pub tile: u32,
    #[doc = " positions are cut into this many parts of equal length, the last one shorter"]
    pub parts: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GroupNormStats"][::std::mem::size_of::<GroupNormStats>() - 40usize];
    ["Alignment of GroupNormStats"][::std::mem::align_of::<GroupNormStats>() - 8usize];
    ["Offset of field: GroupNormStats::x"][::std::mem::offset_of!(GroupNormStats, x) - 0usize];
    ["Offset of field: GroupNormStats::partial"][::std::mem::offset_of!(GroupNormStats, partial) - 8usize];
    ["Offset of field: GroupNormStats::batch"][::std::mem::offset_of!(GroupNormStats, batch) - 16usize];
    ["Offset of field: GroupNormStats::positions"][::std::mem::offset_of!(GroupNormStats, positions) - 20usize];
    ["Offset of field: GroupNormStats::channels"][::std::mem::offset_of!(GroupNormStats, channels) - 24usize];
    ["Offset of field: GroupNormStats::groups"][::std::mem::offset_of!(GroupNormStats, groups) - 28usize];
    ["Offset of field: GroupNormStats::tile"][::std::mem::offset_of!(GroupNormStats, tile) - 32usize];
    ["Offset of field: GroupNormStats::parts"][::std::mem::offset_of!(GroupNormStats, parts) - 36usize];
};
#[doc = " The same of fewer and longer parts, `fold` at a time: what a convolution leaves are many. Grid: a thread for each group of each longer part."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GroupNormMerge {
    #[doc = " (batch, parts, groups, 2) f32, read"]
    pub partial: u64,
    #[doc = " (batch, ⌈parts / fold⌉, groups, 2) f32, written"]
    pub merged: u64,
    pub batch: u32,
    pub groups: u32,
    pub parts: u32,
    pub fold: u32,
    #[doc = " of a group in each of `parts`"]
    pub elements: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GroupNormMerge"][::std::mem::size_of::<GroupNormMerge>() - 40usize];
    ["Alignment of GroupNormMerge"][::std::mem::align_of::<GroupNormMerge>() - 8usize];
    ["Offset of field: GroupNormMerge::partial"][::std::mem::offset_of!(GroupNormMerge, partial) - 0usize];
    ["Offset of field: GroupNormMerge::merged"][::std::mem::offset_of!(GroupNormMerge, merged) - 8usize];
    ["Offset of field: GroupNormMerge::batch"][::std::mem::offset_of!(GroupNormMerge, batch) - 16usize];
    ["Offset of field: GroupNormMerge::groups"][::std::mem::offset_of!(GroupNormMerge, groups) - 20usize];
    ["Offset of field: GroupNormMerge::parts"][::std::mem::offset_of!(GroupNormMerge, parts) - 24usize];
    ["Offset of field: GroupNormMerge::fold"][::std::mem::offset_of!(GroupNormMerge, fold) - 28usize];
    ["Offset of field: GroupNormMerge::elements"][::std::mem::offset_of!(GroupNormMerge, elements) - 32usize];
    ["Offset of field: GroupNormMerge::reserved"][::std::mem::offset_of!(GroupNormMerge, reserved) - 36usize];
};
#[doc = " y = act((x − mean)·rstd·weight + bias), mean and rstd over the positions and channels of a group, from the statistics of its parts.\n Grid: (slices, channels / tile, batch); dynamic shared memory: four arrays of channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GroupNormFwd {
    #[doc = " (batch, positions, channels), read"]
    pub x: u64,
    #[doc = " (channels) f32, read"]
    pub weight: u64,
    #[doc = " (channels) f32, read"]
    pub bias: u64,
    #[doc = " (batch, parts, groups, 2) f32, as `GroupNormStats` writes it, read"]
    pub partial: u64,
    #[doc = " (batch, positions, channels), written"]
    pub y: u64,
    #[doc = " (batch, groups) f32, written"]
    pub mean: u64,
    #[doc = " (batch, groups) f32, written"]
    pub rstd: u64,
    #[doc = " (batch, groups) f32 or absent: the variance by one element less, for batch norm; written"]
    pub unbiased: u64,
    pub batch: u32,
    pub positions: u32,
    pub channels: u32,
    pub groups: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " of `partial`"]
    pub parts: u32,
    #[doc = " positions of each part, but the last one may have less"]
    pub length: u32,
    #[doc = " positions are cut into this many slices, one for a block"]
    pub slices: u32,
    pub eps: f32,
    #[doc = " 1: act is SiLU; 0: the identity"]
    pub silu: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GroupNormFwd"][::std::mem::size_of::<GroupNormFwd>() - 104usize];
    ["Alignment of GroupNormFwd"][::std::mem::align_of::<GroupNormFwd>() - 8usize];
    ["Offset of field: GroupNormFwd::x"][::std::mem::offset_of!(GroupNormFwd, x) - 0usize];
    ["Offset of field: GroupNormFwd::weight"][::std::mem::offset_of!(GroupNormFwd, weight) - 8usize];
    ["Offset of field: GroupNormFwd::bias"][::std::mem::offset_of!(GroupNormFwd, bias) - 16usize];
    ["Offset of field: GroupNormFwd::partial"][::std::mem::offset_of!(GroupNormFwd, partial) - 24usize];
    ["Offset of field: GroupNormFwd::y"][::std::mem::offset_of!(GroupNormFwd, y) - 32usize];
    ["Offset of field: GroupNormFwd::mean"][::std::mem::offset_of!(GroupNormFwd, mean) - 40usize];
    ["Offset of field: GroupNormFwd::rstd"][::std::mem::offset_of!(GroupNormFwd, rstd) - 48usize];
    ["Offset of field: GroupNormFwd::unbiased"][::std::mem::offset_of!(GroupNormFwd, unbiased) - 56usize];
    ["Offset of field: GroupNormFwd::batch"][::std::mem::offset_of!(GroupNormFwd, batch) - 64usize];
    ["Offset of field: GroupNormFwd::positions"][::std::mem::offset_of!(GroupNormFwd, positions) - 68usize];
    ["Offset of field: GroupNormFwd::channels"][::std::mem::offset_of!(GroupNormFwd, channels) - 72usize];
    ["Offset of field: GroupNormFwd::groups"][::std::mem::offset_of!(GroupNormFwd, groups) - 76usize];
    ["Offset of field: GroupNormFwd::tile"][::std::mem::offset_of!(GroupNormFwd, tile) - 80usize];
    ["Offset of field: GroupNormFwd::parts"][::std::mem::offset_of!(GroupNormFwd, parts) - 84usize];
    ["Offset of field: GroupNormFwd::length"][::std::mem::offset_of!(GroupNormFwd, length) - 88usize];
    ["Offset of field: GroupNormFwd::slices"][::std::mem::offset_of!(GroupNormFwd, slices) - 92usize];
    ["Offset of field: GroupNormFwd::eps"][::std::mem::offset_of!(GroupNormFwd, eps) - 96usize];
    ["Offset of field: GroupNormFwd::silu"][::std::mem::offset_of!(GroupNormFwd, silu) - 100usize];
};
#[doc = " With x\u{302} = (x − mean)·rstd, dz = dy·act′(x\u{302}·weight + bias) and, over a part's positions, S = Σ dz and T = Σ dz·x\u{302} of each channel: S\n and T, and for each group the sums over its channels of weight·S and weight·T.\n Grid: (parts, channels / tile, batch); dynamic shared memory: five arrays of channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GroupNormBwdSums {
    #[doc = " (batch, positions, channels), read"]
    pub x: u64,
    #[doc = " (channels) f32, read"]
    pub weight: u64,
    #[doc = " (channels) f32, read"]
    pub bias: u64,
    #[doc = " (batch, groups) f32, read"]
    pub mean: u64,
    #[doc = " (batch, groups) f32, read"]
    pub rstd: u64,
    #[doc = " (batch, positions, channels), read"]
    pub dy: u64,
    #[doc = " (batch, parts, 2, channels) f32: S, T; or absent; written"]
    pub by_channel: u64,
    #[doc = " (batch, parts, groups, 2) f32: of weight·S, of weight·T; or absent; written"]
    pub by_group: u64,
    pub batch: u32,
    pub positions: u32,
    pub channels: u32,
    pub groups: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " as above"]
    pub parts: u32,
    #[doc = " as above"]
    pub silu: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GroupNormBwdSums"][::std::mem::size_of::<GroupNormBwdSums>() - 96usize];
    ["Alignment of GroupNormBwdSums"][::std::mem::align_of::<GroupNormBwdSums>() - 8usize];
    ["Offset of field: GroupNormBwdSums::x"][::std::mem::offset_of!(GroupNormBwdSums, x) - 0usize];
    ["Offset of field: GroupNormBwdSums::weight"][::std::mem::offset_of!(GroupNormBwdSums, weight) - 8usize];
    ["Offset of field: GroupNormBwdSums::bias"][::std::mem::offset_of!(GroupNormBwdSums, bias) - 16usize];
    ["Offset of field: GroupNormBwdSums::mean"][::std::mem::offset_of!(GroupNormBwdSums, mean) - 24usize];
    ["Offset of field: GroupNormBwdSums::rstd"][::std::mem::offset_of!(GroupNormBwdSums, rstd) - 32usize];
    ["Offset of field: GroupNormBwdSums::dy"][::std::mem::offset_of!(GroupNormBwdSums, dy) - 40usize];
    ["Offset of field: GroupNormBwdSums::by_channel"][::std::mem::offset_of!(GroupNormBwdSums, by_channel) - 48usize];
    ["Offset of field: GroupNormBwdSums::by_group"][::std::mem::offset_of!(GroupNormBwdSums, by_group) - 56usize];
    ["Offset of field: GroupNormBwdSums::batch"][::std::mem::offset_of!(GroupNormBwdSums, batch) - 64usize];
    ["Offset of field: GroupNormBwdSums::positions"][::std::mem::offset_of!(GroupNormBwdSums, positions) - 68usize];
    ["Offset of field: GroupNormBwdSums::channels"][::std::mem::offset_of!(GroupNormBwdSums, channels) - 72usize];
    ["Offset of field: GroupNormBwdSums::groups"][::std::mem::offset_of!(GroupNormBwdSums, groups) - 76usize];
    ["Offset of field: GroupNormBwdSums::tile"][::std::mem::offset_of!(GroupNormBwdSums, tile) - 80usize];
    ["Offset of field: GroupNormBwdSums::parts"][::std::mem::offset_of!(GroupNormBwdSums, parts) - 84usize];
    ["Offset of field: GroupNormBwdSums::silu"][::std::mem::offset_of!(GroupNormBwdSums, silu) - 88usize];
    ["Offset of field: GroupNormBwdSums::reserved"][::std::mem::offset_of!(GroupNormBwdSums, reserved) - 92usize];
};
#[doc = " dbias = Σ S and dweight = Σ T over batch and parts; dx = dresidual + rstd·(weight·dz − m − x\u{302}·n), where m and n are the sums of weight·S\n and of weight·T over the parts of a group, divided by the number of its elements.\n Grid: (slices + 1, channels / tile, batch), where block x = 0 sums and the others write dx, or (1, channels / tile, 1) where no dx is\n asked for; dynamic shared memory: six arrays of channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GroupNormBwd {
    #[doc = " (batch, positions, channels), read"]
    pub x: u64,
    #[doc = " (channels) f32, read"]
    pub weight: u64,
    #[doc = " (channels) f32, read"]
    pub bias: u64,
    #[doc = " (batch, groups) f32, read"]
    pub mean: u64,
    #[doc = " (batch, groups) f32, read"]
    pub rstd: u64,
    #[doc = " (batch, positions, channels), read"]
    pub dy: u64,
    #[doc = " (batch, parts, 2, channels) f32 or absent with dweight and dbias, read"]
    pub by_channel: u64,
    #[doc = " (batch, parts, groups, 2) f32 or absent with dx, read"]
    pub by_group: u64,
    #[doc = " as x or absent: what reaches x on other ways; read"]
    pub dresidual: u64,
    #[doc = " (batch, positions, channels) or absent, written"]
    pub dx: u64,
    #[doc = " (channels) f32 or absent, written"]
    pub dweight: u64,
    #[doc = " (channels) f32 or absent, written"]
    pub dbias: u64,
    pub batch: u32,
    pub positions: u32,
    pub channels: u32,
    pub groups: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " of `by_channel` and `by_group`"]
    pub parts: u32,
    #[doc = " as above; 0 where no dx is asked for"]
    pub slices: u32,
    #[doc = " as above"]
    pub silu: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GroupNormBwd"][::std::mem::size_of::<GroupNormBwd>() - 128usize];
    ["Alignment of GroupNormBwd"][::std::mem::align_of::<GroupNormBwd>() - 8usize];
    ["Offset of field: GroupNormBwd::x"][::std::mem::offset_of!(GroupNormBwd, x) - 0usize];
    ["Offset of field: GroupNormBwd::weight"][::std::mem::offset_of!(GroupNormBwd, weight) - 8usize];
    ["Offset of field: GroupNormBwd::bias"][::std::mem::offset_of!(GroupNormBwd, bias) - 16usize];
    ["Offset of field: GroupNormBwd::mean"][::std::mem::offset_of!(GroupNormBwd, mean) - 24usize];
    ["Offset of field: GroupNormBwd::rstd"][::std::mem::offset_of!(GroupNormBwd, rstd) - 32usize];
    ["Offset of field: GroupNormBwd::dy"][::std::mem::offset_of!(GroupNormBwd, dy) - 40usize];
    ["Offset of field: GroupNormBwd::by_channel"][::std::mem::offset_of!(GroupNormBwd, by_channel) - 48usize];
    ["Offset of field: GroupNormBwd::by_group"][::std::mem::offset_of!(GroupNormBwd, by_group) - 56usize];
    ["Offset of field: GroupNormBwd::dresidual"][::std::mem::offset_of!(GroupNormBwd, dresidual) - 64usize];
    ["Offset of field: GroupNormBwd::dx"][::std::mem::offset_of!(GroupNormBwd, dx) - 72usize];
    ["Offset of field: GroupNormBwd::dweight"][::std::mem::offset_of!(GroupNormBwd, dweight) - 80usize];
    ["Offset of field: GroupNormBwd::dbias"][::std::mem::offset_of!(GroupNormBwd, dbias) - 88usize];
    ["Offset of field: GroupNormBwd::batch"][::std::mem::offset_of!(GroupNormBwd, batch) - 96usize];
    ["Offset of field: GroupNormBwd::positions"][::std::mem::offset_of!(GroupNormBwd, positions) - 100usize];
    ["Offset of field: GroupNormBwd::channels"][::std::mem::offset_of!(GroupNormBwd, channels) - 104usize];
    ["Offset of field: GroupNormBwd::groups"][::std::mem::offset_of!(GroupNormBwd, groups) - 108usize];
    ["Offset of field: GroupNormBwd::tile"][::std::mem::offset_of!(GroupNormBwd, tile) - 112usize];
    ["Offset of field: GroupNormBwd::parts"][::std::mem::offset_of!(GroupNormBwd, parts) - 116usize];
    ["Offset of field: GroupNormBwd::slices"][::std::mem::offset_of!(GroupNormBwd, slices) - 120usize];
    ["Offset of field: GroupNormBwd::silu"][::std::mem::offset_of!(GroupNormBwd, silu) - 124usize];
};
#[doc = " y = uncond + scale·(cond − uncond) in the first `guided` channels, cond in the others."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GuidanceFwd {
    #[doc = " (pixels, channels), read"]
    pub cond: u64,
    #[doc = " (pixels, channels), read"]
    pub uncond: u64,
    #[doc = " (pixels, channels), written"]
    pub y: u64,
    pub pixels: u32,
    pub channels: u32,
    pub guided: u32,
    pub scale: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GuidanceFwd"][::std::mem::size_of::<GuidanceFwd>() - 40usize];
    ["Alignment of GuidanceFwd"][::std::mem::align_of::<GuidanceFwd>() - 8usize];
    ["Offset of field: GuidanceFwd::cond"][::std::mem::offset_of!(GuidanceFwd, cond) - 0usize];
    ["Offset of field: GuidanceFwd::uncond"][::std::mem::offset_of!(GuidanceFwd, uncond) - 8usize];
    ["Offset of field: GuidanceFwd::y"][::std::mem::offset_of!(GuidanceFwd, y) - 16usize];
    ["Offset of field: GuidanceFwd::pixels"][::std::mem::offset_of!(GuidanceFwd, pixels) - 24usize];
    ["Offset of field: GuidanceFwd::channels"][::std::mem::offset_of!(GuidanceFwd, channels) - 28usize];
    ["Offset of field: GuidanceFwd::guided"][::std::mem::offset_of!(GuidanceFwd, guided) - 32usize];
    ["Offset of field: GuidanceFwd::scale"][::std::mem::offset_of!(GuidanceFwd, scale) - 36usize];
};
#[doc = " In the guided channels dcond = scale·dy and duncond = (1 − scale)·dy; in the others dcond = dy and duncond = 0."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GuidanceBwd {
    #[doc = " (pixels, channels), read"]
    pub dy: u64,
    #[doc = " (pixels, channels) or absent, written"]
    pub dcond: u64,
    #[doc = " (pixels, channels) or absent, written"]
    pub duncond: u64,
    pub pixels: u32,
    pub channels: u32,
    pub guided: u32,
    pub scale: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GuidanceBwd"][::std::mem::size_of::<GuidanceBwd>() - 40usize];
    ["Alignment of GuidanceBwd"][::std::mem::align_of::<GuidanceBwd>() - 8usize];
    ["Offset of field: GuidanceBwd::dy"][::std::mem::offset_of!(GuidanceBwd, dy) - 0usize];
    ["Offset of field: GuidanceBwd::dcond"][::std::mem::offset_of!(GuidanceBwd, dcond) - 8usize];
    ["Offset of field: GuidanceBwd::duncond"][::std::mem::offset_of!(GuidanceBwd, duncond) - 16usize];
    ["Offset of field: GuidanceBwd::pixels"][::std::mem::offset_of!(GuidanceBwd, pixels) - 24usize];
    ["Offset of field: GuidanceBwd::channels"][::std::mem::offset_of!(GuidanceBwd, channels) - 28usize];
    ["Offset of field: GuidanceBwd::guided"][::std::mem::offset_of!(GuidanceBwd, guided) - 32usize];
    ["Offset of field: GuidanceBwd::scale"][::std::mem::offset_of!(GuidanceBwd, scale) - 36usize];
};
#[doc = " loss[b] = block b's share of ½ (mean relu(1 − real) + mean relu(1 + fake)): all of it where there is one part."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct HingeFwd {
    #[doc = " (real_count), read"]
    pub real: u64,
    #[doc = " (fake_count), read"]
    pub fake: u64,
    #[doc = " (parts) f32, written"]
    pub loss: u64,
    pub real_count: u32,
    pub fake_count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of HingeFwd"][::std::mem::size_of::<HingeFwd>() - 32usize];
    ["Alignment of HingeFwd"][::std::mem::align_of::<HingeFwd>() - 8usize];
    ["Offset of field: HingeFwd::real"][::std::mem::offset_of!(HingeFwd, real) - 0usize];
    ["Offset of field: HingeFwd::fake"][::std::mem::offset_of!(HingeFwd, fake) - 8usize];
    ["Offset of field: HingeFwd::loss"][::std::mem::offset_of!(HingeFwd, loss) - 16usize];
    ["Offset of field: HingeFwd::real_count"][::std::mem::offset_of!(HingeFwd, real_count) - 24usize];
    ["Offset of field: HingeFwd::fake_count"][::std::mem::offset_of!(HingeFwd, fake_count) - 28usize];
};
#[doc = " dreal = −½ dloss/real_count where real < 1;  dfake = ½ dloss/fake_count where fake > −1."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct HingeBwd {
    #[doc = " (real_count), read"]
    pub real: u64,
    #[doc = " (fake_count), read"]
    pub fake: u64,
    #[doc = " (1) f32, read"]
    pub dloss: u64,
    #[doc = " (real_count) or absent, written"]
    pub dreal: u64,
    #[doc = " (fake_count) or absent, written"]
    pub dfake: u64,
    pub real_count: u32,
    pub fake_count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of HingeBwd"][::std::mem::size_of::<HingeBwd>() - 48usize];
    ["Alignment of HingeBwd"][::std::mem::align_of::<HingeBwd>() - 8usize];
    ["Offset of field: HingeBwd::real"][::std::mem::offset_of!(HingeBwd, real) - 0usize];
    ["Offset of field: HingeBwd::fake"][::std::mem::offset_of!(HingeBwd, fake) - 8usize];
    ["Offset of field: HingeBwd::dloss"][::std::mem::offset_of!(HingeBwd, dloss) - 16usize];
    ["Offset of field: HingeBwd::dreal"][::std::mem::offset_of!(HingeBwd, dreal) - 24usize];
    ["Offset of field: HingeBwd::dfake"][::std::mem::offset_of!(HingeBwd, dfake) - 32usize];
    ["Offset of field: HingeBwd::real_count"][::std::mem::offset_of!(HingeBwd, real_count) - 40usize];
    ["Offset of field: HingeBwd::fake_count"][::std::mem::offset_of!(HingeBwd, fake_count) - 44usize];
};
#[doc = " y = byte / 127.5 − 1: 0 to 255 become −1 to 1."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Image {
    #[doc = " (count) u8 in u32 words, the lowest first, read"]
    pub bytes: u64,
    #[doc = " (count), written"]
    pub y: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Image"][::std::mem::size_of::<Image>() - 24usize];
    ["Alignment of Image"][::std::mem::align_of::<Image>() - 8usize];
    ["Offset of field: Image::bytes"][::std::mem::offset_of!(Image, bytes) - 0usize];
    ["Offset of field: Image::y"][::std::mem::offset_of!(Image, y) - 8usize];
    ["Offset of field: Image::count"][::std::mem::offset_of!(Image, count) - 16usize];
    ["Offset of field: Image::reserved"][::std::mem::offset_of!(Image, reserved) - 20usize];
};
#[doc = " With (α, σ, α′, σ′) of each sample: xt = α·x1 + σ·x0, ut = α′·x1 + σ′·x0."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct InterpolateFwd {
    #[doc = " (batch, count), read"]
    pub x0: u64,
    #[doc = " (batch, count), read"]
    pub x1: u64,
    #[doc = " (batch, 4), f32, read"]
    pub coefficients: u64,
    #[doc = " (batch, count), written"]
    pub xt: u64,
    #[doc = " (batch, count), written"]
    pub ut: u64,
    pub batch: u32,
    pub count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of InterpolateFwd"][::std::mem::size_of::<InterpolateFwd>() - 48usize];
    ["Alignment of InterpolateFwd"][::std::mem::align_of::<InterpolateFwd>() - 8usize];
    ["Offset of field: InterpolateFwd::x0"][::std::mem::offset_of!(InterpolateFwd, x0) - 0usize];
    ["Offset of field: InterpolateFwd::x1"][::std::mem::offset_of!(InterpolateFwd, x1) - 8usize];
    ["Offset of field: InterpolateFwd::coefficients"][::std::mem::offset_of!(InterpolateFwd, coefficients) - 16usize];
    ["Offset of field: InterpolateFwd::xt"][::std::mem::offset_of!(InterpolateFwd, xt) - 24usize];
    ["Offset of field: InterpolateFwd::ut"][::std::mem::offset_of!(InterpolateFwd, ut) - 32usize];
    ["Offset of field: InterpolateFwd::batch"][::std::mem::offset_of!(InterpolateFwd, batch) - 40usize];
    ["Offset of field: InterpolateFwd::count"][::std::mem::offset_of!(InterpolateFwd, count) - 44usize];
};
#[doc = " dx0 = σ·dxt + σ′·dut, dx1 = α·dxt + α′·dut."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct InterpolateBwd {
    #[doc = " (batch, count) or absent, read"]
    pub dxt: u64,
    #[doc = " (batch, count) or absent, read"]
    pub dut: u64,
    #[doc = " (batch, 4), f32, read"]
    pub coefficients: u64,
    #[doc = " (batch, count) or absent, written"]
    pub dx0: u64,
    #[doc = " (batch, count) or absent, written"]
    pub dx1: u64,
    pub batch: u32,
    pub count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of InterpolateBwd"][::std::mem::size_of::<InterpolateBwd>() - 48usize];
    ["Alignment of InterpolateBwd"][::std::mem::align_of::<InterpolateBwd>() - 8usize];
    ["Offset of field: InterpolateBwd::dxt"][::std::mem::offset_of!(InterpolateBwd, dxt) - 0usize];
    ["Offset of field: InterpolateBwd::dut"][::std::mem::offset_of!(InterpolateBwd, dut) - 8usize];
    ["Offset of field: InterpolateBwd::coefficients"][::std::mem::offset_of!(InterpolateBwd, coefficients) - 16usize];
    ["Offset of field: InterpolateBwd::dx0"][::std::mem::offset_of!(InterpolateBwd, dx0) - 24usize];
    ["Offset of field: InterpolateBwd::dx1"][::std::mem::offset_of!(InterpolateBwd, dx1) - 32usize];
    ["Offset of field: InterpolateBwd::batch"][::std::mem::offset_of!(InterpolateBwd, batch) - 40usize];
    ["Offset of field: InterpolateBwd::count"][::std::mem::offset_of!(InterpolateBwd, count) - 44usize];
};
#[doc = " loss[b] = Σ |x_hat − x| / batch over the elements of block b; dx_hat = sign(x_hat − x)·weight / batch."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct L1Loss {
    #[doc = " (count), read"]
    pub x_hat: u64,
    #[doc = " (count), read"]
    pub x: u64,
    #[doc = " (parts) f32, written"]
    pub loss: u64,
    #[doc = " (count), written"]
    pub dx_hat: u64,
    pub count: u32,
    pub batch: u32,
    pub parts: u32,
    pub weight: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of L1Loss"][::std::mem::size_of::<L1Loss>() - 48usize];
    ["Alignment of L1Loss"][::std::mem::align_of::<L1Loss>() - 8usize];
    ["Offset of field: L1Loss::x_hat"][::std::mem::offset_of!(L1Loss, x_hat) - 0usize];
    ["Offset of field: L1Loss::x"][::std::mem::offset_of!(L1Loss, x) - 8usize];
    ["Offset of field: L1Loss::loss"][::std::mem::offset_of!(L1Loss, loss) - 16usize];
    ["Offset of field: L1Loss::dx_hat"][::std::mem::offset_of!(L1Loss, dx_hat) - 24usize];
    ["Offset of field: L1Loss::count"][::std::mem::offset_of!(L1Loss, count) - 32usize];
    ["Offset of field: L1Loss::batch"][::std::mem::offset_of!(L1Loss, batch) - 36usize];
    ["Offset of field: L1Loss::parts"][::std::mem::offset_of!(L1Loss, parts) - 40usize];
    ["Offset of field: L1Loss::weight"][::std::mem::offset_of!(L1Loss, weight) - 44usize];
};
#[doc = " y = x / max(‖x‖, eps) per row.\n Grid: parts."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct L2NormalizeFwd {
    #[doc = " (rows, channels), read"]
    pub x: u64,
    #[doc = " (rows, channels), written"]
    pub y: u64,
    pub rows: u32,
    pub channels: u32,
    #[doc = " rows are cut into this many equal parts, the last one shorter"]
    pub parts: u32,
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of L2NormalizeFwd"][::std::mem::size_of::<L2NormalizeFwd>() - 32usize];
    ["Alignment of L2NormalizeFwd"][::std::mem::align_of::<L2NormalizeFwd>() - 8usize];
    ["Offset of field: L2NormalizeFwd::x"][::std::mem::offset_of!(L2NormalizeFwd, x) - 0usize];
    ["Offset of field: L2NormalizeFwd::y"][::std::mem::offset_of!(L2NormalizeFwd, y) - 8usize];
    ["Offset of field: L2NormalizeFwd::rows"][::std::mem::offset_of!(L2NormalizeFwd, rows) - 16usize];
    ["Offset of field: L2NormalizeFwd::channels"][::std::mem::offset_of!(L2NormalizeFwd, channels) - 20usize];
    ["Offset of field: L2NormalizeFwd::parts"][::std::mem::offset_of!(L2NormalizeFwd, parts) - 24usize];
    ["Offset of field: L2NormalizeFwd::eps"][::std::mem::offset_of!(L2NormalizeFwd, eps) - 28usize];
};
#[doc = " dx = (dy − y·(y·dy)) / ‖x‖, without the second term where ‖x‖ ≤ eps.\n Grid: parts."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct L2NormalizeBwd {
    #[doc = " (rows, channels), read"]
    pub x: u64,
    #[doc = " (rows, channels), read"]
    pub dy: u64,
    #[doc = " (rows, channels), written"]
    pub dx: u64,
    pub rows: u32,
    pub channels: u32,
    #[doc = " as above"]
    pub parts: u32,
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of L2NormalizeBwd"][::std::mem::size_of::<L2NormalizeBwd>() - 40usize];
    ["Alignment of L2NormalizeBwd"][::std::mem::align_of::<L2NormalizeBwd>() - 8usize];
    ["Offset of field: L2NormalizeBwd::x"][::std::mem::offset_of!(L2NormalizeBwd, x) - 0usize];
    ["Offset of field: L2NormalizeBwd::dy"][::std::mem::offset_of!(L2NormalizeBwd, dy) - 8usize];
    ["Offset of field: L2NormalizeBwd::dx"][::std::mem::offset_of!(L2NormalizeBwd, dx) - 16usize];
    ["Offset of field: L2NormalizeBwd::rows"][::std::mem::offset_of!(L2NormalizeBwd, rows) - 24usize];
    ["Offset of field: L2NormalizeBwd::channels"][::std::mem::offset_of!(L2NormalizeBwd, channels) - 28usize];
    ["Offset of field: L2NormalizeBwd::parts"][::std::mem::offset_of!(L2NormalizeBwd, parts) - 32usize];
    ["Offset of field: L2NormalizeBwd::eps"][::std::mem::offset_of!(L2NormalizeBwd, eps) - 36usize];
};
#[doc = " y = ((x − mean)·rstd·weight + bias)·(1 + scale[b]) + shift[b], mean and rstd over the columns of a row; b = row / rows_per_group.\n Grid: (parts, groups)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LayerNormFwd {
    #[doc = " (rows, dim), read"]
    pub x: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub weight: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub bias: u64,
    #[doc = " (groups, dim) or absent, read"]
    pub scale: u64,
    #[doc = " (groups, dim) or absent, read"]
    pub shift: u64,
    #[doc = " (rows, dim) or absent, read"]
    pub branch: u64,
    #[doc = " (groups, dim), there where branch is, read"]
    pub gate: u64,
    #[doc = " (rows, dim), written"]
    pub y: u64,
    #[doc = " (rows) f32, written"]
    pub mean: u64,
    #[doc = " (rows) f32, written"]
    pub rstd: u64,
    #[doc = " (rows, dim), there where branch is: x + gate·branch, written"]
    pub joined: u64,
    pub rows: u32,
    pub dim: u32,
    #[doc = " rows that share a scale and shift: the tokens of an image"]
    pub rows_per_group: u32,
    #[doc = " a group's rows are cut into this many equal parts, the last one shorter"]
    pub parts: u32,
    pub eps: f32,
    #[doc = " 1: there is a branch"]
    pub joins: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayerNormFwd"][::std::mem::size_of::<LayerNormFwd>() - 112usize];
    ["Alignment of LayerNormFwd"][::std::mem::align_of::<LayerNormFwd>() - 8usize];
    ["Offset of field: LayerNormFwd::x"][::std::mem::offset_of!(LayerNormFwd, x) - 0usize];
    ["Offset of field: LayerNormFwd::weight"][::std::mem::offset_of!(LayerNormFwd, weight) - 8usize];
    ["Offset of field: LayerNormFwd::bias"][::std::mem::offset_of!(LayerNormFwd, bias) - 16usize];
    ["Offset of field: LayerNormFwd::scale"][::std::mem::offset_of!(LayerNormFwd, scale) - 24usize];
    ["Offset of field: LayerNormFwd::shift"][::std::mem::offset_of!(LayerNormFwd, shift) - 32usize];
    ["Offset of field: LayerNormFwd::branch"][::std::mem::offset_of!(LayerNormFwd, branch) - 40usize];
    ["Offset of field: LayerNormFwd::gate"][::std::mem::offset_of!(LayerNormFwd, gate) - 48usize];
    ["Offset of field: LayerNormFwd::y"][::std::mem::offset_of!(LayerNormFwd, y) - 56usize];
    ["Offset of field: LayerNormFwd::mean"][::std::mem::offset_of!(LayerNormFwd, mean) - 64usize];
    ["Offset of field: LayerNormFwd::rstd"][::std::mem::offset_of!(LayerNormFwd, rstd) - 72usize];
    ["Offset of field: LayerNormFwd::joined"][::std::mem::offset_of!(LayerNormFwd, joined) - 80usize];
    ["Offset of field: LayerNormFwd::rows"][::std::mem::offset_of!(LayerNormFwd, rows) - 88usize];
    ["Offset of field: LayerNormFwd::dim"][::std::mem::offset_of!(LayerNormFwd, dim) - 92usize];
    ["Offset of field: LayerNormFwd::rows_per_group"][::std::mem::offset_of!(LayerNormFwd, rows_per_group) - 96usize];
    ["Offset of field: LayerNormFwd::parts"][::std::mem::offset_of!(LayerNormFwd, parts) - 100usize];
    ["Offset of field: LayerNormFwd::eps"][::std::mem::offset_of!(LayerNormFwd, eps) - 104usize];
    ["Offset of field: LayerNormFwd::joins"][::std::mem::offset_of!(LayerNormFwd, joins) - 108usize];
};
#[doc = " dx = rstd·(d − mean(d) − x\u{302}·mean(d·x\u{302})) + dresidual with x\u{302} = (x − mean)·rstd and d = dy·(1 + scale)·weight; and, per part of a group's\n rows, the sums over its rows of dy and of dy·x\u{302}, from which `LayerNormSums` makes the other gradients.\n Grid: (parts, groups)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LayerNormBwd {
    #[doc = " (rows, dim), read"]
    pub x: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub weight: u64,
    #[doc = " (groups, dim) or absent, read"]
    pub scale: u64,
    #[doc = " (rows) f32, read"]
    pub mean: u64,
    #[doc = " (rows) f32, read"]
    pub rstd: u64,
    #[doc = " (rows, dim), read"]
    pub dy: u64,
    #[doc = " (rows, dim) or absent: what reaches x by another way, read"]
    pub dresidual: u64,
    #[doc = " (rows, dim) or absent, read"]
    pub branch: u64,
    #[doc = " (groups, dim), there where branch is, read"]
    pub gate: u64,
    #[doc = " (rows, dim), there where branch is, else it may be absent; written"]
    pub dx: u64,
    #[doc = " (groups, parts, 2 or with a branch 3, dim) f32 or absent: of dy, of dy·x\u{302}, of dx·branch; written"]
    pub sums: u64,
    #[doc = " (rows, dim), there where branch is, written"]
    pub dbranch: u64,
    pub rows: u32,
    pub dim: u32,
    #[doc = " as above"]
    pub rows_per_group: u32,
    #[doc = " as above"]
    pub parts: u32,
    #[doc = " as above"]
    pub joins: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayerNormBwd"][::std::mem::size_of::<LayerNormBwd>() - 120usize];
    ["Alignment of LayerNormBwd"][::std::mem::align_of::<LayerNormBwd>() - 8usize];
    ["Offset of field: LayerNormBwd::x"][::std::mem::offset_of!(LayerNormBwd, x) - 0usize];
    ["Offset of field: LayerNormBwd::weight"][::std::mem::offset_of!(LayerNormBwd, weight) - 8usize];
    ["Offset of field: LayerNormBwd::scale"][::std::mem::offset_of!(LayerNormBwd, scale) - 16usize];
    ["Offset of field: LayerNormBwd::mean"][::std::mem::offset_of!(LayerNormBwd, mean) - 24usize];
    ["Offset of field: LayerNormBwd::rstd"][::std::mem::offset_of!(LayerNormBwd, rstd) - 32usize];
    ["Offset of field: LayerNormBwd::dy"][::std::mem::offset_of!(LayerNormBwd, dy) - 40usize];
    ["Offset of field: LayerNormBwd::dresidual"][::std::mem::offset_of!(LayerNormBwd, dresidual) - 48usize];
    ["Offset of field: LayerNormBwd::branch"][::std::mem::offset_of!(LayerNormBwd, branch) - 56usize];
    ["Offset of field: LayerNormBwd::gate"][::std::mem::offset_of!(LayerNormBwd, gate) - 64usize];
    ["Offset of field: LayerNormBwd::dx"][::std::mem::offset_of!(LayerNormBwd, dx) - 72usize];
    ["Offset of field: LayerNormBwd::sums"][::std::mem::offset_of!(LayerNormBwd, sums) - 80usize];
    ["Offset of field: LayerNormBwd::dbranch"][::std::mem::offset_of!(LayerNormBwd, dbranch) - 88usize];
    ["Offset of field: LayerNormBwd::rows"][::std::mem::offset_of!(LayerNormBwd, rows) - 96usize];
    ["Offset of field: LayerNormBwd::dim"][::std::mem::offset_of!(LayerNormBwd, dim) - 100usize];
    ["Offset of field: LayerNormBwd::rows_per_group"][::std::mem::offset_of!(LayerNormBwd, rows_per_group) - 104usize];
    ["Offset of field: LayerNormBwd::parts"][::std::mem::offset_of!(LayerNormBwd, parts) - 108usize];
    ["Offset of field: LayerNormBwd::joins"][::std::mem::offset_of!(LayerNormBwd, joins) - 112usize];
    ["Offset of field: LayerNormBwd::reserved"][::std::mem::offset_of!(LayerNormBwd, reserved) - 116usize];
};
#[doc = " With A[g] = Σ dy and D[g] = Σ dy·x\u{302} over a group's parts: dscale[g] = weight·D[g] + bias·A[g], dshift[g] = A[g],\n dweight = Σ over g of (1 + scale[g])·D[g], dbias = Σ over g of (1 + scale[g])·A[g].\n Grid: (dim / 16, rounded up; modulated + affine)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LayerNormSums {
    #[doc = " (groups, dim) or absent, read"]
    pub scale: u64,
    #[doc = " (groups, dim) or absent: has the dtype of dshift, and is not read"]
    pub shift: u64,
    #[doc = " (groups, dim) or absent: has the dtype of dgate, and is not read"]
    pub gate: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub weight: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub bias: u64,
    #[doc = " (groups, parts, values, dim) f32, read"]
    pub sums: u64,
    #[doc = " (dim) f32 or absent, written"]
    pub dweight: u64,
    #[doc = " (dim) f32 or absent, written"]
    pub dbias: u64,
    #[doc = " (groups, dim) or absent, written"]
    pub dscale: u64,
    #[doc = " (groups, dim) or absent, written"]
    pub dshift: u64,
    #[doc = " (groups, dim) or absent, written"]
    pub dgate: u64,
    pub dim: u32,
    pub groups: u32,
    pub parts: u32,
    #[doc = " blocks y below this write a group's dscale, dshift and dgate: `groups`, or 0 where none is asked for"]
    pub modulated: u32,
    #[doc = " 1: blocks y after those write what is summed over groups; 0 where that is not asked for"]
    pub affine: u32,
    #[doc = " sums of each column: 2, or 3 with a branch"]
    pub values: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayerNormSums"][::std::mem::size_of::<LayerNormSums>() - 112usize];
    ["Alignment of LayerNormSums"][::std::mem::align_of::<LayerNormSums>() - 8usize];
    ["Offset of field: LayerNormSums::scale"][::std::mem::offset_of!(LayerNormSums, scale) - 0usize];
    ["Offset of field: LayerNormSums::shift"][::std::mem::offset_of!(LayerNormSums, shift) - 8usize];
    ["Offset of field: LayerNormSums::gate"][::std::mem::offset_of!(LayerNormSums, gate) - 16usize];
    ["Offset of field: LayerNormSums::weight"][::std::mem::offset_of!(LayerNormSums, weight) - 24usize];
    ["Offset of field: LayerNormSums::bias"][::std::mem::offset_of!(LayerNormSums, bias) - 32usize];
    ["Offset of field: LayerNormSums::sums"][::std::mem::offset_of!(LayerNormSums, sums) - 40usize];
    ["Offset of field: LayerNormSums::dweight"][::std::mem::offset_of!(LayerNormSums, dweight) - 48usize];
    ["Offset of field: LayerNormSums::dbias"][::std::mem::offset_of!(LayerNormSums, dbias) - 56usize];
    ["Offset of field: LayerNormSums::dscale"][::std::mem::offset_of!(LayerNormSums, dscale) - 64usize];
    ["Offset of field: LayerNormSums::dshift"][::std::mem::offset_of!(LayerNormSums, dshift) - 72usize];
    ["Offset of field: LayerNormSums::dgate"][::std::mem::offset_of!(LayerNormSums, dgate) - 80usize];
    ["Offset of field: LayerNormSums::dim"][::std::mem::offset_of!(LayerNormSums, dim) - 88usize];
    ["Offset of field: LayerNormSums::groups"][::std::mem::offset_of!(LayerNormSums, groups) - 92usize];
    ["Offset of field: LayerNormSums::parts"][::std::mem::offset_of!(LayerNormSums, parts) - 96usize];
    ["Offset of field: LayerNormSums::modulated"][::std::mem::offset_of!(LayerNormSums, modulated) - 100usize];
    ["Offset of field: LayerNormSums::affine"][::std::mem::offset_of!(LayerNormSums, affine) - 104usize];
    ["Offset of field: LayerNormSums::values"][::std::mem::offset_of!(LayerNormSums, values) - 108usize];
};
#[doc = " s = x·weightᵀ + bias; a = f(s), or silu(s₁)·s₂ for SwiGLU, where s, weight and bias have 2·outputs columns or rows (s₁, then s₂);\n y = a, or residual + gate·a."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LinearFwd {
    #[doc = " (rows, inputs), read"]
    pub x: u64,
    #[doc = " (outputs, inputs), read"]
    pub weight: u64,
    #[doc = " (outputs) f32 or absent, read"]
    pub bias: u64,
    #[doc = " (rows, outputs) or absent, read"]
    pub residual: u64,
    #[doc = " (rows / rows_per_gate, outputs), (outputs) f32 if `parameter` is 1, or absent (which is 1), read"]
    pub gate: u64,
    #[doc = " (rows, outputs), written"]
    pub y: u64,
    #[doc = " s, or absent, written"]
    pub sums: u64,
    #[doc = " (rows, outputs): a where there is a gate, or absent, written"]
    pub branch: u64,
    pub rows: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub rows_per_gate: u32,
    pub activation: u32,
    #[doc = " of the rows after `bulk`"]
    pub tile: u32,
    #[doc = " rows, from the first on, that are cut into whole 128×128 tiles: bf16 only, or 0"]
    pub bulk: u32,
    #[doc = " 1: the gate is one parameter vector for all rows"]
    pub parameter: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LinearFwd"][::std::mem::size_of::<LinearFwd>() - 96usize];
    ["Alignment of LinearFwd"][::std::mem::align_of::<LinearFwd>() - 8usize];
    ["Offset of field: LinearFwd::x"][::std::mem::offset_of!(LinearFwd, x) - 0usize];
    ["Offset of field: LinearFwd::weight"][::std::mem::offset_of!(LinearFwd, weight) - 8usize];
    ["Offset of field: LinearFwd::bias"][::std::mem::offset_of!(LinearFwd, bias) - 16usize];
    ["Offset of field: LinearFwd::residual"][::std::mem::offset_of!(LinearFwd, residual) - 24usize];
    ["Offset of field: LinearFwd::gate"][::std::mem::offset_of!(LinearFwd, gate) - 32usize];
    ["Offset of field: LinearFwd::y"][::std::mem::offset_of!(LinearFwd, y) - 40usize];
    ["Offset of field: LinearFwd::sums"][::std::mem::offset_of!(LinearFwd, sums) - 48usize];
    ["Offset of field: LinearFwd::branch"][::std::mem::offset_of!(LinearFwd, branch) - 56usize];
    ["Offset of field: LinearFwd::rows"][::std::mem::offset_of!(LinearFwd, rows) - 64usize];
    ["Offset of field: LinearFwd::inputs"][::std::mem::offset_of!(LinearFwd, inputs) - 68usize];
    ["Offset of field: LinearFwd::outputs"][::std::mem::offset_of!(LinearFwd, outputs) - 72usize];
    ["Offset of field: LinearFwd::rows_per_gate"][::std::mem::offset_of!(LinearFwd, rows_per_gate) - 76usize];
    ["Offset of field: LinearFwd::activation"][::std::mem::offset_of!(LinearFwd, activation) - 80usize];
    ["Offset of field: LinearFwd::tile"][::std::mem::offset_of!(LinearFwd, tile) - 84usize];
    ["Offset of field: LinearFwd::bulk"][::std::mem::offset_of!(LinearFwd, bulk) - 88usize];
    ["Offset of field: LinearFwd::parameter"][::std::mem::offset_of!(LinearFwd, parameter) - 92usize];
};
#[doc = " d = dy·weight; dx = d, with what else reaches x added, or the gradient of what came before this layer: d·f′(s), for SwiGLU of both halves of s."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LinearBwdInput {
    #[doc = " (rows, outputs), read"]
    pub dy: u64,
    #[doc = " (outputs, inputs), read"]
    pub weight: u64,
    #[doc = " s: (rows, inputs), for SwiGLU (rows, 2·inputs); absent without an activation; read"]
    pub sums: u64,
    #[doc = " (rows, inputs): what else reaches x; absent where nothing does, or with an activation; read"]
    pub dresidual: u64,
    #[doc = " shaped as s, written"]
    pub dx: u64,
    pub rows: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub activation: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " as above"]
    pub bulk: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LinearBwdInput"][::std::mem::size_of::<LinearBwdInput>() - 64usize];
    ["Alignment of LinearBwdInput"][::std::mem::align_of::<LinearBwdInput>() - 8usize];
    ["Offset of field: LinearBwdInput::dy"][::std::mem::offset_of!(LinearBwdInput, dy) - 0usize];
    ["Offset of field: LinearBwdInput::weight"][::std::mem::offset_of!(LinearBwdInput, weight) - 8usize];
    ["Offset of field: LinearBwdInput::sums"][::std::mem::offset_of!(LinearBwdInput, sums) - 16usize];
    ["Offset of field: LinearBwdInput::dresidual"][::std::mem::offset_of!(LinearBwdInput, dresidual) - 24usize];
    ["Offset of field: LinearBwdInput::dx"][::std::mem::offset_of!(LinearBwdInput, dx) - 32usize];
    ["Offset of field: LinearBwdInput::rows"][::std::mem::offset_of!(LinearBwdInput, rows) - 40usize];
    ["Offset of field: LinearBwdInput::inputs"][::std::mem::offset_of!(LinearBwdInput, inputs) - 44usize];
    ["Offset of field: LinearBwdInput::outputs"][::std::mem::offset_of!(LinearBwdInput, outputs) - 48usize];
    ["Offset of field: LinearBwdInput::activation"][::std::mem::offset_of!(LinearBwdInput, activation) - 52usize];
    ["Offset of field: LinearBwdInput::tile"][::std::mem::offset_of!(LinearBwdInput, tile) - 56usize];
    ["Offset of field: LinearBwdInput::bulk"][::std::mem::offset_of!(LinearBwdInput, bulk) - 60usize];
};
#[doc = " dweight = dyᵀ·x, and dbias = Σ_rows dy in the same pass. Tiles are dealt out to `blocks` as far as they go round; the rest is cut along the\n rows of x, so that all have the same work, and such parts of a tile are left to linear_bwd_weight_sum."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LinearBwdWeight {
    #[doc = " (rows, inputs), read"]
    pub x: u64,
    #[doc = " (rows, outputs), read"]
    pub dy: u64,
    #[doc = " (outputs, inputs) f32, written"]
    pub dweight: u64,
    #[doc = " (outputs) f32 or absent, written"]
    pub dbias: u64,
    #[doc = " (blocks + tiles % blocks − 1, tile) f32, absent where blocks divides tiles (and on the CPU), written"]
    pub partial: u64,
    #[doc = " (blocks + tiles % blocks − 1, the tile's rows) f32, absent where partial or dbias is, written"]
    pub partial_bias: u64,
    pub rows: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub blocks: u32,
    pub tile: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LinearBwdWeight"][::std::mem::size_of::<LinearBwdWeight>() - 72usize];
    ["Alignment of LinearBwdWeight"][::std::mem::align_of::<LinearBwdWeight>() - 8usize];
    ["Offset of field: LinearBwdWeight::x"][::std::mem::offset_of!(LinearBwdWeight, x) - 0usize];
    ["Offset of field: LinearBwdWeight::dy"][::std::mem::offset_of!(LinearBwdWeight, dy) - 8usize];
    ["Offset of field: LinearBwdWeight::dweight"][::std::mem::offset_of!(LinearBwdWeight, dweight) - 16usize];
    ["Offset of field: LinearBwdWeight::dbias"][::std::mem::offset_of!(LinearBwdWeight, dbias) - 24usize];
    ["Offset of field: LinearBwdWeight::partial"][::std::mem::offset_of!(LinearBwdWeight, partial) - 32usize];
    ["Offset of field: LinearBwdWeight::partial_bias"][::std::mem::offset_of!(LinearBwdWeight, partial_bias) - 40usize];
    ["Offset of field: LinearBwdWeight::rows"][::std::mem::offset_of!(LinearBwdWeight, rows) - 48usize];
    ["Offset of field: LinearBwdWeight::inputs"][::std::mem::offset_of!(LinearBwdWeight, inputs) - 52usize];
    ["Offset of field: LinearBwdWeight::outputs"][::std::mem::offset_of!(LinearBwdWeight, outputs) - 56usize];
    ["Offset of field: LinearBwdWeight::blocks"][::std::mem::offset_of!(LinearBwdWeight, blocks) - 60usize];
    ["Offset of field: LinearBwdWeight::tile"][::std::mem::offset_of!(LinearBwdWeight, tile) - 64usize];
    ["Offset of field: LinearBwdWeight::reserved"][::std::mem::offset_of!(LinearBwdWeight, reserved) - 68usize];
};
#[doc = " Adds up the parts of tiles that several blocks of linear_bwd_weight have shared."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LinearBwdWeightSum {
    #[doc = " as above, read"]
    pub partial: u64,
    #[doc = " as above or absent, read"]
    pub partial_bias: u64,
    #[doc = " (outputs, inputs) f32, written where tiles were shared"]
    pub dweight: u64,
    #[doc = " (outputs) f32 or absent, written where tiles were shared"]
    pub dbias: u64,
    pub inputs: u32,
    pub outputs: u32,
    pub blocks: u32,
    #[doc = " of the rows that blocks have shared, per tile"]
    pub slabs: u32,
    pub tile_rows: u32,
    pub tile_columns: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LinearBwdWeightSum"][::std::mem::size_of::<LinearBwdWeightSum>() - 56usize];
    ["Alignment of LinearBwdWeightSum"][::std::mem::align_of::<LinearBwdWeightSum>() - 8usize];
    ["Offset of field: LinearBwdWeightSum::partial"][::std::mem::offset_of!(LinearBwdWeightSum, partial) - 0usize];
    ["Offset of field: LinearBwdWeightSum::partial_bias"]
        [::std::mem::offset_of!(LinearBwdWeightSum, partial_bias) - 8usize];
    ["Offset of field: LinearBwdWeightSum::dweight"][::std::mem::offset_of!(LinearBwdWeightSum, dweight) - 16usize];
    ["Offset of field: LinearBwdWeightSum::dbias"][::std::mem::offset_of!(LinearBwdWeightSum, dbias) - 24usize];
    ["Offset of field: LinearBwdWeightSum::inputs"][::std::mem::offset_of!(LinearBwdWeightSum, inputs) - 32usize];
    ["Offset of field: LinearBwdWeightSum::outputs"][::std::mem::offset_of!(LinearBwdWeightSum, outputs) - 36usize];
    ["Offset of field: LinearBwdWeightSum::blocks"][::std::mem::offset_of!(LinearBwdWeightSum, blocks) - 40usize];
    ["Offset of field: LinearBwdWeightSum::slabs"][::std::mem::offset_of!(LinearBwdWeightSum, slabs) - 44usize];
    ["Offset of field: LinearBwdWeightSum::tile_rows"][::std::mem::offset_of!(LinearBwdWeightSum, tile_rows) - 48usize];
    ["Offset of field: LinearBwdWeightSum::tile_columns"]
        [::std::mem::offset_of!(LinearBwdWeightSum, tile_columns) - 52usize];
};
#[doc = " dbias = Σ_rows dy, where dweight is not wanted."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct LinearBwdBias {
    #[doc = " (rows, outputs), read"]
    pub dy: u64,
    #[doc = " (outputs) f32, written"]
    pub dbias: u64,
    pub rows: u32,
    pub outputs: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LinearBwdBias"][::std::mem::size_of::<LinearBwdBias>() - 24usize];
    ["Alignment of LinearBwdBias"][::std::mem::align_of::<LinearBwdBias>() - 8usize];
    ["Offset of field: LinearBwdBias::dy"][::std::mem::offset_of!(LinearBwdBias, dy) - 0usize];
    ["Offset of field: LinearBwdBias::dbias"][::std::mem::offset_of!(LinearBwdBias, dbias) - 8usize];
    ["Offset of field: LinearBwdBias::rows"][::std::mem::offset_of!(LinearBwdBias, rows) - 16usize];
    ["Offset of field: LinearBwdBias::outputs"][::std::mem::offset_of!(LinearBwdBias, outputs) - 20usize];
};
#[doc = " y = the product of a and b, of each entry of the batch."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Matmul {
    #[doc = " (batch, rows, depth), for aᵀ·b (batch, depth, rows), read"]
    pub a: u64,
    #[doc = " (batch, depth, columns), for a·bᵀ (batch, columns, depth), read"]
    pub b: u64,
    #[doc = " (batch, rows, columns), written"]
    pub y: u64,
    pub batch: u32,
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    #[doc = " MATMUL_NT, …"]
    pub form: u32,
    #[doc = " of the rows after `bulk`"]
    pub tile: u32,
    #[doc = " rows, from the first on, that are cut into whole 128×128 tiles: bf16 only, or 0"]
    pub bulk: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Matmul"][::std::mem::size_of::<Matmul>() - 56usize];
    ["Alignment of Matmul"][::std::mem::align_of::<Matmul>() - 8usize];
    ["Offset of field: Matmul::a"][::std::mem::offset_of!(Matmul, a) - 0usize];
    ["Offset of field: Matmul::b"][::std::mem::offset_of!(Matmul, b) - 8usize];
    ["Offset of field: Matmul::y"][::std::mem::offset_of!(Matmul, y) - 16usize];
    ["Offset of field: Matmul::batch"][::std::mem::offset_of!(Matmul, batch) - 24usize];
    ["Offset of field: Matmul::rows"][::std::mem::offset_of!(Matmul, rows) - 28usize];
    ["Offset of field: Matmul::columns"][::std::mem::offset_of!(Matmul, columns) - 32usize];
    ["Offset of field: Matmul::depth"][::std::mem::offset_of!(Matmul, depth) - 36usize];
    ["Offset of field: Matmul::form"][::std::mem::offset_of!(Matmul, form) - 40usize];
    ["Offset of field: Matmul::tile"][::std::mem::offset_of!(Matmul, tile) - 44usize];
    ["Offset of field: Matmul::bulk"][::std::mem::offset_of!(Matmul, bulk) - 48usize];
    ["Offset of field: Matmul::reserved"][::std::mem::offset_of!(Matmul, reserved) - 52usize];
};
#[doc = " y[b, i, j, c] = the largest of x over rows 2i, 2i+1 and columns 2j, 2j+1."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct MaxPoolFwd {
    #[doc = " (batch, height, width, channels), read"]
    pub x: u64,
    #[doc = " (batch, height/2, width/2, channels), written"]
    pub y: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MaxPoolFwd"][::std::mem::size_of::<MaxPoolFwd>() - 32usize];
    ["Alignment of MaxPoolFwd"][::std::mem::align_of::<MaxPoolFwd>() - 8usize];
    ["Offset of field: MaxPoolFwd::x"][::std::mem::offset_of!(MaxPoolFwd, x) - 0usize];
    ["Offset of field: MaxPoolFwd::y"][::std::mem::offset_of!(MaxPoolFwd, y) - 8usize];
    ["Offset of field: MaxPoolFwd::batch"][::std::mem::offset_of!(MaxPoolFwd, batch) - 16usize];
    ["Offset of field: MaxPoolFwd::height"][::std::mem::offset_of!(MaxPoolFwd, height) - 20usize];
    ["Offset of field: MaxPoolFwd::width"][::std::mem::offset_of!(MaxPoolFwd, width) - 24usize];
    ["Offset of field: MaxPoolFwd::channels"][::std::mem::offset_of!(MaxPoolFwd, channels) - 28usize];
};
#[doc = " dx = dy at the first largest of each square in row order, 0 elsewhere."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct MaxPoolBwd {
    #[doc = " (batch, height, width, channels), read"]
    pub x: u64,
    #[doc = " (batch, height/2, width/2, channels), read"]
    pub dy: u64,
    #[doc = " (batch, height, width, channels), written"]
    pub dx: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MaxPoolBwd"][::std::mem::size_of::<MaxPoolBwd>() - 40usize];
    ["Alignment of MaxPoolBwd"][::std::mem::align_of::<MaxPoolBwd>() - 8usize];
    ["Offset of field: MaxPoolBwd::x"][::std::mem::offset_of!(MaxPoolBwd, x) - 0usize];
    ["Offset of field: MaxPoolBwd::dy"][::std::mem::offset_of!(MaxPoolBwd, dy) - 8usize];
    ["Offset of field: MaxPoolBwd::dx"][::std::mem::offset_of!(MaxPoolBwd, dx) - 16usize];
    ["Offset of field: MaxPoolBwd::batch"][::std::mem::offset_of!(MaxPoolBwd, batch) - 24usize];
    ["Offset of field: MaxPoolBwd::height"][::std::mem::offset_of!(MaxPoolBwd, height) - 28usize];
    ["Offset of field: MaxPoolBwd::width"][::std::mem::offset_of!(MaxPoolBwd, width) - 32usize];
    ["Offset of field: MaxPoolBwd::channels"][::std::mem::offset_of!(MaxPoolBwd, channels) - 36usize];
};
#[doc = " y = x·(1 + scale) + shift.\n Grid: (slices, cols / tile, groups), blocks of channel_tile.cuh."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ModulateFwd {
    #[doc = " (groups, rows_per_group, cols), read"]
    pub x: u64,
    #[doc = " (groups, cols), read"]
    pub scale: u64,
    #[doc = " (groups, cols) or absent, read"]
    pub shift: u64,
    #[doc = " (groups, rows_per_group, cols), written"]
    pub y: u64,
    pub groups: u32,
    pub rows_per_group: u32,
    pub cols: u32,
    #[doc = " columns of a block"]
    pub tile: u32,
    #[doc = " a group's rows are cut into this many slices, one for a block"]
    pub slices: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ModulateFwd"][::std::mem::size_of::<ModulateFwd>() - 56usize];
    ["Alignment of ModulateFwd"][::std::mem::align_of::<ModulateFwd>() - 8usize];
    ["Offset of field: ModulateFwd::x"][::std::mem::offset_of!(ModulateFwd, x) - 0usize];
    ["Offset of field: ModulateFwd::scale"][::std::mem::offset_of!(ModulateFwd, scale) - 8usize];
    ["Offset of field: ModulateFwd::shift"][::std::mem::offset_of!(ModulateFwd, shift) - 16usize];
    ["Offset of field: ModulateFwd::y"][::std::mem::offset_of!(ModulateFwd, y) - 24usize];
    ["Offset of field: ModulateFwd::groups"][::std::mem::offset_of!(ModulateFwd, groups) - 32usize];
    ["Offset of field: ModulateFwd::rows_per_group"][::std::mem::offset_of!(ModulateFwd, rows_per_group) - 36usize];
    ["Offset of field: ModulateFwd::cols"][::std::mem::offset_of!(ModulateFwd, cols) - 40usize];
    ["Offset of field: ModulateFwd::tile"][::std::mem::offset_of!(ModulateFwd, tile) - 44usize];
    ["Offset of field: ModulateFwd::slices"][::std::mem::offset_of!(ModulateFwd, slices) - 48usize];
    ["Offset of field: ModulateFwd::reserved"][::std::mem::offset_of!(ModulateFwd, reserved) - 52usize];
};
#[doc = " dx = dy·(1 + scale), and over a group's rows dscale = Σ dy·x and dshift = Σ dy: of each part of them where there are several.\n Grid: (parts, cols / tile, groups)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ModulateBwd {
    #[doc = " (groups, rows_per_group, cols), read"]
    pub x: u64,
    #[doc = " (groups, cols), read"]
    pub scale: u64,
    #[doc = " (groups, rows_per_group, cols), read"]
    pub dy: u64,
    #[doc = " (groups, rows_per_group, cols) or absent, written"]
    pub dx: u64,
    #[doc = " (groups, cols) or absent; written if `parts` is 1"]
    pub dscale: u64,
    #[doc = " (groups, cols) or absent; written if `parts` is 1"]
    pub dshift: u64,
    #[doc = " (groups, parts, 2, cols) f32, parts of dshift and dscale, or absent; written"]
    pub sums: u64,
    pub groups: u32,
    pub rows_per_group: u32,
    pub cols: u32,
    #[doc = " as above"]
    pub tile: u32,
    #[doc = " a group's rows are cut into this many parts of equal length, the last one shorter"]
    pub parts: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ModulateBwd"][::std::mem::size_of::<ModulateBwd>() - 80usize];
    ["Alignment of ModulateBwd"][::std::mem::align_of::<ModulateBwd>() - 8usize];
    ["Offset of field: ModulateBwd::x"][::std::mem::offset_of!(ModulateBwd, x) - 0usize];
    ["Offset of field: ModulateBwd::scale"][::std::mem::offset_of!(ModulateBwd, scale) - 8usize];
    ["Offset of field: ModulateBwd::dy"][::std::mem::offset_of!(ModulateBwd, dy) - 16usize];
    ["Offset of field: ModulateBwd::dx"][::std::mem::offset_of!(ModulateBwd, dx) - 24usize];
    ["Offset of field: ModulateBwd::dscale"][::std::mem::offset_of!(ModulateBwd, dscale) - 32usize];
    ["Offset of field: ModulateBwd::dshift"][::std::mem::offset_of!(ModulateBwd, dshift) - 40usize];
    ["Offset of field: ModulateBwd::sums"][::std::mem::offset_of!(ModulateBwd, sums) - 48usize];
    ["Offset of field: ModulateBwd::groups"][::std::mem::offset_of!(ModulateBwd, groups) - 56usize];
    ["Offset of field: ModulateBwd::rows_per_group"][::std::mem::offset_of!(ModulateBwd, rows_per_group) - 60usize];
    ["Offset of field: ModulateBwd::cols"][::std::mem::offset_of!(ModulateBwd, cols) - 64usize];
    ["Offset of field: ModulateBwd::tile"][::std::mem::offset_of!(ModulateBwd, tile) - 68usize];
    ["Offset of field: ModulateBwd::parts"][::std::mem::offset_of!(ModulateBwd, parts) - 72usize];
    ["Offset of field: ModulateBwd::reserved"][::std::mem::offset_of!(ModulateBwd, reserved) - 76usize];
};
#[doc = " first = Σ over parts of sums[.., 0, ..], second = Σ over parts of sums[.., 1, ..].\n Grid: (columns / 64, rounded up, groups)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct PartSums {
    #[doc = " any tensor of the results' dtype; not read"]
    pub like: u64,
    #[doc = " (groups, parts, values, columns) f32, read"]
    pub sums: u64,
    #[doc = " (groups, columns) or absent, written"]
    pub first: u64,
    #[doc = " (groups, columns) or absent, written; there only if `values` is 2"]
    pub second: u64,
    pub groups: u32,
    pub parts: u32,
    #[doc = " sums of each column: 1 or 2"]
    pub values: u32,
    pub columns: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PartSums"][::std::mem::size_of::<PartSums>() - 48usize];
    ["Alignment of PartSums"][::std::mem::align_of::<PartSums>() - 8usize];
    ["Offset of field: PartSums::like"][::std::mem::offset_of!(PartSums, like) - 0usize];
    ["Offset of field: PartSums::sums"][::std::mem::offset_of!(PartSums, sums) - 8usize];
    ["Offset of field: PartSums::first"][::std::mem::offset_of!(PartSums, first) - 16usize];
    ["Offset of field: PartSums::second"][::std::mem::offset_of!(PartSums, second) - 24usize];
    ["Offset of field: PartSums::groups"][::std::mem::offset_of!(PartSums, groups) - 32usize];
    ["Offset of field: PartSums::parts"][::std::mem::offset_of!(PartSums, parts) - 36usize];
    ["Offset of field: PartSums::values"][::std::mem::offset_of!(PartSums, values) - 40usize];
    ["Offset of field: PartSums::columns"][::std::mem::offset_of!(PartSums, columns) - 44usize];
};
#[doc = " y[b] = x[b] + table."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AddPositionsFwd {
    #[doc = " (batch, count), read"]
    pub x: u64,
    #[doc = " (count), read"]
    pub table: u64,
    #[doc = " (batch, count), written"]
    pub y: u64,
    pub batch: u32,
    pub count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddPositionsFwd"][::std::mem::size_of::<AddPositionsFwd>() - 32usize];
    ["Alignment of AddPositionsFwd"][::std::mem::align_of::<AddPositionsFwd>() - 8usize];
    ["Offset of field: AddPositionsFwd::x"][::std::mem::offset_of!(AddPositionsFwd, x) - 0usize];
    ["Offset of field: AddPositionsFwd::table"][::std::mem::offset_of!(AddPositionsFwd, table) - 8usize];
    ["Offset of field: AddPositionsFwd::y"][::std::mem::offset_of!(AddPositionsFwd, y) - 16usize];
    ["Offset of field: AddPositionsFwd::batch"][::std::mem::offset_of!(AddPositionsFwd, batch) - 24usize];
    ["Offset of field: AddPositionsFwd::count"][::std::mem::offset_of!(AddPositionsFwd, count) - 28usize];
};
#[doc = " dtable = Σ_b dy[b]."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AddPositionsBwd {
    #[doc = " (batch, count), read"]
    pub dy: u64,
    #[doc = " (count), f32, written"]
    pub dtable: u64,
    pub batch: u32,
    pub count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AddPositionsBwd"][::std::mem::size_of::<AddPositionsBwd>() - 24usize];
    ["Alignment of AddPositionsBwd"][::std::mem::align_of::<AddPositionsBwd>() - 8usize];
    ["Offset of field: AddPositionsBwd::dy"][::std::mem::offset_of!(AddPositionsBwd, dy) - 0usize];
    ["Offset of field: AddPositionsBwd::dtable"][::std::mem::offset_of!(AddPositionsBwd, dtable) - 8usize];
    ["Offset of field: AddPositionsBwd::batch"][::std::mem::offset_of!(AddPositionsBwd, batch) - 16usize];
    ["Offset of field: AddPositionsBwd::count"][::std::mem::offset_of!(AddPositionsBwd, count) - 20usize];
};
#[doc = " y[b, i·p + u, j·p + v, c] = x[b, i, j, u, v, c] for c < channels."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct UnpatchifyFwd {
    #[doc = " (batch, grid_h, grid_w, patch, patch, x_channels), read"]
    pub x: u64,
    #[doc = " (batch, grid_h·patch, grid_w·patch, channels), written"]
    pub y: u64,
    pub batch: u32,
    pub grid_h: u32,
    pub grid_w: u32,
    pub patch: u32,
    pub x_channels: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of UnpatchifyFwd"][::std::mem::size_of::<UnpatchifyFwd>() - 40usize];
    ["Alignment of UnpatchifyFwd"][::std::mem::align_of::<UnpatchifyFwd>() - 8usize];
    ["Offset of field: UnpatchifyFwd::x"][::std::mem::offset_of!(UnpatchifyFwd, x) - 0usize];
    ["Offset of field: UnpatchifyFwd::y"][::std::mem::offset_of!(UnpatchifyFwd, y) - 8usize];
    ["Offset of field: UnpatchifyFwd::batch"][::std::mem::offset_of!(UnpatchifyFwd, batch) - 16usize];
    ["Offset of field: UnpatchifyFwd::grid_h"][::std::mem::offset_of!(UnpatchifyFwd, grid_h) - 20usize];
    ["Offset of field: UnpatchifyFwd::grid_w"][::std::mem::offset_of!(UnpatchifyFwd, grid_w) - 24usize];
    ["Offset of field: UnpatchifyFwd::patch"][::std::mem::offset_of!(UnpatchifyFwd, patch) - 28usize];
    ["Offset of field: UnpatchifyFwd::x_channels"][::std::mem::offset_of!(UnpatchifyFwd, x_channels) - 32usize];
    ["Offset of field: UnpatchifyFwd::channels"][::std::mem::offset_of!(UnpatchifyFwd, channels) - 36usize];
};
#[doc = " The transposed map: zeros in the channels that y does not have."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct UnpatchifyBwd {
    #[doc = " (batch, grid_h·patch, grid_w·patch, channels), read"]
    pub dy: u64,
    #[doc = " (batch, grid_h, grid_w, patch, patch, x_channels), written"]
    pub dx: u64,
    pub batch: u32,
    pub grid_h: u32,
    pub grid_w: u32,
    pub patch: u32,
    pub x_channels: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of UnpatchifyBwd"][::std::mem::size_of::<UnpatchifyBwd>() - 40usize];
    ["Alignment of UnpatchifyBwd"][::std::mem::align_of::<UnpatchifyBwd>() - 8usize];
    ["Offset of field: UnpatchifyBwd::dy"][::std::mem::offset_of!(UnpatchifyBwd, dy) - 0usize];
    ["Offset of field: UnpatchifyBwd::dx"][::std::mem::offset_of!(UnpatchifyBwd, dx) - 8usize];
    ["Offset of field: UnpatchifyBwd::batch"][::std::mem::offset_of!(UnpatchifyBwd, batch) - 16usize];
    ["Offset of field: UnpatchifyBwd::grid_h"][::std::mem::offset_of!(UnpatchifyBwd, grid_h) - 20usize];
    ["Offset of field: UnpatchifyBwd::grid_w"][::std::mem::offset_of!(UnpatchifyBwd, grid_w) - 24usize];
    ["Offset of field: UnpatchifyBwd::patch"][::std::mem::offset_of!(UnpatchifyBwd, patch) - 28usize];
    ["Offset of field: UnpatchifyBwd::x_channels"][::std::mem::offset_of!(UnpatchifyBwd, x_channels) - 32usize];
    ["Offset of field: UnpatchifyBwd::channels"][::std::mem::offset_of!(UnpatchifyBwd, channels) - 36usize];
};
#[doc = " One block of the sequence: four words."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct PhiloxBlock {
    pub word: [u32; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PhiloxBlock"][::std::mem::size_of::<PhiloxBlock>() - 16usize];
    ["Alignment of PhiloxBlock"][::std::mem::align_of::<PhiloxBlock>() - 4usize];
    ["Offset of field: PhiloxBlock::word"][::std::mem::offset_of!(PhiloxBlock, word) - 0usize];
};
#[doc = " out = softmax(scale·q\u{302}·k\u{302}ᵀ)·v per head, with q\u{302} and k\u{302} the rows of q and k normed (x·rstd·weight) and turned."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct QkvAttentionFwd {
    #[doc = " (batch, tokens, 3, heads, head_dim), read"]
    pub qkv: u64,
    #[doc = " (head_dim) f32 or absent, read"]
    pub q_norm: u64,
    #[doc = " (head_dim) f32 or absent with q_norm, read"]
    pub k_norm: u64,
    #[doc = " (tokens, head_dim) f32 or absent, read"]
    pub cos: u64,
    #[doc = " (tokens, head_dim) f32 or absent with cos, read"]
    pub sin: u64,
    #[doc = " (batch, tokens, heads, head_dim), written"]
    pub out: u64,
    #[doc = " (batch, heads, tokens) f32, written"]
    pub logsumexp: u64,
    pub batch: u32,
    pub tokens: u32,
    pub heads: u32,
    pub head_dim: u32,
    pub scale: f32,
    pub eps: f32,
    #[doc = " queries of a block on a GPU"]
    pub block_queries: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of QkvAttentionFwd"][::std::mem::size_of::<QkvAttentionFwd>() - 88usize];
    ["Alignment of QkvAttentionFwd"][::std::mem::align_of::<QkvAttentionFwd>() - 8usize];
    ["Offset of field: QkvAttentionFwd::qkv"][::std::mem::offset_of!(QkvAttentionFwd, qkv) - 0usize];
    ["Offset of field: QkvAttentionFwd::q_norm"][::std::mem::offset_of!(QkvAttentionFwd, q_norm) - 8usize];
    ["Offset of field: QkvAttentionFwd::k_norm"][::std::mem::offset_of!(QkvAttentionFwd, k_norm) - 16usize];
    ["Offset of field: QkvAttentionFwd::cos"][::std::mem::offset_of!(QkvAttentionFwd, cos) - 24usize];
    ["Offset of field: QkvAttentionFwd::sin"][::std::mem::offset_of!(QkvAttentionFwd, sin) - 32usize];
    ["Offset of field: QkvAttentionFwd::out"][::std::mem::offset_of!(QkvAttentionFwd, out) - 40usize];
    ["Offset of field: QkvAttentionFwd::logsumexp"][::std::mem::offset_of!(QkvAttentionFwd, logsumexp) - 48usize];
    ["Offset of field: QkvAttentionFwd::batch"][::std::mem::offset_of!(QkvAttentionFwd, batch) - 56usize];
    ["Offset of field: QkvAttentionFwd::tokens"][::std::mem::offset_of!(QkvAttentionFwd, tokens) - 60usize];
    ["Offset of field: QkvAttentionFwd::heads"][::std::mem::offset_of!(QkvAttentionFwd, heads) - 64usize];
    ["Offset of field: QkvAttentionFwd::head_dim"][::std::mem::offset_of!(QkvAttentionFwd, head_dim) - 68usize];
    ["Offset of field: QkvAttentionFwd::scale"][::std::mem::offset_of!(QkvAttentionFwd, scale) - 72usize];
    ["Offset of field: QkvAttentionFwd::eps"][::std::mem::offset_of!(QkvAttentionFwd, eps) - 76usize];
    ["Offset of field: QkvAttentionFwd::block_queries"]
        [::std::mem::offset_of!(QkvAttentionFwd, block_queries) - 80usize];
    ["Offset of field: QkvAttentionFwd::reserved"][::std::mem::offset_of!(QkvAttentionFwd, reserved) - 84usize];
};
#[doc = " The gradients. Those of q and k are finished here, unless there is a norm to go back through, or several parts of dq to add up:\n then they are left, turned back, in dq_parts and dk_normed for qkv_attention_bwd_embedding."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct QkvAttentionBwd {
    #[doc = " (batch, tokens, 3, heads, head_dim), read"]
    pub qkv: u64,
    #[doc = " (head_dim) f32 or absent, read"]
    pub q_norm: u64,
    #[doc = " (head_dim) f32 or absent, read"]
    pub k_norm: u64,
    #[doc = " (tokens, head_dim) f32 or absent, read"]
    pub cos: u64,
    #[doc = " (tokens, head_dim) f32 or absent, read"]
    pub sin: u64,
    #[doc = " (batch, tokens, heads, head_dim), read"]
    pub out: u64,
    #[doc = " (batch, heads, tokens) f32, read"]
    pub logsumexp: u64,
    #[doc = " (batch, tokens, heads, head_dim), read"]
    pub dout: u64,
    #[doc = " (batch, tokens, 3, heads, head_dim) or absent, written"]
    pub dqkv: u64,
    #[doc = " (parts, batch, tokens, heads, head_dim) f32 or absent, written"]
    pub dq_parts: u64,
    #[doc = " (batch, tokens, heads, head_dim) f32 or absent, written"]
    pub dk_normed: u64,
    pub batch: u32,
    pub tokens: u32,
    pub heads: u32,
    pub head_dim: u32,
    pub scale: f32,
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of QkvAttentionBwd"][::std::mem::size_of::<QkvAttentionBwd>() - 112usize];
    ["Alignment of QkvAttentionBwd"][::std::mem::align_of::<QkvAttentionBwd>() - 8usize];
    ["Offset of field: QkvAttentionBwd::qkv"][::std::mem::offset_of!(QkvAttentionBwd, qkv) - 0usize];
    ["Offset of field: QkvAttentionBwd::q_norm"][::std::mem::offset_of!(QkvAttentionBwd, q_norm) - 8usize];
    ["Offset of field: QkvAttentionBwd::k_norm"][::std::mem::offset_of!(QkvAttentionBwd, k_norm) - 16usize];
    ["Offset of field: QkvAttentionBwd::cos"][::std::mem::offset_of!(QkvAttentionBwd, cos) - 24usize];
    ["Offset of field: QkvAttentionBwd::sin"][::std::mem::offset_of!(QkvAttentionBwd, sin) - 32usize];
    ["Offset of field: QkvAttentionBwd::out"][::std::mem::offset_of!(QkvAttentionBwd, out) - 40usize];
    ["Offset of field: QkvAttentionBwd::logsumexp"][::std::mem::offset_of!(QkvAttentionBwd, logsumexp) - 48usize];
    ["Offset of field: QkvAttentionBwd::dout"][::std::mem::offset_of!(QkvAttentionBwd, dout) - 56usize];
    ["Offset of field: QkvAttentionBwd::dqkv"][::std::mem::offset_of!(QkvAttentionBwd, dqkv) - 64usize];
    ["Offset of field: QkvAttentionBwd::dq_parts"][::std::mem::offset_of!(QkvAttentionBwd, dq_parts) - 72usize];
    ["Offset of field: QkvAttentionBwd::dk_normed"][::std::mem::offset_of!(QkvAttentionBwd, dk_normed) - 80usize];
    ["Offset of field: QkvAttentionBwd::batch"][::std::mem::offset_of!(QkvAttentionBwd, batch) - 88usize];
    ["Offset of field: QkvAttentionBwd::tokens"][::std::mem::offset_of!(QkvAttentionBwd, tokens) - 92usize];
    ["Offset of field: QkvAttentionBwd::heads"][::std::mem::offset_of!(QkvAttentionBwd, heads) - 96usize];
    ["Offset of field: QkvAttentionBwd::head_dim"][::std::mem::offset_of!(QkvAttentionBwd, head_dim) - 100usize];
    ["Offset of field: QkvAttentionBwd::scale"][::std::mem::offset_of!(QkvAttentionBwd, scale) - 104usize];
    ["Offset of field: QkvAttentionBwd::eps"][::std::mem::offset_of!(QkvAttentionBwd, eps) - 108usize];
};
#[doc = " Adds up dq's parts, and takes dq and dk back through the norm: x\u{302} = x·rstd, dx = rstd·(w·d − x\u{302}·mean(w·d·x\u{302})). Of the weights of q's\n norm and of k's each block leaves Σ d·x\u{302} over its rows for part_sums. Grid: (blocks, tensors)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct QkvAttentionBwdEmbedding {
    #[doc = " (rows, 3, heads, head_dim), read"]
    pub qkv: u64,
    #[doc = " (head_dim) f32 or absent, read"]
    pub q_norm: u64,
    #[doc = " (head_dim) f32 or absent, read"]
    pub k_norm: u64,
    #[doc = " (parts, rows, heads, head_dim) f32, read"]
    pub dq_parts: u64,
    #[doc = " (rows, heads, head_dim) f32 or absent, read"]
    pub dk_normed: u64,
    #[doc = " (rows, 3, heads, head_dim) or absent, of which dq and, where dk_normed is, dk, written"]
    pub dqkv: u64,
    #[doc = " (blocks, 2, head_dim) f32 or absent, written"]
    pub weight_sums: u64,
    pub rows: u32,
    pub heads: u32,
    pub head_dim: u32,
    pub parts: u32,
    pub eps: f32,
    pub blocks: u32,
    #[doc = " 2 with dk_normed, 1 without"]
    pub tensors: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of QkvAttentionBwdEmbedding"][::std::mem::size_of::<QkvAttentionBwdEmbedding>() - 88usize];
    ["Alignment of QkvAttentionBwdEmbedding"][::std::mem::align_of::<QkvAttentionBwdEmbedding>() - 8usize];
    ["Offset of field: QkvAttentionBwdEmbedding::qkv"][::std::mem::offset_of!(QkvAttentionBwdEmbedding, qkv) - 0usize];
    ["Offset of field: QkvAttentionBwdEmbedding::q_norm"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, q_norm) - 8usize];
    ["Offset of field: QkvAttentionBwdEmbedding::k_norm"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, k_norm) - 16usize];
    ["Offset of field: QkvAttentionBwdEmbedding::dq_parts"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, dq_parts) - 24usize];
    ["Offset of field: QkvAttentionBwdEmbedding::dk_normed"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, dk_normed) - 32usize];
    ["Offset of field: QkvAttentionBwdEmbedding::dqkv"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, dqkv) - 40usize];
    ["Offset of field: QkvAttentionBwdEmbedding::weight_sums"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, weight_sums) - 48usize];
    ["Offset of field: QkvAttentionBwdEmbedding::rows"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, rows) - 56usize];
    ["Offset of field: QkvAttentionBwdEmbedding::heads"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, heads) - 60usize];
    ["Offset of field: QkvAttentionBwdEmbedding::head_dim"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, head_dim) - 64usize];
    ["Offset of field: QkvAttentionBwdEmbedding::parts"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, parts) - 68usize];
    ["Offset of field: QkvAttentionBwdEmbedding::eps"][::std::mem::offset_of!(QkvAttentionBwdEmbedding, eps) - 72usize];
    ["Offset of field: QkvAttentionBwdEmbedding::blocks"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, blocks) - 76usize];
    ["Offset of field: QkvAttentionBwdEmbedding::tensors"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, tensors) - 80usize];
    ["Offset of field: QkvAttentionBwdEmbedding::reserved"]
        [::std::mem::offset_of!(QkvAttentionBwdEmbedding, reserved) - 84usize];
};
#[doc = " y = standard normal values."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct RandomNormal {
    #[doc = " (count), written"]
    pub y: u64,
    #[doc = " low and high half"]
    pub seed: [u32; 2usize],
    #[doc = " low and high half"]
    pub stream: [u32; 2usize],
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RandomNormal"][::std::mem::size_of::<RandomNormal>() - 32usize];
    ["Alignment of RandomNormal"][::std::mem::align_of::<RandomNormal>() - 8usize];
    ["Offset of field: RandomNormal::y"][::std::mem::offset_of!(RandomNormal, y) - 0usize];
    ["Offset of field: RandomNormal::seed"][::std::mem::offset_of!(RandomNormal, seed) - 8usize];
    ["Offset of field: RandomNormal::stream"][::std::mem::offset_of!(RandomNormal, stream) - 16usize];
    ["Offset of field: RandomNormal::count"][::std::mem::offset_of!(RandomNormal, count) - 24usize];
    ["Offset of field: RandomNormal::reserved"][::std::mem::offset_of!(RandomNormal, reserved) - 28usize];
};
#[doc = " y = uniform values in [low, high)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct RandomUniform {
    #[doc = " (count), written"]
    pub y: u64,
    #[doc = " low and high half"]
    pub seed: [u32; 2usize],
    #[doc = " low and high half"]
    pub stream: [u32; 2usize],
    pub low: f32,
    pub high: f32,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RandomUniform"][::std::mem::size_of::<RandomUniform>() - 40usize];
    ["Alignment of RandomUniform"][::std::mem::align_of::<RandomUniform>() - 8usize];
    ["Offset of field: RandomUniform::y"][::std::mem::offset_of!(RandomUniform, y) - 0usize];
    ["Offset of field: RandomUniform::seed"][::std::mem::offset_of!(RandomUniform, seed) - 8usize];
    ["Offset of field: RandomUniform::stream"][::std::mem::offset_of!(RandomUniform, stream) - 16usize];
    ["Offset of field: RandomUniform::low"][::std::mem::offset_of!(RandomUniform, low) - 24usize];
    ["Offset of field: RandomUniform::high"][::std::mem::offset_of!(RandomUniform, high) - 28usize];
    ["Offset of field: RandomUniform::count"][::std::mem::offset_of!(RandomUniform, count) - 32usize];
    ["Offset of field: RandomUniform::reserved"][::std::mem::offset_of!(RandomUniform, reserved) - 36usize];
};
#[doc = " y[b, i, j, c] = Σ_u Σ_v rows[i, u]·columns[j, v]·x[b, u, v, c]; the tables follow from the sizes and the kind."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ResizeFwd {
    #[doc = " (batch, height, width, channels), read"]
    pub x: u64,
    #[doc = " (batch, out_height, out_width, channels), written"]
    pub y: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub channels: u32,
    pub kind: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ResizeFwd"][::std::mem::size_of::<ResizeFwd>() - 48usize];
    ["Alignment of ResizeFwd"][::std::mem::align_of::<ResizeFwd>() - 8usize];
    ["Offset of field: ResizeFwd::x"][::std::mem::offset_of!(ResizeFwd, x) - 0usize];
    ["Offset of field: ResizeFwd::y"][::std::mem::offset_of!(ResizeFwd, y) - 8usize];
    ["Offset of field: ResizeFwd::batch"][::std::mem::offset_of!(ResizeFwd, batch) - 16usize];
    ["Offset of field: ResizeFwd::height"][::std::mem::offset_of!(ResizeFwd, height) - 20usize];
    ["Offset of field: ResizeFwd::width"][::std::mem::offset_of!(ResizeFwd, width) - 24usize];
    ["Offset of field: ResizeFwd::out_height"][::std::mem::offset_of!(ResizeFwd, out_height) - 28usize];
    ["Offset of field: ResizeFwd::out_width"][::std::mem::offset_of!(ResizeFwd, out_width) - 32usize];
    ["Offset of field: ResizeFwd::channels"][::std::mem::offset_of!(ResizeFwd, channels) - 36usize];
    ["Offset of field: ResizeFwd::kind"][::std::mem::offset_of!(ResizeFwd, kind) - 40usize];
    ["Offset of field: ResizeFwd::reserved"][::std::mem::offset_of!(ResizeFwd, reserved) - 44usize];
};
#[doc = " The transpose of `ResizeFwd`."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ResizeBwd {
    #[doc = " (batch, out_height, out_width, channels), read"]
    pub dy: u64,
    #[doc = " (batch, height, width, channels), written"]
    pub dx: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub channels: u32,
    pub kind: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ResizeBwd"][::std::mem::size_of::<ResizeBwd>() - 48usize];
    ["Alignment of ResizeBwd"][::std::mem::align_of::<ResizeBwd>() - 8usize];
    ["Offset of field: ResizeBwd::dy"][::std::mem::offset_of!(ResizeBwd, dy) - 0usize];
    ["Offset of field: ResizeBwd::dx"][::std::mem::offset_of!(ResizeBwd, dx) - 8usize];
    ["Offset of field: ResizeBwd::batch"][::std::mem::offset_of!(ResizeBwd, batch) - 16usize];
    ["Offset of field: ResizeBwd::height"][::std::mem::offset_of!(ResizeBwd, height) - 20usize];
    ["Offset of field: ResizeBwd::width"][::std::mem::offset_of!(ResizeBwd, width) - 24usize];
    ["Offset of field: ResizeBwd::out_height"][::std::mem::offset_of!(ResizeBwd, out_height) - 28usize];
    ["Offset of field: ResizeBwd::out_width"][::std::mem::offset_of!(ResizeBwd, out_width) - 32usize];
    ["Offset of field: ResizeBwd::channels"][::std::mem::offset_of!(ResizeBwd, channels) - 36usize];
    ["Offset of field: ResizeBwd::kind"][::std::mem::offset_of!(ResizeBwd, kind) - 40usize];
    ["Offset of field: ResizeBwd::reserved"][::std::mem::offset_of!(ResizeBwd, reserved) - 44usize];
};
#[doc = " y = x\u{302}·weight·(1 + scale[b]) + shift[b], with x\u{302} = x·rstd and rstd = 1 / √(mean(x²) + eps) of the row; b = row / rows_per_group.\n Grid: (parts, groups)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct RmsNormFwd {
    #[doc = " (rows, dim), read"]
    pub x: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub weight: u64,
    #[doc = " (groups, dim) or absent, read"]
    pub scale: u64,
    #[doc = " (groups, dim) or absent, read"]
    pub shift: u64,
    #[doc = " (rows, dim) or absent, read"]
    pub branch: u64,
    #[doc = " (groups, dim), there where branch is, read"]
    pub gate: u64,
    #[doc = " (rows, dim), written"]
    pub y: u64,
    #[doc = " (rows) f32, written: what backward needs"]
    pub rstd: u64,
    #[doc = " (rows, dim), there where branch is: x + gate·branch, written"]
    pub joined: u64,
    pub rows: u32,
    pub dim: u32,
    #[doc = " rows that share a scale and shift: the tokens of an image"]
    pub rows_per_group: u32,
    #[doc = " a group's rows are cut into this many equal parts, the last one shorter"]
    pub parts: u32,
    pub eps: f32,
    #[doc = " 1: there is a branch"]
    pub joins: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RmsNormFwd"][::std::mem::size_of::<RmsNormFwd>() - 96usize];
    ["Alignment of RmsNormFwd"][::std::mem::align_of::<RmsNormFwd>() - 8usize];
    ["Offset of field: RmsNormFwd::x"][::std::mem::offset_of!(RmsNormFwd, x) - 0usize];
    ["Offset of field: RmsNormFwd::weight"][::std::mem::offset_of!(RmsNormFwd, weight) - 8usize];
    ["Offset of field: RmsNormFwd::scale"][::std::mem::offset_of!(RmsNormFwd, scale) - 16usize];
    ["Offset of field: RmsNormFwd::shift"][::std::mem::offset_of!(RmsNormFwd, shift) - 24usize];
    ["Offset of field: RmsNormFwd::branch"][::std::mem::offset_of!(RmsNormFwd, branch) - 32usize];
    ["Offset of field: RmsNormFwd::gate"][::std::mem::offset_of!(RmsNormFwd, gate) - 40usize];
    ["Offset of field: RmsNormFwd::y"][::std::mem::offset_of!(RmsNormFwd, y) - 48usize];
    ["Offset of field: RmsNormFwd::rstd"][::std::mem::offset_of!(RmsNormFwd, rstd) - 56usize];
    ["Offset of field: RmsNormFwd::joined"][::std::mem::offset_of!(RmsNormFwd, joined) - 64usize];
    ["Offset of field: RmsNormFwd::rows"][::std::mem::offset_of!(RmsNormFwd, rows) - 72usize];
    ["Offset of field: RmsNormFwd::dim"][::std::mem::offset_of!(RmsNormFwd, dim) - 76usize];
    ["Offset of field: RmsNormFwd::rows_per_group"][::std::mem::offset_of!(RmsNormFwd, rows_per_group) - 80usize];
    ["Offset of field: RmsNormFwd::parts"][::std::mem::offset_of!(RmsNormFwd, parts) - 84usize];
    ["Offset of field: RmsNormFwd::eps"][::std::mem::offset_of!(RmsNormFwd, eps) - 88usize];
    ["Offset of field: RmsNormFwd::joins"][::std::mem::offset_of!(RmsNormFwd, joins) - 92usize];
};
#[doc = " dx = rstd·(d − x\u{302}·mean(d·x\u{302})) + dresidual with d = dy·(1 + scale)·weight; and, per part of a group's rows, the sums over its rows of dy\n and of dy·x\u{302}, from which `RmsNormSums` makes the other gradients.\n Grid: (parts, groups)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct RmsNormBwd {
    #[doc = " (rows, dim), read"]
    pub x: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub weight: u64,
    #[doc = " (groups, dim) or absent, read"]
    pub scale: u64,
    #[doc = " (rows) f32, read"]
    pub rstd: u64,
    #[doc = " (rows, dim), read"]
    pub dy: u64,
    #[doc = " (rows, dim) or absent: what reaches x by another way, read"]
    pub dresidual: u64,
    #[doc = " (rows, dim) or absent, read"]
    pub branch: u64,
    #[doc = " (groups, dim), there where branch is, read"]
    pub gate: u64,
    #[doc = " (rows, dim), there where branch is, else it may be absent; written"]
    pub dx: u64,
    #[doc = " (groups, parts, 2 or with a branch 3, dim) f32 or absent: of dy, of dy·x\u{302}, of dx·branch; written"]
    pub sums: u64,
    #[doc = " (rows, dim), there where branch is, written"]
    pub dbranch: u64,
    pub rows: u32,
    pub dim: u32,
    #[doc = " as above"]
    pub rows_per_group: u32,
    #[doc = " as above"]
    pub parts: u32,
    #[doc = " as above"]
    pub joins: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RmsNormBwd"][::std::mem::size_of::<RmsNormBwd>() - 112usize];
    ["Alignment of RmsNormBwd"][::std::mem::align_of::<RmsNormBwd>() - 8usize];
    ["Offset of field: RmsNormBwd::x"][::std::mem::offset_of!(RmsNormBwd, x) - 0usize];
    ["Offset of field: RmsNormBwd::weight"][::std::mem::offset_of!(RmsNormBwd, weight) - 8usize];
    ["Offset of field: RmsNormBwd::scale"][::std::mem::offset_of!(RmsNormBwd, scale) - 16usize];
    ["Offset of field: RmsNormBwd::rstd"][::std::mem::offset_of!(RmsNormBwd, rstd) - 24usize];
    ["Offset of field: RmsNormBwd::dy"][::std::mem::offset_of!(RmsNormBwd, dy) - 32usize];
    ["Offset of field: RmsNormBwd::dresidual"][::std::mem::offset_of!(RmsNormBwd, dresidual) - 40usize];
    ["Offset of field: RmsNormBwd::branch"][::std::mem::offset_of!(RmsNormBwd, branch) - 48usize];
    ["Offset of field: RmsNormBwd::gate"][::std::mem::offset_of!(RmsNormBwd, gate) - 56usize];
    ["Offset of field: RmsNormBwd::dx"][::std::mem::offset_of!(RmsNormBwd, dx) - 64usize];
    ["Offset of field: RmsNormBwd::sums"][::std::mem::offset_of!(RmsNormBwd, sums) - 72usize];
    ["Offset of field: RmsNormBwd::dbranch"][::std::mem::offset_of!(RmsNormBwd, dbranch) - 80usize];
    ["Offset of field: RmsNormBwd::rows"][::std::mem::offset_of!(RmsNormBwd, rows) - 88usize];
    ["Offset of field: RmsNormBwd::dim"][::std::mem::offset_of!(RmsNormBwd, dim) - 92usize];
    ["Offset of field: RmsNormBwd::rows_per_group"][::std::mem::offset_of!(RmsNormBwd, rows_per_group) - 96usize];
    ["Offset of field: RmsNormBwd::parts"][::std::mem::offset_of!(RmsNormBwd, parts) - 100usize];
    ["Offset of field: RmsNormBwd::joins"][::std::mem::offset_of!(RmsNormBwd, joins) - 104usize];
    ["Offset of field: RmsNormBwd::reserved"][::std::mem::offset_of!(RmsNormBwd, reserved) - 108usize];
};
#[doc = " With A[g] = Σ dy and D[g] = Σ dy·x\u{302} over a group's parts: dscale[g] = weight·D[g], dshift[g] = A[g], dweight = Σ over g of\n (1 + scale[g])·D[g].\n Grid: (dim / 16, rounded up; modulated + affine)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct RmsNormSums {
    #[doc = " (groups, dim) or absent, read"]
    pub scale: u64,
    #[doc = " (groups, dim) or absent: has the dtype of dshift, and is not read"]
    pub shift: u64,
    #[doc = " (groups, dim) or absent: has the dtype of dgate, and is not read"]
    pub gate: u64,
    #[doc = " (dim) f32 or absent, read"]
    pub weight: u64,
    #[doc = " (groups, parts, values, dim) f32, read"]
    pub sums: u64,
    #[doc = " (dim) f32 or absent, written"]
    pub dweight: u64,
    #[doc = " (groups, dim) or absent, written"]
    pub dscale: u64,
    #[doc = " (groups, dim) or absent, written"]
    pub dshift: u64,
    #[doc = " (groups, dim) or absent, written"]
    pub dgate: u64,
    pub dim: u32,
    pub groups: u32,
    pub parts: u32,
    #[doc = " blocks y below this write a group's dscale, dshift and dgate: `groups`, or 0 where none is asked for"]
    pub modulated: u32,
    #[doc = " 1: blocks y after those write what is summed over groups; 0 where that is not asked for"]
    pub affine: u32,
    #[doc = " sums of each column: 2, or 3 with a branch"]
    pub values: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RmsNormSums"][::std::mem::size_of::<RmsNormSums>() - 96usize];
    ["Alignment of RmsNormSums"][::std::mem::align_of::<RmsNormSums>() - 8usize];
    ["Offset of field: RmsNormSums::scale"][::std::mem::offset_of!(RmsNormSums, scale) - 0usize];
    ["Offset of field: RmsNormSums::shift"][::std::mem::offset_of!(RmsNormSums, shift) - 8usize];
    ["Offset of field: RmsNormSums::gate"][::std::mem::offset_of!(RmsNormSums, gate) - 16usize];
    ["Offset of field: RmsNormSums::weight"][::std::mem::offset_of!(RmsNormSums, weight) - 24usize];
    ["Offset of field: RmsNormSums::sums"][::std::mem::offset_of!(RmsNormSums, sums) - 32usize];
    ["Offset of field: RmsNormSums::dweight"][::std::mem::offset_of!(RmsNormSums, dweight) - 40usize];
    ["Offset of field: RmsNormSums::dscale"][::std::mem::offset_of!(RmsNormSums, dscale) - 48usize];
    ["Offset of field: RmsNormSums::dshift"][::std::mem::offset_of!(RmsNormSums, dshift) - 56usize];
    ["Offset of field: RmsNormSums::dgate"][::std::mem::offset_of!(RmsNormSums, dgate) - 64usize];
    ["Offset of field: RmsNormSums::dim"][::std::mem::offset_of!(RmsNormSums, dim) - 72usize];
    ["Offset of field: RmsNormSums::groups"][::std::mem::offset_of!(RmsNormSums, groups) - 76usize];
    ["Offset of field: RmsNormSums::parts"][::std::mem::offset_of!(RmsNormSums, parts) - 80usize];
    ["Offset of field: RmsNormSums::modulated"][::std::mem::offset_of!(RmsNormSums, modulated) - 84usize];
    ["Offset of field: RmsNormSums::affine"][::std::mem::offset_of!(RmsNormSums, affine) - 88usize];
    ["Offset of field: RmsNormSums::values"][::std::mem::offset_of!(RmsNormSums, values) - 92usize];
};
#[doc = " Turns neighbours (x₀, x₁) of every head to (x₀·cos₀ − x₁·sin₀, x₁·cos₁ + x₀·sin₁)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Rope {
    #[doc = " (batch, tokens, heads, head_dim), read"]
    pub x: u64,
    #[doc = " (tokens, head_dim) f32, read"]
    pub cos: u64,
    #[doc = " (tokens, head_dim) f32, read"]
    pub sin: u64,
    #[doc = " (batch, tokens, heads, head_dim), written"]
    pub y: u64,
    pub batch: u32,
    pub tokens: u32,
    pub heads: u32,
    #[doc = " CUDA: a multiple of 4"]
    pub head_dim: u32,
    #[doc = " 1: the transposed map, which is the gradient"]
    pub transpose: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Rope"][::std::mem::size_of::<Rope>() - 56usize];
    ["Alignment of Rope"][::std::mem::align_of::<Rope>() - 8usize];
    ["Offset of field: Rope::x"][::std::mem::offset_of!(Rope, x) - 0usize];
    ["Offset of field: Rope::cos"][::std::mem::offset_of!(Rope, cos) - 8usize];
    ["Offset of field: Rope::sin"][::std::mem::offset_of!(Rope, sin) - 16usize];
    ["Offset of field: Rope::y"][::std::mem::offset_of!(Rope, y) - 24usize];
    ["Offset of field: Rope::batch"][::std::mem::offset_of!(Rope, batch) - 32usize];
    ["Offset of field: Rope::tokens"][::std::mem::offset_of!(Rope, tokens) - 36usize];
    ["Offset of field: Rope::heads"][::std::mem::offset_of!(Rope, heads) - 40usize];
    ["Offset of field: Rope::head_dim"][::std::mem::offset_of!(Rope, head_dim) - 44usize];
    ["Offset of field: Rope::transpose"][::std::mem::offset_of!(Rope, transpose) - 48usize];
    ["Offset of field: Rope::reserved"][::std::mem::offset_of!(Rope, reserved) - 52usize];
};
#[doc = " sum = Σ parts, in an order that does not change."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct SumParts {
    #[doc = " (count) f32, read"]
    pub parts: u64,
    #[doc = " (1) f32, written"]
    pub sum: u64,
    pub count: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SumParts"][::std::mem::size_of::<SumParts>() - 24usize];
    ["Alignment of SumParts"][::std::mem::align_of::<SumParts>() - 8usize];
    ["Offset of field: SumParts::parts"][::std::mem::offset_of!(SumParts, parts) - 0usize];
    ["Offset of field: SumParts::sum"][::std::mem::offset_of!(SumParts, sum) - 8usize];
    ["Offset of field: SumParts::count"][::std::mem::offset_of!(SumParts, count) - 16usize];
    ["Offset of field: SumParts::reserved"][::std::mem::offset_of!(SumParts, reserved) - 20usize];
};
#[doc = " y[r, i] = silu(x[r, i]) · x[r, hidden + i], with silu(a) = a / (1 + e⁻ᵃ)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct SwigluFwd {
    #[doc = " (rows, 2·hidden), read: gates, then values"]
    pub x: u64,
    #[doc = " (rows, hidden), written"]
    pub y: u64,
    pub rows: u32,
    #[doc = " CUDA: a multiple of 4 (f32) or 8 (bf16)"]
    pub hidden: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SwigluFwd"][::std::mem::size_of::<SwigluFwd>() - 24usize];
    ["Alignment of SwigluFwd"][::std::mem::align_of::<SwigluFwd>() - 8usize];
    ["Offset of field: SwigluFwd::x"][::std::mem::offset_of!(SwigluFwd, x) - 0usize];
    ["Offset of field: SwigluFwd::y"][::std::mem::offset_of!(SwigluFwd, y) - 8usize];
    ["Offset of field: SwigluFwd::rows"][::std::mem::offset_of!(SwigluFwd, rows) - 16usize];
    ["Offset of field: SwigluFwd::hidden"][::std::mem::offset_of!(SwigluFwd, hidden) - 20usize];
};
#[doc = " With s = 1 / (1 + e⁻ᵃ), a the gate and b the value: da = dy·b·s·(1 + a·(1 − s)) and db = dy·a·s."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct SwigluBwd {
    #[doc = " (rows, 2·hidden), read"]
    pub x: u64,
    #[doc = " (rows, hidden), read"]
    pub dy: u64,
    #[doc = " (rows, 2·hidden), written"]
    pub dx: u64,
    pub rows: u32,
    #[doc = " CUDA: a multiple of 4 (f32) or 8 (bf16)"]
    pub hidden: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SwigluBwd"][::std::mem::size_of::<SwigluBwd>() - 32usize];
    ["Alignment of SwigluBwd"][::std::mem::align_of::<SwigluBwd>() - 8usize];
    ["Offset of field: SwigluBwd::x"][::std::mem::offset_of!(SwigluBwd, x) - 0usize];
    ["Offset of field: SwigluBwd::dy"][::std::mem::offset_of!(SwigluBwd, dy) - 8usize];
    ["Offset of field: SwigluBwd::dx"][::std::mem::offset_of!(SwigluBwd, dx) - 16usize];
    ["Offset of field: SwigluBwd::rows"][::std::mem::offset_of!(SwigluBwd, rows) - 24usize];
    ["Offset of field: SwigluBwd::hidden"][::std::mem::offset_of!(SwigluBwd, hidden) - 28usize];
};
#[doc = " y = cos(t·ωᵢ) | sin(t·ωᵢ), ωᵢ = 10000^(−i / (dim/2))."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct TimestepEmbeddingFwd {
    #[doc = " (batch) f32, read"]
    pub t: u64,
    #[doc = " (batch, dim) f32, written"]
    pub y: u64,
    pub batch: u32,
    pub dim: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TimestepEmbeddingFwd"][::std::mem::size_of::<TimestepEmbeddingFwd>() - 24usize];
    ["Alignment of TimestepEmbeddingFwd"][::std::mem::align_of::<TimestepEmbeddingFwd>() - 8usize];
    ["Offset of field: TimestepEmbeddingFwd::t"][::std::mem::offset_of!(TimestepEmbeddingFwd, t) - 0usize];
    ["Offset of field: TimestepEmbeddingFwd::y"][::std::mem::offset_of!(TimestepEmbeddingFwd, y) - 8usize];
    ["Offset of field: TimestepEmbeddingFwd::batch"][::std::mem::offset_of!(TimestepEmbeddingFwd, batch) - 16usize];
    ["Offset of field: TimestepEmbeddingFwd::dim"][::std::mem::offset_of!(TimestepEmbeddingFwd, dim) - 20usize];
};
#[doc = " dt = Σᵢ ωᵢ·(dy_sin·cos(t·ωᵢ) − dy_cos·sin(t·ωᵢ))."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct TimestepEmbeddingBwd {
    #[doc = " (batch) f32, read"]
    pub t: u64,
    #[doc = " (batch, dim) f32, read"]
    pub dy: u64,
    #[doc = " (batch) f32, written"]
    pub dt: u64,
    pub batch: u32,
    pub dim: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TimestepEmbeddingBwd"][::std::mem::size_of::<TimestepEmbeddingBwd>() - 32usize];
    ["Alignment of TimestepEmbeddingBwd"][::std::mem::align_of::<TimestepEmbeddingBwd>() - 8usize];
    ["Offset of field: TimestepEmbeddingBwd::t"][::std::mem::offset_of!(TimestepEmbeddingBwd, t) - 0usize];
    ["Offset of field: TimestepEmbeddingBwd::dy"][::std::mem::offset_of!(TimestepEmbeddingBwd, dy) - 8usize];
    ["Offset of field: TimestepEmbeddingBwd::dt"][::std::mem::offset_of!(TimestepEmbeddingBwd, dt) - 16usize];
    ["Offset of field: TimestepEmbeddingBwd::batch"][::std::mem::offset_of!(TimestepEmbeddingBwd, batch) - 24usize];
    ["Offset of field: TimestepEmbeddingBwd::dim"][::std::mem::offset_of!(TimestepEmbeddingBwd, dim) - 28usize];
};
#[doc = " y = (cls | x) + pos along the tokens."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct PrependTokenFwd {
    #[doc = " (batch, tokens, cols), read"]
    pub x: u64,
    #[doc = " (cols) f32, read"]
    pub cls: u64,
    #[doc = " (tokens + 1, cols) f32, read"]
    pub pos: u64,
    #[doc = " (batch, tokens + 1, cols), written"]
    pub y: u64,
    pub batch: u32,
    pub tokens: u32,
    pub cols: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PrependTokenFwd"][::std::mem::size_of::<PrependTokenFwd>() - 48usize];
    ["Alignment of PrependTokenFwd"][::std::mem::align_of::<PrependTokenFwd>() - 8usize];
    ["Offset of field: PrependTokenFwd::x"][::std::mem::offset_of!(PrependTokenFwd, x) - 0usize];
    ["Offset of field: PrependTokenFwd::cls"][::std::mem::offset_of!(PrependTokenFwd, cls) - 8usize];
    ["Offset of field: PrependTokenFwd::pos"][::std::mem::offset_of!(PrependTokenFwd, pos) - 16usize];
    ["Offset of field: PrependTokenFwd::y"][::std::mem::offset_of!(PrependTokenFwd, y) - 24usize];
    ["Offset of field: PrependTokenFwd::batch"][::std::mem::offset_of!(PrependTokenFwd, batch) - 32usize];
    ["Offset of field: PrependTokenFwd::tokens"][::std::mem::offset_of!(PrependTokenFwd, tokens) - 36usize];
    ["Offset of field: PrependTokenFwd::cols"][::std::mem::offset_of!(PrependTokenFwd, cols) - 40usize];
    ["Offset of field: PrependTokenFwd::reserved"][::std::mem::offset_of!(PrependTokenFwd, reserved) - 44usize];
};
#[doc = " dx = dy without its first token, dcls = Σ_batch dy[0], dpos = Σ_batch dy."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct PrependTokenBwd {
    #[doc = " (batch, tokens + 1, cols), read"]
    pub dy: u64,
    #[doc = " (batch, tokens, cols) or absent, written"]
    pub dx: u64,
    #[doc = " (cols) f32 or absent, written"]
    pub dcls: u64,
    #[doc = " (tokens + 1, cols) f32 or absent, written"]
    pub dpos: u64,
    pub batch: u32,
    pub tokens: u32,
    pub cols: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PrependTokenBwd"][::std::mem::size_of::<PrependTokenBwd>() - 48usize];
    ["Alignment of PrependTokenBwd"][::std::mem::align_of::<PrependTokenBwd>() - 8usize];
    ["Offset of field: PrependTokenBwd::dy"][::std::mem::offset_of!(PrependTokenBwd, dy) - 0usize];
    ["Offset of field: PrependTokenBwd::dx"][::std::mem::offset_of!(PrependTokenBwd, dx) - 8usize];
    ["Offset of field: PrependTokenBwd::dcls"][::std::mem::offset_of!(PrependTokenBwd, dcls) - 16usize];
    ["Offset of field: PrependTokenBwd::dpos"][::std::mem::offset_of!(PrependTokenBwd, dpos) - 24usize];
    ["Offset of field: PrependTokenBwd::batch"][::std::mem::offset_of!(PrependTokenBwd, batch) - 32usize];
    ["Offset of field: PrependTokenBwd::tokens"][::std::mem::offset_of!(PrependTokenBwd, tokens) - 36usize];
    ["Offset of field: PrependTokenBwd::cols"][::std::mem::offset_of!(PrependTokenBwd, cols) - 40usize];
    ["Offset of field: PrependTokenBwd::reserved"][::std::mem::offset_of!(PrependTokenBwd, reserved) - 44usize];
};
#[doc = " y = x without its first token."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct DropTokenFwd {
    #[doc = " (batch, tokens + 1, cols), read"]
    pub x: u64,
    #[doc = " (batch, tokens, cols), written"]
    pub y: u64,
    pub batch: u32,
    pub tokens: u32,
    pub cols: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DropTokenFwd"][::std::mem::size_of::<DropTokenFwd>() - 32usize];
    ["Alignment of DropTokenFwd"][::std::mem::align_of::<DropTokenFwd>() - 8usize];
    ["Offset of field: DropTokenFwd::x"][::std::mem::offset_of!(DropTokenFwd, x) - 0usize];
    ["Offset of field: DropTokenFwd::y"][::std::mem::offset_of!(DropTokenFwd, y) - 8usize];
    ["Offset of field: DropTokenFwd::batch"][::std::mem::offset_of!(DropTokenFwd, batch) - 16usize];
    ["Offset of field: DropTokenFwd::tokens"][::std::mem::offset_of!(DropTokenFwd, tokens) - 20usize];
    ["Offset of field: DropTokenFwd::cols"][::std::mem::offset_of!(DropTokenFwd, cols) - 24usize];
    ["Offset of field: DropTokenFwd::reserved"][::std::mem::offset_of!(DropTokenFwd, reserved) - 28usize];
};
#[doc = " dx = dy behind a first token of zeros."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct DropTokenBwd {
    #[doc = " (batch, tokens, cols), read"]
    pub dy: u64,
    #[doc = " (batch, tokens + 1, cols), written"]
    pub dx: u64,
    pub batch: u32,
    pub tokens: u32,
    pub cols: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DropTokenBwd"][::std::mem::size_of::<DropTokenBwd>() - 32usize];
    ["Alignment of DropTokenBwd"][::std::mem::align_of::<DropTokenBwd>() - 8usize];
    ["Offset of field: DropTokenBwd::dy"][::std::mem::offset_of!(DropTokenBwd, dy) - 0usize];
    ["Offset of field: DropTokenBwd::dx"][::std::mem::offset_of!(DropTokenBwd, dx) - 8usize];
    ["Offset of field: DropTokenBwd::batch"][::std::mem::offset_of!(DropTokenBwd, batch) - 16usize];
    ["Offset of field: DropTokenBwd::tokens"][::std::mem::offset_of!(DropTokenBwd, tokens) - 20usize];
    ["Offset of field: DropTokenBwd::cols"][::std::mem::offset_of!(DropTokenBwd, cols) - 24usize];
    ["Offset of field: DropTokenBwd::reserved"][::std::mem::offset_of!(DropTokenBwd, reserved) - 28usize];
};
#[doc = " y[o, c, r] = x[o, r, c]."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Transpose {
    #[doc = " (outer, rows, cols), read"]
    pub x: u64,
    #[doc = " (outer, cols, rows), written"]
    pub y: u64,
    pub outer: u32,
    pub rows: u32,
    pub cols: u32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Transpose"][::std::mem::size_of::<Transpose>() - 32usize];
    ["Alignment of Transpose"][::std::mem::align_of::<Transpose>() - 8usize];
    ["Offset of field: Transpose::x"][::std::mem::offset_of!(Transpose, x) - 0usize];
    ["Offset of field: Transpose::y"][::std::mem::offset_of!(Transpose, y) - 8usize];
    ["Offset of field: Transpose::outer"][::std::mem::offset_of!(Transpose, outer) - 16usize];
    ["Offset of field: Transpose::rows"][::std::mem::offset_of!(Transpose, rows) - 20usize];
    ["Offset of field: Transpose::cols"][::std::mem::offset_of!(Transpose, cols) - 24usize];
    ["Offset of field: Transpose::reserved"][::std::mem::offset_of!(Transpose, reserved) - 28usize];
};
#[doc = " y[b, i, j, c] = x[b, i/2, j/2, c]."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct UpsampleFwd {
    #[doc = " (batch, height, width, channels), read"]
    pub x: u64,
    #[doc = " (batch, 2·height, 2·width, channels), written"]
    pub y: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of UpsampleFwd"][::std::mem::size_of::<UpsampleFwd>() - 32usize];
    ["Alignment of UpsampleFwd"][::std::mem::align_of::<UpsampleFwd>() - 8usize];
    ["Offset of field: UpsampleFwd::x"][::std::mem::offset_of!(UpsampleFwd, x) - 0usize];
    ["Offset of field: UpsampleFwd::y"][::std::mem::offset_of!(UpsampleFwd, y) - 8usize];
    ["Offset of field: UpsampleFwd::batch"][::std::mem::offset_of!(UpsampleFwd, batch) - 16usize];
    ["Offset of field: UpsampleFwd::height"][::std::mem::offset_of!(UpsampleFwd, height) - 20usize];
    ["Offset of field: UpsampleFwd::width"][::std::mem::offset_of!(UpsampleFwd, width) - 24usize];
    ["Offset of field: UpsampleFwd::channels"][::std::mem::offset_of!(UpsampleFwd, channels) - 28usize];
};
#[doc = " dx[b, i, j, c] = the sum of dy over the 2×2 square that (i, j) was copied to."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct UpsampleBwd {
    #[doc = " (batch, 2·height, 2·width, channels), read"]
    pub dy: u64,
    #[doc = " (batch, height, width, channels), written"]
    pub dx: u64,
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of UpsampleBwd"][::std::mem::size_of::<UpsampleBwd>() - 32usize];
    ["Alignment of UpsampleBwd"][::std::mem::align_of::<UpsampleBwd>() - 8usize];
    ["Offset of field: UpsampleBwd::dy"][::std::mem::offset_of!(UpsampleBwd, dy) - 0usize];
    ["Offset of field: UpsampleBwd::dx"][::std::mem::offset_of!(UpsampleBwd, dx) - 8usize];
    ["Offset of field: UpsampleBwd::batch"][::std::mem::offset_of!(UpsampleBwd, batch) - 16usize];
    ["Offset of field: UpsampleBwd::height"][::std::mem::offset_of!(UpsampleBwd, height) - 20usize];
    ["Offset of field: UpsampleBwd::width"][::std::mem::offset_of!(UpsampleBwd, width) - 24usize];
    ["Offset of field: UpsampleBwd::channels"][::std::mem::offset_of!(UpsampleBwd, channels) - 28usize];
};
#[doc = " mse[b] = weight[b]·mean over the sample of (pred − target)²;\n cos[b] = mean over its rows of 1 − pred·target / (max(‖pred‖, eps)·max(‖target‖, eps)). Both as sums over parts of the rows.\n Grid: (parts, batch)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct VelocityLossFwd {
    #[doc = " (batch, rows, channels), read"]
    pub pred: u64,
    #[doc = " (batch, rows, channels), f32, read"]
    pub target: u64,
    #[doc = " (batch), f32, or absent, read"]
    pub weight: u64,
    #[doc = " (batch, parts), f32, written"]
    pub mse: u64,
    #[doc = " (batch, parts), f32, written"]
    pub cos: u64,
    pub batch: u32,
    pub rows: u32,
    pub channels: u32,
    #[doc = " a sample's rows are cut into this many equal parts, the last ones shorter"]
    pub parts: u32,
    pub eps: f32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of VelocityLossFwd"][::std::mem::size_of::<VelocityLossFwd>() - 64usize];
    ["Alignment of VelocityLossFwd"][::std::mem::align_of::<VelocityLossFwd>() - 8usize];
    ["Offset of field: VelocityLossFwd::pred"][::std::mem::offset_of!(VelocityLossFwd, pred) - 0usize];
    ["Offset of field: VelocityLossFwd::target"][::std::mem::offset_of!(VelocityLossFwd, target) - 8usize];
    ["Offset of field: VelocityLossFwd::weight"][::std::mem::offset_of!(VelocityLossFwd, weight) - 16usize];
    ["Offset of field: VelocityLossFwd::mse"][::std::mem::offset_of!(VelocityLossFwd, mse) - 24usize];
    ["Offset of field: VelocityLossFwd::cos"][::std::mem::offset_of!(VelocityLossFwd, cos) - 32usize];
    ["Offset of field: VelocityLossFwd::batch"][::std::mem::offset_of!(VelocityLossFwd, batch) - 40usize];
    ["Offset of field: VelocityLossFwd::rows"][::std::mem::offset_of!(VelocityLossFwd, rows) - 44usize];
    ["Offset of field: VelocityLossFwd::channels"][::std::mem::offset_of!(VelocityLossFwd, channels) - 48usize];
    ["Offset of field: VelocityLossFwd::parts"][::std::mem::offset_of!(VelocityLossFwd, parts) - 52usize];
    ["Offset of field: VelocityLossFwd::eps"][::std::mem::offset_of!(VelocityLossFwd, eps) - 56usize];
    ["Offset of field: VelocityLossFwd::reserved"][::std::mem::offset_of!(VelocityLossFwd, reserved) - 60usize];
};
#[doc = " dpred = dmse[b]·weight[b]·2(pred − target)/(rows·channels)\n       − dcos[b]/rows·(target/(‖pred‖‖target‖) − cos·pred/‖pred‖²), the last term only where ‖pred‖ > eps."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct VelocityLossBwd {
    #[doc = " (batch, rows, channels), read"]
    pub pred: u64,
    #[doc = " (batch, rows, channels), f32, read"]
    pub target: u64,
    #[doc = " (batch), f32, or absent, read"]
    pub weight: u64,
    #[doc = " (batch), f32, or absent, read"]
    pub dmse: u64,
    #[doc = " (batch), f32, or absent, read"]
    pub dcos: u64,
    #[doc = " (batch, rows, channels), written"]
    pub dpred: u64,
    pub batch: u32,
    pub rows: u32,
    pub channels: u32,
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of VelocityLossBwd"][::std::mem::size_of::<VelocityLossBwd>() - 64usize];
    ["Alignment of VelocityLossBwd"][::std::mem::align_of::<VelocityLossBwd>() - 8usize];
    ["Offset of field: VelocityLossBwd::pred"][::std::mem::offset_of!(VelocityLossBwd, pred) - 0usize];
    ["Offset of field: VelocityLossBwd::target"][::std::mem::offset_of!(VelocityLossBwd, target) - 8usize];
    ["Offset of field: VelocityLossBwd::weight"][::std::mem::offset_of!(VelocityLossBwd, weight) - 16usize];
    ["Offset of field: VelocityLossBwd::dmse"][::std::mem::offset_of!(VelocityLossBwd, dmse) - 24usize];
    ["Offset of field: VelocityLossBwd::dcos"][::std::mem::offset_of!(VelocityLossBwd, dcos) - 32usize];
    ["Offset of field: VelocityLossBwd::dpred"][::std::mem::offset_of!(VelocityLossBwd, dpred) - 40usize];
    ["Offset of field: VelocityLossBwd::batch"][::std::mem::offset_of!(VelocityLossBwd, batch) - 48usize];
    ["Offset of field: VelocityLossBwd::rows"][::std::mem::offset_of!(VelocityLossBwd, rows) - 52usize];
    ["Offset of field: VelocityLossBwd::channels"][::std::mem::offset_of!(VelocityLossBwd, channels) - 56usize];
    ["Offset of field: VelocityLossBwd::eps"][::std::mem::offset_of!(VelocityLossBwd, eps) - 60usize];
};
#[doc = " Both losses, and what backward needs. signs[b, pair, r] is row r of s in the pair's tiles I ≤ J, sᵢⱼ = sign(d) where |d| > margin and\n else 0, d = cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ): two bits for each j, lowest first: 0, 1 for +1, 3 for −1.\n slope = 1/(‖f‖‖z′‖) where relu(1 − cos_margin − cos(f, z′)) > 0, else 0. Grid: (pairs + tiles, batch). One launch at a time."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct VfLossFwd {
    #[doc = " (batch, positions, channels), read"]
    pub z: u64,
    #[doc = " (width, channels) or absent, read"]
    pub weight: u64,
    #[doc = " (batch, positions, width), read"]
    pub features: u64,
    #[doc = " (1) f32, written"]
    pub mdms: u64,
    #[doc = " (1) f32, written"]
    pub mcos: u64,
    #[doc = " (batch, pairs + tiles) f32: what each block adds to the sums, written"]
    pub partial: u64,
    #[doc = " (batch, positions, channels): Wᵀf, or absent with weight, written"]
    pub projected: u64,
    #[doc = " (channels, channels) f32: M, or absent with weight, written"]
    pub gram: u64,
    #[doc = " (batch, positions) f32: ‖z′‖, written"]
    pub norm: u64,
    #[doc = " (batch, positions) f32: ‖f‖, or absent, written"]
    pub feature_norm: u64,
    #[doc = " (batch, positions) f32, written"]
    pub slope: u64,
    #[doc = " (batch, pairs, 64, 4) u32, written"]
    pub signs: u64,
    pub batch: u32,
    pub positions: u32,
    pub width: u32,
    pub channels: u32,
    pub distmat_margin: f32,
    pub cos_margin: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of VfLossFwd"][::std::mem::size_of::<VfLossFwd>() - 120usize];
    ["Alignment of VfLossFwd"][::std::mem::align_of::<VfLossFwd>() - 8usize];
    ["Offset of field: VfLossFwd::z"][::std::mem::offset_of!(VfLossFwd, z) - 0usize];
    ["Offset of field: VfLossFwd::weight"][::std::mem::offset_of!(VfLossFwd, weight) - 8usize];
    ["Offset of field: VfLossFwd::features"][::std::mem::offset_of!(VfLossFwd, features) - 16usize];
    ["Offset of field: VfLossFwd::mdms"][::std::mem::offset_of!(VfLossFwd, mdms) - 24usize];
    ["Offset of field: VfLossFwd::mcos"][::std::mem::offset_of!(VfLossFwd, mcos) - 32usize];
    ["Offset of field: VfLossFwd::partial"][::std::mem::offset_of!(VfLossFwd, partial) - 40usize];
    ["Offset of field: VfLossFwd::projected"][::std::mem::offset_of!(VfLossFwd, projected) - 48usize];
    ["Offset of field: VfLossFwd::gram"][::std::mem::offset_of!(VfLossFwd, gram) - 56usize];
    ["Offset of field: VfLossFwd::norm"][::std::mem::offset_of!(VfLossFwd, norm) - 64usize];
    ["Offset of field: VfLossFwd::feature_norm"][::std::mem::offset_of!(VfLossFwd, feature_norm) - 72usize];
    ["Offset of field: VfLossFwd::slope"][::std::mem::offset_of!(VfLossFwd, slope) - 80usize];
    ["Offset of field: VfLossFwd::signs"][::std::mem::offset_of!(VfLossFwd, signs) - 88usize];
    ["Offset of field: VfLossFwd::batch"][::std::mem::offset_of!(VfLossFwd, batch) - 96usize];
    ["Offset of field: VfLossFwd::positions"][::std::mem::offset_of!(VfLossFwd, positions) - 100usize];
    ["Offset of field: VfLossFwd::width"][::std::mem::offset_of!(VfLossFwd, width) - 104usize];
    ["Offset of field: VfLossFwd::channels"][::std::mem::offset_of!(VfLossFwd, channels) - 108usize];
    ["Offset of field: VfLossFwd::distmat_margin"][::std::mem::offset_of!(VfLossFwd, distmat_margin) - 112usize];
    ["Offset of field: VfLossFwd::cos_margin"][::std::mem::offset_of!(VfLossFwd, cos_margin) - 116usize];
};
#[doc = " dz = dmdms·∂mdms/∂z + dmcos·∂mcos/∂z, and outer = the parts of Σ r zᵀ (r as in src/ops/vf_loss.rs), with which\n ∂W = −dmcos/(batch·positions)·Σ slope·f zᵀ + W·Σ r zᵀ. Σ r zᵀ is symmetric: outer has its blocks of 8 × 8 on and right of the diagonal,\n in the order of pairs; `blocks` = n·(n + 1) / 2 with n = channels / 8, rounded up. Without a weight `projected` are the features; for\n their gradient the two change places, and mdms_sign is −1. Grid: parts."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct VfLossBwd {
    #[doc = " (batch, positions, channels), read"]
    pub z: u64,
    #[doc = " (batch, positions, channels), read"]
    pub projected: u64,
    #[doc = " (channels, channels) f32 or absent, read"]
    pub gram: u64,
    #[doc = " (batch, positions) f32, read"]
    pub norm: u64,
    #[doc = " (batch, positions) f32, read"]
    pub slope: u64,
    #[doc = " (batch, pairs, 64, 4) u32, read"]
    pub signs: u64,
    #[doc = " (1) f32 or absent for 0, read"]
    pub dmdms: u64,
    #[doc = " (1) f32 or absent for 0, read"]
    pub dmcos: u64,
    #[doc = " (batch, positions, channels) or absent, written"]
    pub dz: u64,
    #[doc = " (parts, blocks, 8, 8) or absent, written"]
    pub outer: u64,
    pub batch: u32,
    pub positions: u32,
    pub channels: u32,
    pub parts: u32,
    pub mdms_sign: f32,
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of VfLossBwd"][::std::mem::size_of::<VfLossBwd>() - 104usize];
    ["Alignment of VfLossBwd"][::std::mem::align_of::<VfLossBwd>() - 8usize];
    ["Offset of field: VfLossBwd::z"][::std::mem::offset_of!(VfLossBwd, z) - 0usize];
    ["Offset of field: VfLossBwd::projected"][::std::mem::offset_of!(VfLossBwd, projected) - 8usize];
    ["Offset of field: VfLossBwd::gram"][::std::mem::offset_of!(VfLossBwd, gram) - 16usize];
    ["Offset of field: VfLossBwd::norm"][::std::mem::offset_of!(VfLossBwd, norm) - 24usize];
    ["Offset of field: VfLossBwd::slope"][::std::mem::offset_of!(VfLossBwd, slope) - 32usize];
    ["Offset of field: VfLossBwd::signs"][::std::mem::offset_of!(VfLossBwd, signs) - 40usize];
    ["Offset of field: VfLossBwd::dmdms"][::std::mem::offset_of!(VfLossBwd, dmdms) - 48usize];
    ["Offset of field: VfLossBwd::dmcos"][::std::mem::offset_of!(VfLossBwd, dmcos) - 56usize];
    ["Offset of field: VfLossBwd::dz"][::std::mem::offset_of!(VfLossBwd, dz) - 64usize];
    ["Offset of field: VfLossBwd::outer"][::std::mem::offset_of!(VfLossBwd, outer) - 72usize];
    ["Offset of field: VfLossBwd::batch"][::std::mem::offset_of!(VfLossBwd, batch) - 80usize];
    ["Offset of field: VfLossBwd::positions"][::std::mem::offset_of!(VfLossBwd, positions) - 84usize];
    ["Offset of field: VfLossBwd::channels"][::std::mem::offset_of!(VfLossBwd, channels) - 88usize];
    ["Offset of field: VfLossBwd::parts"][::std::mem::offset_of!(VfLossBwd, parts) - 92usize];
    ["Offset of field: VfLossBwd::mdms_sign"][::std::mem::offset_of!(VfLossBwd, mdms_sign) - 96usize];
    ["Offset of field: VfLossBwd::reserved"][::std::mem::offset_of!(VfLossBwd, reserved) - 100usize];
};
#[doc = " dweight as above. Grid: (width / 16, channels / 16), rounded up."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct VfLossBwdWeight {
    #[doc = " (tokens, width), read"]
    pub features: u64,
    #[doc = " (tokens, channels), read"]
    pub z: u64,
    #[doc = " (tokens) f32, read"]
    pub slope: u64,
    #[doc = " (width, channels), read"]
    pub weight: u64,
    #[doc = " (parts, blocks, 8, 8), read"]
    pub outer: u64,
    #[doc = " (1) f32 or absent for 0, read"]
    pub dmcos: u64,
    #[doc = " (width, channels) f32, written"]
    pub dweight: u64,
    #[doc = " batch·positions"]
    pub tokens: u32,
    pub width: u32,
    pub channels: u32,
    pub parts: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of VfLossBwdWeight"][::std::mem::size_of::<VfLossBwdWeight>() - 72usize];
    ["Alignment of VfLossBwdWeight"][::std::mem::align_of::<VfLossBwdWeight>() - 8usize];
    ["Offset of field: VfLossBwdWeight::features"][::std::mem::offset_of!(VfLossBwdWeight, features) - 0usize];
    ["Offset of field: VfLossBwdWeight::z"][::std::mem::offset_of!(VfLossBwdWeight, z) - 8usize];
    ["Offset of field: VfLossBwdWeight::slope"][::std::mem::offset_of!(VfLossBwdWeight, slope) - 16usize];
    ["Offset of field: VfLossBwdWeight::weight"][::std::mem::offset_of!(VfLossBwdWeight, weight) - 24usize];
    ["Offset of field: VfLossBwdWeight::outer"][::std::mem::offset_of!(VfLossBwdWeight, outer) - 32usize];
    ["Offset of field: VfLossBwdWeight::dmcos"][::std::mem::offset_of!(VfLossBwdWeight, dmcos) - 40usize];
    ["Offset of field: VfLossBwdWeight::dweight"][::std::mem::offset_of!(VfLossBwdWeight, dweight) - 48usize];
    ["Offset of field: VfLossBwdWeight::tokens"][::std::mem::offset_of!(VfLossBwdWeight, tokens) - 56usize];
    ["Offset of field: VfLossBwdWeight::width"][::std::mem::offset_of!(VfLossBwdWeight, width) - 60usize];
    ["Offset of field: VfLossBwdWeight::channels"][::std::mem::offset_of!(VfLossBwdWeight, channels) - 64usize];
    ["Offset of field: VfLossBwdWeight::parts"][::std::mem::offset_of!(VfLossBwdWeight, parts) - 68usize];
};
