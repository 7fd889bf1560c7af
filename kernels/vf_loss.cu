// The VF loss, forward and backward, with z′ = W z and both matrices of cosines on chip only.
//
// Formula   nᵢ = max(‖z′ᵢ‖, ε), ẑ = z/n, q̂ = M z/n, M = WᵀW:  cᵢⱼ = cos(z′ᵢ, z′ⱼ) = q̂ᵢ·ẑⱼ,  d = c − cos(fᵢ, fⱼ),
//           cosᵢ = zᵢ·pᵢ / (‖fᵢ‖ ‖z′ᵢ‖) with p = Wᵀf.
//           mdms has the gradient gᵢⱼ = sᵢⱼ/(B N²), s = sign(d) where |d| > margin, by cᵢⱼ; g is symmetric, so
//             ∂/∂z′ᵢ = (1/nᵢ) Σⱼ 2gᵢⱼ ẑ′ⱼ − (Σⱼ 2gᵢⱼ cᵢⱼ) z′ᵢ/nᵢ² = W rᵢ,  rᵢ = (Dᵢ − (q̂ᵢ·Dᵢ) ẑᵢ)/nᵢ,  Dᵢ = 2/(B N²) Σⱼ sᵢⱼ ẑⱼ.
//           mcos, with hᵢ = −1/(B N) where 1 − cos_margin − cosᵢ > 0, else 0:
//             ∂/∂z′ᵢ = hᵢ fᵢ/(‖fᵢ‖‖z′ᵢ‖) − hᵢ cosᵢ z′ᵢ/‖z′ᵢ‖²: the second part joins r, the first gives eᵢ = hᵢ zᵢ/(‖fᵢ‖‖z′ᵢ‖).
//           With the upstream gradients in g and h:  dz = M r + h p/(‖f‖‖z′‖),  dW = Σ f eᵀ + W Σ r zᵀ.
//           Where a norm is below its ε it is a constant and has no gradient.
// Shapes    z (B, N, Cz), f (B, N, Cf), W (Cf, Cz), Cz ≤ 64; T = ⌈N/64⌉ tiles, P = T(T + 1)/2 pairs of them.
// Bytes     vf_loss_fwd and vf_loss_bwd_weight read f once each. In elements of T besides: z thrice, p twice, dz; W twice; Σ r zᵀ, which is
//           symmetric, Cz·(Cz + 8) for each of at most 64 parts; in bytes: 20 a token, signs 2·1024·P an image, M 8·Cz², dW 4·Cf·Cz.
//           At N 256, Cz 32, Cf 1024, bf16 that is 1.1997 MB an image in a batch of 16 (f twice: 1.049); 1.217 of 8, 1.186 of 32.
//           From L2 fwd reads f T + 1 times and W P times an image, bwd_weight f ⌈Cz/16⌉ and z ⌈Cf/16⌉ times.
// FLOPs     fwd P·64²·2·Cf an image for f's matrix, by symmetry half of it, P·Cz²·2·Cf for M (each pair makes its own: cheaper than a
//           kernel more), 2·N·Cz·Cf for p; bwd 2·N²·Cz an image and part; bwd_weight 2·N·Cf·Cz an image (bf16: in two parts).
// Scratch   (B, P + T) f32 for the losses' sums, ≤ 64 halves of Σ r zᵀ in T. Kept for backward: p, M, signs, two floats a token.
// Rounding  products of f with f and with W take T exactly (tensor cores for bf16) and sum in f32. f32 vectors as long as z enter tensor
//           cores in parts (bf16_parts.cuh): in three, which is exact, where T is f32, and in forward, which signs depend on; else in two.
//           p, dz and parts of Σ r zᵀ are rounded to T once (the last as W is, which multiplies their sum). No float atomics: all sums
//           have a fixed order.
// Source    Yao, Yang, Wang, "Reconstruction vs. generation" (CVPR 2025), section 3; the reference's contperceptual.py.
#include "vf_loss_bwd.cuh"
#include "vf_loss_fwd.cuh"
#include "vf_loss_weight.cuh"

VF_EXPORT(vf_loss_fwd, VfLossFwd, VF_LOSS_FWD_THREADS)
// At most 64 blocks, each with a multiprocessor of its own: there are registers for all that a thread wants.
VF_EXPORT(vf_loss_bwd, VfLossBwd, VF_LOSS_BWD_THREADS, 1)
VF_EXPORT(vf_loss_bwd_weight, VfLossBwdWeight, VF_LOSS_WEIGHT_THREADS)
