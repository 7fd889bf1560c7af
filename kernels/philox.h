// Random numbers for host and device, from one text: the same (seed, stream, i) gives the same value, to the last bit, everywhere.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is a bijection of a 128-bit
// counter under a 64-bit key. Element i of the sequence (seed, stream) is word i mod 4 of the block with
//     key = seed,  counter = (i / 4) in the low 64 bits, stream in the high 64 bits,
// so a fill can start anywhere and be cut anywhere.
//
// uniform: the word's upper 24 bits · 2⁻²⁴, in [0, 1).
// normal:  Box-Muller over the word pairs (0, 1) and (2, 3) of a block: √(−2 ln u)·cos θ and √(−2 ln u)·sin θ.
//
// Bits agree because every float operation here is exact or correctly rounded in IEEE f32: fmaf is written out and no compiler is
// left a product and a sum to contract, √ and ÷ are the rounded ones, and ln, sin, cos are our own polynomials (after Cephes).
#pragma once
#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define VF_SHARED static __host__ __device__ __forceinline__
#else
#define VF_SHARED static inline
#endif

/// One block of the sequence: four words.
struct PhiloxBlock {
    uint32_t word[4];
};

/// Philox4x32 with ten rounds.
VF_SHARED struct PhiloxBlock philox4x32_10(struct PhiloxBlock counter, uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * counter.word[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57u * counter.word[2];
        struct PhiloxBlock next;
        next.word[0] = (uint32_t)(product1 >> 32) ^ counter.word[1] ^ key0;
        next.word[1] = (uint32_t)product1;
        next.word[2] = (uint32_t)(product0 >> 32) ^ counter.word[3] ^ key1;
        next.word[3] = (uint32_t)product0;
        counter = next;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

/// Elements 4·block … 4·block + 3 of the sequence (seed, stream).
VF_SHARED struct PhiloxBlock philox_block(uint64_t seed, uint64_t stream, uint64_t block) {
    struct PhiloxBlock counter;
    counter.word[0] = (uint32_t)block;
    counter.word[1] = (uint32_t)(block >> 32);
    counter.word[2] = (uint32_t)stream;
    counter.word[3] = (uint32_t)(stream >> 32);
    return philox4x32_10(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
}

/// A word as a number in [0, 1).
VF_SHARED float philox_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

/// √(−2 ln u) for u = (word + ½)·2⁻³², rounded: at most 6.8.
VF_SHARED float philox_radius(uint32_t word) {
    // u = m·2ᵉ with m in [√½, √2). The sum of a 32-bit integer and ½ is formed by one rounding.
    float u = fmaf((float)word, 0x1p-32f, 0x1p-33f);
    union {
        float f;
        uint32_t i;
    } bits;
    bits.f = u;
    int32_t e = (int32_t)(bits.i - 0x3F3504F3u) >> 23;
    bits.i -= (uint32_t)e << 23;
    // ln m = r − ½r² + r³·p(r), r = m − 1 (exact).
    float r = bits.f - 1.0f;
    float r2 = r * r;
    float p = 7.0376836292e-2f;
    p = fmaf(p, r, -1.1514610310e-1f);
    p = fmaf(p, r, 1.1676998740e-1f);
    p = fmaf(p, r, -1.2420140846e-1f);
    p = fmaf(p, r, 1.4249322787e-1f);
    p = fmaf(p, r, -1.6668057665e-1f);
    p = fmaf(p, r, 2.0000714765e-1f);
    p = fmaf(p, r, -2.4999993993e-1f);
    p = fmaf(p, r, 3.3333331174e-1f);
    float tail = fmaf(p * r, r2, (float)e * -2.12194440e-4f);
    float ln = fmaf((float)e, 0.693359375f, fmaf(-0.5f, r2, tail) + r);
    return ln < 0.0f ? sqrtf(-2.0f * ln) : 0.0f;
}

/// (cos θ, sin θ) for the angle θ = 2π·word/2³² − π/4.
VF_SHARED void philox_direction(uint32_t word, float *cosine, float *sine) {
    // The upper two bits choose the quadrant; the others give x in [−π/4, π/4).
    int32_t fraction = (int32_t)(word & 0x3FFFFFFFu) - 0x20000000;
    float x = (float)fraction * (0.785398163397448f * 0x1p-29f);
    float x2 = x * x;
    float s = fmaf(-1.9515295891e-4f, x2, 8.3321608736e-3f);
    s = fmaf(s, x2, -1.6666654611e-1f);
    s = fmaf(s * x2, x, x);
    float c = fmaf(2.443315711809948e-5f, x2, -1.388731625493765e-3f);
    c = fmaf(c, x2, 4.166664568298827e-2f);
    c = fmaf(c * x2, x2, fmaf(-0.5f, x2, 1.0f));
    uint32_t quadrant = word >> 30;
    float a = (quadrant & 1u) ? s : c;
    float b = (quadrant & 1u) ? c : s;
    *cosine = (quadrant == 1u || quadrant == 2u) ? -a : a;
    *sine = quadrant >= 2u ? -b : b;
}

/// The four normal values of a block.
VF_SHARED void philox_normals(struct PhiloxBlock block, float values[4]) {
    for (int pair = 0; pair < 4; pair += 2) {
        float cosine, sine;
        float radius = philox_radius(block.word[pair]);
        philox_direction(block.word[pair + 1], &cosine, &sine);
        values[pair] = radius * cosine;
        values[pair + 1] = radius * sine;
    }
}
