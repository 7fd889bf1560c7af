// What every kernel uses: 16-byte access to f32 and bf16 streams, sums over a warp, and the macro that names a kernel's dtypes.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

/// Exports the template `kernel<T>(Params)` as `<kernel>_f32` and `<kernel>_bf16`. Bodies do not know dtypes.
#define VF_EXPORT(kernel, Params, ...)                                                                                        \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__) kernel##_f32(const __grid_constant__ Params p) { kernel<float>(p); } \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__) kernel##_bf16(const __grid_constant__ Params p) {                   \
        kernel<__nv_bfloat16>(p);                                                                                             \
    }

/// Exports `kernel(Params)`, whose tensors are f32 whatever the model computes in, as `<kernel>_f32`.
#define VF_EXPORT_F32(kernel, Params, ...)                                                                                    \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__) kernel##_f32(const __grid_constant__ Params p) { kernel(p); }

/// A device address as a pointer; null stays null.
template <class T> __device__ __forceinline__ T *at(uint64_t address) { return reinterpret_cast<T *>(address); }

/// Sixteen bytes of T, widened to f32 and rounded to nearest-even on the way out. Addresses must be multiples of 16.
template <class T> struct Chunk {
    static constexpr int N = 16 / sizeof(T);
    float v[N];

    static __device__ __forceinline__ Chunk load(const T *from) {
        uint4 raw = *reinterpret_cast<const uint4 *>(from);
        uint32_t word[4] = {raw.x, raw.y, raw.z, raw.w};
        Chunk c;
        for (int i = 0; i < 4; i++) c.unpack(i, word[i]);
        return c;
    }

    /// The chunk, or `value` throughout where the optional tensor is absent.
    static __device__ __forceinline__ Chunk load_or(const T *tensor, size_t offset, float value) {
        if (tensor) return load(tensor + offset);
        Chunk c;
        for (int i = 0; i < N; i++) c.v[i] = value;
        return c;
    }

    /// As it is once it is stored.
    __device__ __forceinline__ Chunk rounded() const {
        Chunk c;
        for (int i = 0; i < 4; i++) c.unpack(i, pack(i));
        return c;
    }

    __device__ __forceinline__ void store(T *to) const {
        // Not a plain assignment: nvcc 13 has split one of two such stores into four of 4 bytes.
        __stwb(reinterpret_cast<uint4 *>(to), make_uint4(pack(0), pack(1), pack(2), pack(3)));
    }

  private:
    __device__ __forceinline__ void unpack(int i, uint32_t word) {
        if constexpr (N == 4) {
            v[i] = __uint_as_float(word);
        } else {
            v[2 * i] = __uint_as_float(word << 16);
            v[2 * i + 1] = __uint_as_float(word & 0xFFFF0000u);
        }
    }

    __device__ __forceinline__ uint32_t pack(int i) const {
        if constexpr (N == 4) {
            return __float_as_uint(v[i]);
        } else {
            uint32_t low = __bfloat16_as_ushort(__float2bfloat16_rn(v[2 * i]));
            uint32_t high = __bfloat16_as_ushort(__float2bfloat16_rn(v[2 * i + 1]));
            return low | high << 16;
        }
    }
};

/// Four neighbouring values of T where 8 (bf16) or 16 (f32) bytes are aligned, or `value` where the optional tensor is absent.
template <class T> __device__ __forceinline__ float4 load4_or(const T *tensor, size_t offset, float value) {
    if (!tensor) return make_float4(value, value, value, value);
    if constexpr (sizeof(T) == 4) {
        return *reinterpret_cast<const float4 *>(tensor + offset);
    } else {
        uint2 raw = *reinterpret_cast<const uint2 *>(tensor + offset);
        return make_float4(__uint_as_float(raw.x << 16), __uint_as_float(raw.x & 0xFFFF0000u), __uint_as_float(raw.y << 16),
                           __uint_as_float(raw.y & 0xFFFF0000u));
    }
}

/// Writes four neighbouring values where 8 (bf16) or 16 (f32) bytes are aligned, each rounded once.
template <class T> __device__ __forceinline__ void store4(float4 v, T *to) {
    if constexpr (sizeof(T) == 4) {
        __stwb(reinterpret_cast<float4 *>(to), v);
    } else {
        __nv_bfloat162 low = __floats2bfloat162_rn(v.x, v.y), high = __floats2bfloat162_rn(v.z, v.w);
        uint2 packed = make_uint2(*reinterpret_cast<uint32_t *>(&low), *reinterpret_cast<uint32_t *>(&high));
        __stwb(reinterpret_cast<uint2 *>(to), packed);
    }
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void from_float(float x, float *to) { *to = x; }
__device__ __forceinline__ void from_float(float x, __nv_bfloat16 *to) { *to = __float2bfloat16_rn(x); }

/// The sum over the warp, in every lane, in an order that does not change.
__device__ __forceinline__ float warp_sum(float x) {
    for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, distance);
    return x;
}
