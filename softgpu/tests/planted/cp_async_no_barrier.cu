// Waiting for cp.async makes the data visible to the thread that copied, not to the others.
// LAUNCH: grid=1 block=64 args=fresh:256,float:256
#define COPY_16(to, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory")

extern "C" __global__ void cp_async_no_barrier_bug(float4* out, const float4* in) {
    __shared__ float4 s[64];
    int t = threadIdx.x;
    COPY_16(&s[t], &in[t]);
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[t] = s[t ^ 32]; // FINDS: shared_race; MAY FIND: uninitialized, async_not_awaited
}

extern "C" __global__ void cp_async_no_barrier_ok(float4* out, const float4* in) {
    __shared__ float4 s[64];
    int t = threadIdx.x;
    COPY_16(&s[t], &in[t]);
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    out[t] = s[t ^ 32];
}
