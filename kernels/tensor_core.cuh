// The few PTX instructions that C++ has no name for: asynchronous copies, ldmatrix and mma (sm_80 and later).
#pragma once
#include <stdint.h>

__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/// Starts copying 16 bytes to shared memory; with `valid` false it writes zeros and reads nothing.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

/// Waits for this thread's copies; others' need a barrier after it.
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Four 8×8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 and receives, of each matrix, the
/// elements 2·(l % 4) and the next of row l / 4.
__device__ __forceinline__ void load_matrices(uint32_t m[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// d += a·bᵀ: a is 16×16 (rows 0–7, 8–15 of columns 0–7, then of 8–15), b 8×16 (columns 0–7, 8–15), bf16; d 16×8, f32.
/// Lane l holds d[l / 4] at columns 2·(l % 4) and the next, then the same of row l / 4 + 8.
__device__ __forceinline__ void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Two neighbouring floats to shared memory by one store of 8 bytes: nvcc 13 splits some plain assignments, which then conflict.
__device__ __forceinline__ void store_shared_pair(float *to, float first, float second) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(shared_address(to)), "f"(first), "f"(second) : "memory");
}

// For addresses in shared memory that are a register and a constant.

/// copy_async from `from` + AT to `to` + TO, both in bytes.
template <uint32_t TO, uint32_t AT> __device__ __forceinline__ void copy_async_at(uint32_t to, const void *from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0 + %2], [%1 + %3], 16, %4;" ::"r"(to), "l"(from), "n"(TO), "n"(AT), "r"(valid ? 16 : 0)
                 : "memory");
}

template <uint32_t TO, uint32_t AT> __device__ __forceinline__ void copy_async_at(uint32_t to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0 + %2], [%1 + %3], 16;" ::"r"(to), "l"(from), "n"(TO), "n"(AT) : "memory");
}

/// The same where at < end; elsewhere zeros are written and nothing is read.
template <uint32_t TO, uint32_t AT> __device__ __forceinline__ void copy_async_below(uint32_t to, const void *from, uint32_t at, uint32_t end) {
    asm volatile("{.reg .pred none; setp.ge.u32 none, %4, %5; cp.async.cg.shared.global [%0 + %2], [%1 + %3], 16, none;}" ::"r"(to), "l"(from),
                 "n"(TO), "n"(AT), "r"(at), "r"(end)
                 : "memory");
}

/// Two of these: to `to0` + TO0 and `to1` + TO1 from AT and AT + APART on.
template <uint32_t TO0, uint32_t TO1, uint32_t AT, uint32_t APART>
__device__ __forceinline__ void copy_two_below(uint32_t to0, uint32_t to1, const void *from, uint32_t at, uint32_t end) {
    asm volatile("{.reg .pred none; setp.ge.u32 none, %7, %8; cp.async.cg.shared.global [%0 + %3], [%2 + %5], 16, none;"
                 "cp.async.cg.shared.global [%1 + %4], [%2 + %6], 16, none;}" ::"r"(to0),
                 "r"(to1), "l"(from), "n"(TO0), "n"(TO1), "n"(AT), "n"(AT + APART), "r"(at), "r"(end)
                 : "memory");
}

/// Four of these, the last two NEXT further on in shared memory.
template <uint32_t TO0, uint32_t TO1, uint32_t NEXT, uint32_t AT, uint32_t APART>
__device__ __forceinline__ void copy_four_below(uint32_t to0, uint32_t to1, const void *from, uint32_t at, uint32_t end) {
    asm volatile("{.reg .pred none; setp.ge.u32 none, %11, %12; cp.async.cg.shared.global [%0 + %3], [%2 + %7], 16, none;"
                 "cp.async.cg.shared.global [%1 + %4], [%2 + %8], 16, none; cp.async.cg.shared.global [%0 + %5], [%2 + %9], 16, none;"
                 "cp.async.cg.shared.global [%1 + %6], [%2 + %10], 16, none;}" ::"r"(to0),
                 "r"(to1), "l"(from), "n"(TO0), "n"(TO1), "n"(TO0 + NEXT), "n"(TO1 + NEXT), "n"(AT), "n"(AT + APART), "n"(AT + 2 * APART),
                 "n"(AT + 3 * APART), "r"(at), "r"(end)
                 : "memory");
}

/// Ends a group of this thread's copies, which may be empty.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most N groups of this thread's copies are on their way; others' need a barrier after it.
template <uint32_t N> __device__ __forceinline__ void copies_pending() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

/// load_matrices from `row` + AT.
template <uint32_t AT> __device__ __forceinline__ void load_matrices_at(uint32_t m[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4 + %5];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(row), "n"(AT)
                 : "memory");
}

/// The same of matrices that lie column by column: a lane's address is that of a column, and it receives elements of a row.
template <uint32_t AT> __device__ __forceinline__ void load_transposed_at(uint32_t m[4], uint32_t column) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4 + %5];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(column), "n"(AT)
                 : "memory");
}

template <uint32_t AT> __device__ __forceinline__ float4 load_shared(uint32_t from) {
    float4 v;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4 + %5];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(from), "n"(AT)
                 : "memory");
    return v;
}

__device__ __forceinline__ void store_shared(uint32_t to, float v) {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(v) : "memory");
}

__device__ __forceinline__ void store_shared_pair(uint32_t to, float v0, float v1) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(v0), "f"(v1) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, float v0, float v1, float v2, float v3) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v0), "f"(v1), "f"(v2), "f"(v3) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, uint4 v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

/// Rounded to TF32's 10 bits, to nearest, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float x) {
    uint32_t rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
}

/// d += a·bᵀ: a is 16×8 (rows 0–7, 8–15 of columns 0–3, then of 4–7), b 8×8 (columns 0–3, 4–7), TF32; d as mma_bf16's.
__device__ __forceinline__ void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
