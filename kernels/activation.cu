// Element-wise activations: SiLU, GELU and leaky ReLU.
//
// Formula   SiLU x·σ(x);  GELU x·Φ(x), or by tanh x·σ(2u) with u = √(2/π)(x + 0.044715x³);  leaky ReLU x where x > 0, slope·x elsewhere.
//           dx = f′(x)·dy.
// Shapes    x, y, dy, dx (count), any shape.
// Bytes     forward 2, backward 3 elements per element: each tensor once.
// FLOPs     up to 20 per element. Memory-bound.
// Scratch   none.
// Rounding  f32 inside, rounded once; the exponential is the approximate one of nonlinear.cuh.
// Source    Hendrycks and Gimpel, "Gaussian error linear units" (2016); Elfwing et al. (2018) for SiLU.
#include "elementwise.cuh"
#include "nonlinear.cuh"

template <class T> static __device__ __forceinline__ void activation_fwd(const ActivationFwd &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    Chunk<T> x = load_part(at<const T>(p.x), first, p.count);
    if (p.kind == ACTIVATION_LEAKY_RELU) {
        for (float &v : x.v) v = v > 0.0f ? v : p.slope * v;
    } else {
        for_each_nonlinear(p.kind, x.v, [&](int i, Nonlinear f) { x.v[i] = f.value; });
    }
    store_part(x, at<T>(p.y), first, p.count);
}

template <class T> static __device__ __forceinline__ void activation_bwd(const ActivationBwd &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    Chunk<T> x = load_part(at<const T>(p.x), first, p.count), dy = load_part(at<const T>(p.dy), first, p.count);
    if (p.kind == ACTIVATION_LEAKY_RELU) {
        for (int i = 0; i < Chunk<T>::N; i++) dy.v[i] *= x.v[i] > 0.0f ? 1.0f : p.slope;
    } else {
        for_each_nonlinear(p.kind, x.v, [&](int i, Nonlinear f) { dy.v[i] *= f.slope; });
    }
    store_part(dy, at<T>(p.dx), first, p.count);
}

VF_EXPORT(activation_fwd, ActivationFwd, ELEMENTWISE_THREADS)
VF_EXPORT(activation_bwd, ActivationBwd, ELEMENTWISE_THREADS)
