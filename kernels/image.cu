// Images as they come out of files, in the range that networks take.
//
// Formula   y = byte / 127.5 − 1.
// Shapes    bytes (count) u8, y (count), any shape.
// Bytes     1 read and 2 (bf16) or 4 (f32) written an element.
// FLOPs     2 an element: memory-bound.
// Scratch   none.
// Rounding  as written in f32: the bits are the host's. bf16 is that value rounded once.
// Source    the reference implementation's data loader.
#include "elementwise.cuh"
#include "image.h"

template <class T> static __device__ __forceinline__ void image(const Image &p) {
    constexpr int N = Chunk<T>::N;
    size_t first = first_element<T>();
    if (first >= p.count) return;
    // The last word is there as a whole, and beyond it nothing.
    const uint32_t *words = at<const uint32_t>(p.bytes) + first / 4;
    uint32_t word[N / 4];
    if constexpr (N == 8) {
        if (first + 4 < p.count) {
            uint2 both = *reinterpret_cast<const uint2 *>(words);
            word[0] = both.x, word[1] = both.y;
        } else {
            word[0] = words[0], word[1] = 0;
        }
    } else {
        word[0] = words[0];
    }
    Chunk<T> y;
    for (int i = 0; i < N; i++) y.v[i] = (float)(word[i / 4] >> i % 4 * 8 & 0xFFu) / 127.5f - 1.0f;
    store_part(y, at<T>(p.y), first, p.count);
}

VF_EXPORT(image, Image, ELEMENTWISE_THREADS)
