// A thread reads what its own cp.async is to bring, and never waits for it.
// LAUNCH: grid=1 block=32 args=fresh:128,float:128
#define COPY_16(to, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory")

extern "C" __global__ void cp_async_not_awaited_bug(float4* out, const float4* in) {
    __shared__ float4 s[32];
    int t = threadIdx.x;
    COPY_16(&s[t], &in[t]);
    asm volatile("cp.async.commit_group;" ::: "memory");
    out[t] = s[t]; // FINDS: async_not_awaited
}

extern "C" __global__ void cp_async_not_awaited_ok(float4* out, const float4* in) {
    __shared__ float4 s[32];
    int t = threadIdx.x;
    COPY_16(&s[t], &in[t]);
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    out[t] = s[t];
}
