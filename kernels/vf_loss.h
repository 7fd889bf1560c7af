// The VF loss of VA-VAE (Yao, Yang, Wang, CVPR 2025): marginal distance-matrix similarity and marginal cosine similarity between
// the projected latents z′ = W z and a foundation model's features f. Neither z′ nor a matrix of cosines is ever in memory.
//
//   mdms = mean over b, i, j of relu(|cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)| − distmat_margin)
//   mcos = mean over b, i of relu(1 − cos_margin − cos(fᵢ, z′ᵢ))
//
// Whoever seeds the two gradients weighs the two losses. (No kernel knows the weights: a training step reads both losses.)
//
// With M = WᵀW: z′ᵢ·z′ⱼ = zᵢᵀ M zⱼ and z′ᵢ·fᵢ = zᵢ·(Wᵀ fᵢ). src/ops/vf_loss.rs derives the gradients. Without a weight W is the
// identity, and the features are as wide as the latents.
//
// Sizes: `width` the features' channels (Cf); `channels` the latents' (Cz), at most 64; on CUDA both are multiples of 8. A tile is 64
// positions of an image; `tiles` = positions / 64, rounded up; `pairs` = tiles·(tiles + 1) / 2, in the order (0,0), (0,1), …, (1,1), ….
#pragma once
#include <stdint.h>

/// Positions of a tile.
#define VF_LOSS_TILE 64
/// The most latent channels.
#define VF_LOSS_MAX_CHANNELS 64
/// Up to so many latent channels kernels need the first amount of shared memory, above it the second (`_WIDE`).
#define VF_LOSS_NARROW_CHANNELS 32
/// Norms below these count as these: in the distance matrices (normalize) and in the cosine (cosine_similarity).
#define VF_LOSS_EPS_DISTMAT 1e-12f
#define VF_LOSS_EPS_COS 1e-8f

#define VF_LOSS_FWD_THREADS 256
#define VF_LOSS_FWD_SHARED 119888
#define VF_LOSS_FWD_SHARED_WIDE 148560
#define VF_LOSS_BWD_THREADS 128
#define VF_LOSS_BWD_SHARED_BF16 62464
#define VF_LOSS_BWD_SHARED_F32 82944
#define VF_LOSS_BWD_SHARED_WIDE_BF16 88576
#define VF_LOSS_BWD_SHARED_WIDE_F32 121344
/// The most blocks of vf_loss_bwd, each of which leaves its part of a sum.
#define VF_LOSS_BWD_PARTS 64
#define VF_LOSS_WEIGHT_THREADS 256
#define VF_LOSS_WEIGHT_SHARED 69632
/// The features' and the latents' channels of a block of vf_loss_bwd_weight.
#define VF_LOSS_WEIGHT_TILE 16

/// Both losses, and what backward needs. signs[b, pair, r] is row r of s in the pair's tiles I ≤ J, sᵢⱼ = sign(d) where |d| > margin and
/// else 0, d = cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ): two bits for each j, lowest first: 0, 1 for +1, 3 for −1.
/// slope = 1/(‖f‖‖z′‖) where relu(1 − cos_margin − cos(f, z′)) > 0, else 0. Grid: (pairs + tiles, batch). One launch at a time.
struct VfLossFwd {
    uint64_t z;             ///< (batch, positions, channels), read
    uint64_t weight;        ///< (width, channels) or absent, read
    uint64_t features;      ///< (batch, positions, width), read
    uint64_t mdms;          ///< (1) f32, written
    uint64_t mcos;          ///< (1) f32, written
    uint64_t partial;       ///< (batch, pairs + tiles) f32: what each block adds to the sums, written
    uint64_t projected;     ///< (batch, positions, channels): Wᵀf, or absent with weight, written
    uint64_t gram;          ///< (channels, channels) f32: M, or absent with weight, written
    uint64_t norm;          ///< (batch, positions) f32: ‖z′‖, written
    uint64_t feature_norm;  ///< (batch, positions) f32: ‖f‖, or absent, written
    uint64_t slope;         ///< (batch, positions) f32, written
    uint64_t signs;         ///< (batch, pairs, 64, 4) u32, written
    uint32_t batch;
    uint32_t positions;
    uint32_t width;
    uint32_t channels;
    float distmat_margin;
    float cos_margin;
};

/// dz = dmdms·∂mdms/∂z + dmcos·∂mcos/∂z, and outer = the parts of Σ r zᵀ (r as in src/ops/vf_loss.rs), with which
/// ∂W = −dmcos/(batch·positions)·Σ slope·f zᵀ + W·Σ r zᵀ. Σ r zᵀ is symmetric: outer has its blocks of 8 × 8 on and right of the diagonal,
/// in the order of pairs; `blocks` = n·(n + 1) / 2 with n = channels / 8, rounded up. Without a weight `projected` are the features; for
/// their gradient the two change places, and mdms_sign is −1. Grid: parts.
struct VfLossBwd {
    uint64_t z;          ///< (batch, positions, channels), read
    uint64_t projected;  ///< (batch, positions, channels), read
    uint64_t gram;       ///< (channels, channels) f32 or absent, read
    uint64_t norm;       ///< (batch, positions) f32, read
    uint64_t slope;      ///< (batch, positions) f32, read
    uint64_t signs;      ///< (batch, pairs, 64, 4) u32, read
    uint64_t dmdms;      ///< (1) f32 or absent for 0, read
    uint64_t dmcos;      ///< (1) f32 or absent for 0, read
    uint64_t dz;         ///< (batch, positions, channels) or absent, written
    uint64_t outer;      ///< (parts, blocks, 8, 8) or absent, written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t parts;
    float mdms_sign;
    uint32_t reserved;
};

/// dweight as above. Grid: (width / 16, channels / 16), rounded up.
struct VfLossBwdWeight {
    uint64_t features;  ///< (tokens, width), read
    uint64_t z;         ///< (tokens, channels), read
    uint64_t slope;     ///< (tokens) f32, read
    uint64_t weight;    ///< (width, channels), read
    uint64_t outer;     ///< (parts, blocks, 8, 8), read
    uint64_t dmcos;     ///< (1) f32 or absent for 0, read
    uint64_t dweight;   ///< (width, channels) f32, written
    uint32_t tokens;    ///< batch·positions
    uint32_t width;
    uint32_t channels;
    uint32_t parts;
};
