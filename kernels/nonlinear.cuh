// Activation functions of one number and their derivatives, in f32: kinds are those of activation.h, except the leaky ReLU.
#pragma once
#include "activation.h"
#include "common.cuh"

/// 1 / (1 + e⁻ˣ), with the approximate exponential (relative 2⁻²² · |x|).
static __device__ __forceinline__ float sigmoid(float x) { return __frcp_rn(1.0f + __expf(-x)); }

/// Half of tanh's argument, doubled: GELU by tanh is x·σ(2u), u = √(2/π)·(x + 0.044715x³).
static __device__ __forceinline__ float gelu_tanh_argument(float x) { return 1.5957691216f * (x + 0.044715f * x * x * x); }

/// Φ of the standard normal distribution, and e^(−x²/2).
struct Normal {
    float below, bell;
};

/// Φ to 7.5e-8 (Abramowitz and Stegun, 26.2.17). Unlike erff it has no branch, at which a warp would come apart.
static __device__ __forceinline__ Normal normal(float x) {
    float bell = __expf(-0.5f * x * x), t = __frcp_rn(1.0f + 0.2316419f * fabsf(x));
    float tail = t * (0.31938153f + t * (-0.356563782f + t * (1.781477937f + t * (-1.821255978f + t * 1.330274429f))));
    tail *= 0.39894228f * bell;
    return {x < 0.0f ? tail : 1.0f - tail, bell};
}

/// A function's value, and its derivative.
struct Nonlinear {
    float value, slope;
};

template <uint32_t KIND> static __device__ __forceinline__ Nonlinear nonlinear(float x) {
    if constexpr (KIND == ACTIVATION_SILU) {
        float s = sigmoid(x);
        return {x * s, s * (1.0f + x * (1.0f - s))};
    } else if constexpr (KIND == ACTIVATION_GELU_TANH) {
        float s = sigmoid(gelu_tanh_argument(x));
        return {x * s, s * (1.0f + x * (1.0f - s) * (1.5957691216f + 3.0f * 1.5957691216f * 0.044715f * x * x))};
    } else {
        static_assert(KIND == ACTIVATION_GELU_ERF, "the leaky ReLU has a slope of its own");
        Normal n = normal(x);
        return {x * n.below, n.below + x * 0.39894228f * n.bell};
    }
}

/// to(i, f(v[i])) for the function of this kind, if it is one.
template <int N, class F> static __device__ __forceinline__ void for_each_nonlinear(uint32_t kind, const float (&v)[N], F &&to) {
    switch (kind) {
    case ACTIVATION_SILU:
        for (int i = 0; i < N; i++) to(i, nonlinear<ACTIVATION_SILU>(v[i]));
        break;
    case ACTIVATION_GELU_TANH:
        for (int i = 0; i < N; i++) to(i, nonlinear<ACTIVATION_GELU_TANH>(v[i]));
        break;
    case ACTIVATION_GELU_ERF:
        for (int i = 0; i < N; i++) to(i, nonlinear<ACTIVATION_GELU_ERF>(v[i]));
        break;
    }
}
