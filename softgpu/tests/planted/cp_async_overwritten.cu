// The padding of a tile is zeroed by plain stores that a copy in flight may undo.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32,20
#define COPY_4(to, from) \
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory")

extern "C" __global__ void cp_async_overwritten_bug(float* out, const float* in, int n) {
    __shared__ float s[32];
    int t = threadIdx.x;
    COPY_4(&s[t], &in[t]);
    if (t >= n) s[t] = 0; // FINDS: async_not_awaited
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[t] = s[t];
}

extern "C" __global__ void cp_async_overwritten_ok(float* out, const float* in, int n) {
    __shared__ float s[32];
    int t = threadIdx.x;
    COPY_4(&s[t], &in[t]);
    asm volatile("cp.async.wait_all;" ::: "memory");
    if (t >= n) s[t] = 0;
    out[t] = s[t];
}
