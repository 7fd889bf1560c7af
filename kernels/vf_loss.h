// The VF loss of VA-VAE (Yao, Yang, Wang, CVPR 2025): marginal distance-matrix similarity and marginal cosine similarity between
// the projected latents z′ = W z and a foundation model's features f. Neither z′ nor an N×N matrix is ever in memory.
//
//   mdms = mean over b, i, j of relu(|cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)| − distmat_margin)
//   mcos = mean over b, i of relu(1 − cos_margin − cos(fᵢ, z′ᵢ))
//
// Whoever seeds the two gradients weighs the two losses. (No kernel knows the weights: a training step reads both losses.)
//
// With M = WᵀW: z′ᵢ·z′ⱼ = zᵢᵀ M zⱼ and z′ᵢ·fᵢ = zᵢ·(Wᵀ fᵢ). The forward is transpose, project, normalize, pairs, tokens, sum; the
// backward is tokens, bwd_weight, bwd_weight_sum. src/ops/vf_loss.rs derives the gradients.
//
// Sizes: `tokens` = batch·positions; `width` the features' channels (Cf); `channels` the latents' (Cz), at most 64; on CUDA both are
// multiples of 8. `tiles` = positions / VF_LOSS_TILE, rounded up.
#pragma once
#include <stdint.h>

/// Positions (and features' channels in backward) that a block treats at once.
#define VF_LOSS_TILE 64
#define VF_LOSS_THREADS 256
/// The most latent channels.
#define VF_LOSS_MAX_CHANNELS 64
/// Norms below these count as these: in the distance matrices (normalize) and in the cosine (cosine_similarity).
#define VF_LOSS_EPS_DISTMAT 1e-12f
#define VF_LOSS_EPS_COS 1e-8f
/// Dynamic shared memory of vf_loss_pairs: the first, and the second times (channels + 4).
#define VF_LOSS_PAIRS_BYTES 33312
#define VF_LOSS_PAIRS_BYTES_PER_CHANNEL 768

/// weight_t = weightᵀ. Grid: (width / 32, channels / 32), rounded up.
struct VfLossTranspose {
    uint64_t weight;    ///< (width, channels), read
    uint64_t weight_t;  ///< (channels, width), written
    uint32_t width;
    uint32_t channels;
};

/// projected = f·W, feature_norm = ‖f‖ and gram = WᵀW. Grid: tokens / 64, rounded up, and one block more for gram.
struct VfLossProject {
    uint64_t features;      ///< (tokens, width), read
    uint64_t weight_t;      ///< (channels, width), read
    uint64_t projected;     ///< (tokens, channels) f32, written
    uint64_t feature_norm;  ///< (tokens) f32, written
    uint64_t gram;          ///< (channels, channels) f32, written
    uint32_t tokens;
    uint32_t width;
    uint32_t channels;
    uint32_t reserved;
};

/// norm = ‖z′‖ = √(zᵀ M z); zhat = z / max(norm, eps); qhat = M z / max(norm, eps). Grid: tokens / 64, rounded up.
struct VfLossNormalize {
    uint64_t z;     ///< (tokens, channels), read
    uint64_t gram;  ///< (channels, channels) f32, read
    uint64_t norm;  ///< (tokens) f32, written
    uint64_t zhat;  ///< (tokens, channels) f32, written
    uint64_t qhat;  ///< (tokens, channels) f32, written
    uint32_t tokens;
    uint32_t channels;
};

/// For d = q̂ᵢ·ẑⱼ − cos(fᵢ, fⱼ) and s = sign(d) where |d| > margin, else 0: pull[b, J, i] = Σ over j in tile J of s·ẑⱼ, and
/// pair_loss[b, pair] = Σ over the tiles I, J (and J, I) of relu(|d| − margin). Pairs run (0,0), (0,1), …, (1,1), (1,2), ….
/// Grid: (tiles·(tiles + 1) / 2, batch); dynamic shared memory as above.
struct VfLossPairs {
    uint64_t features;      ///< (batch, positions, width), read
    uint64_t feature_norm;  ///< (batch, positions) f32, read
    uint64_t zhat;          ///< (batch, positions, channels) f32, read
    uint64_t qhat;          ///< (batch, positions, channels) f32, read
    uint64_t pull;          ///< (batch, tiles, positions, channels) f32, written
    uint64_t pair_loss;     ///< (batch, tiles·(tiles + 1) / 2) f32, written
    uint32_t batch;
    uint32_t positions;
    uint32_t width;
    uint32_t channels;
    float distmat_margin;
    uint32_t reserved;
};

/// Per token. Forward (dz, toward and residual absent): token_loss = Σ over a block's tokens of relu(1 − cos_margin − cos). Backward
/// (token_loss absent): dz = dmdms·∂mdms/∂z + dmcos·∂mcos/∂z, and what ∂W = fᵀ·toward + W·(residualᵀ·ẑ) is made of.
/// Grid: tokens / 64, rounded up.
struct VfLossTokens {
    uint64_t z;             ///< (tokens, channels), read
    uint64_t projected;     ///< (tokens, channels) f32, read
    uint64_t feature_norm;  ///< (tokens) f32, read
    uint64_t gram;          ///< (channels, channels) f32, read
    uint64_t norm;          ///< (tokens) f32, read
    uint64_t qhat;          ///< (tokens, channels) f32, read
    uint64_t pull;          ///< (batch, tiles, positions, channels) f32, read
    uint64_t dmdms;         ///< (1) f32 or absent for 0, read
    uint64_t dmcos;         ///< (1) f32 or absent for 0, read
    uint64_t token_loss;    ///< (tokens / 64, rounded up) f32 or absent, written
    uint64_t dz;            ///< (tokens, channels) or absent, written
    uint64_t toward;        ///< (tokens, channels) f32 or absent with dz, written
    uint64_t residual;      ///< (tokens, channels) f32 or absent with dz, written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    float cos_margin;
};

/// mdms and mcos from their parts. Grid: 1.
struct VfLossSum {
    uint64_t pair_loss;   ///< (pairs) f32, read
    uint64_t token_loss;  ///< (token_blocks) f32, read
    uint64_t mdms;        ///< (1) f32, written
    uint64_t mcos;        ///< (1) f32, written
    uint32_t pairs;         ///< of all images: batch·tiles·(tiles + 1) / 2
    uint32_t token_blocks;
    uint32_t batch;
    uint32_t positions;
};

/// partial[s] = [fᵀ·toward; residualᵀ·ẑ] over the tokens of split s (tokens / splits each, rounded up).
/// Grid: (width / 64 rounded up, and one more; splits).
struct VfLossBwdWeight {
    uint64_t features;  ///< (tokens, width), read
    uint64_t toward;    ///< (tokens, channels) f32, read
    uint64_t residual;  ///< (tokens, channels) f32, read
    uint64_t zhat;      ///< (tokens, channels) f32, read
    uint64_t partial;   ///< (splits, width + channels, channels) f32, written
    uint32_t tokens;
    uint32_t width;
    uint32_t channels;
    uint32_t splits;
};

/// dweight = P + W·A, [P; A] the sum of the partials. Grid: width / 64, rounded up.
struct VfLossBwdWeightSum {
    uint64_t weight;   ///< (width, channels), read
    uint64_t partial;  ///< (splits, width + channels, channels) f32, read
    uint64_t dweight;  ///< (width, channels) f32, written
    uint32_t width;
    uint32_t channels;
    uint32_t splits;
    uint32_t reserved;
};
