// The source of a copy of 16 bytes starts at an odd row of 12 bytes.
// LAUNCH: grid=1 block=16 args=fresh:64,float:64
#define COPY_16(to, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory")

extern "C" __global__ void misaligned_cp_async_bug(float4* out, const float* in) {
    __shared__ float4 s[16];
    int t = threadIdx.x;
    COPY_16(&s[t], in + t * 3); // FINDS: misaligned
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[t] = s[t];
}

extern "C" __global__ void misaligned_cp_async_ok(float4* out, const float* in) {
    __shared__ float4 s[16];
    int t = threadIdx.x;
    COPY_16(&s[t], in + t * 4);
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[t] = s[t];
}
