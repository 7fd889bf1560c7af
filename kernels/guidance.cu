// Classifier-free guidance of the first channels.
//
// Formula   y = uncond + scale·(cond − uncond) in the first `guided` channels, cond in the others;
//           dcond = scale·dy and duncond = (1 − scale)·dy in the guided channels, dy and 0 in the others.
// Shapes    all (pixels, channels).
// Bytes     forward: cond and y once, and those sectors of uncond in which a channel is guided. backward: each tensor that is there once.
// FLOPs     3 a guided element. Memory-bound.
// Scratch   none.
// Rounding  in f32, rounded once.
// Source    Ho and Salimans, "Classifier-free diffusion guidance" (2022).
#include "elementwise.cuh"
#include "guidance.h"

/// The channels of a thread's elements.
template <class T> struct Channels {
    /// Elements of a sector.
    static constexpr uint32_t SECTOR = 2 * Chunk<T>::N;
    uint32_t channel, channels, guided;

    template <class P>
    __device__ __forceinline__ Channels(const P &p, size_t first) : channel((uint32_t)first % p.channels), channels(p.channels), guided(p.guided) {}

    /// Whether an element of the chunk, or of a sector that it shares, may be guided: sectors come whole.
    __device__ __forceinline__ bool any() const { return channels % SECTOR != 0 || channel - channel % SECTOR < guided; }

    /// Calls `body(i, guided)` for each element.
    template <class Body> __device__ __forceinline__ void each(Body body) const {
        uint32_t at = channel;
#pragma unroll
        for (int i = 0; i < Chunk<T>::N; i++) {
            body(i, at < guided);
            if (++at == channels) at = 0;
        }
    }
};

template <class T> static __device__ __forceinline__ void guidance_fwd(const GuidanceFwd &p) {
    size_t first = first_element<T>(), count = (size_t)p.pixels * p.channels;
    if (first >= count) return;
    Channels<T> here(p, first);
    Chunk<T> y = load_part(at<const T>(p.cond), first, count);
    if (here.any()) {
        Chunk<T> uncond = load_part(at<const T>(p.uncond), first, count);
        here.each([&](int i, bool guided) {
            if (guided) y.v[i] = uncond.v[i] + p.scale * (y.v[i] - uncond.v[i]);
        });
    }
    store_part(y, at<T>(p.y), first, count);
}

template <class T> static __device__ __forceinline__ void guidance_bwd(const GuidanceBwd &p) {
    size_t first = first_element<T>(), count = (size_t)p.pixels * p.channels;
    if (first >= count) return;
    Channels<T> here(p, first);
    Chunk<T> dy = load_part(at<const T>(p.dy), first, count), dx;
    if (p.dcond) {
        here.each([&](int i, bool guided) { dx.v[i] = guided ? p.scale * dy.v[i] : dy.v[i]; });
        store_part(dx, at<T>(p.dcond), first, count);
    }
    if (p.duncond) {
        here.each([&](int i, bool guided) { dx.v[i] = guided ? (1.0f - p.scale) * dy.v[i] : 0.0f; });
        store_part(dx, at<T>(p.duncond), first, count);
    }
}

VF_EXPORT(guidance_fwd, GuidanceFwd, ELEMENTWISE_THREADS)
VF_EXPORT(guidance_bwd, GuidanceBwd, ELEMENTWISE_THREADS)
