// A named barrier counts threads, which come in whole warps.
// LAUNCH: grid=1 block=96 args=fresh:64,float:64
extern "C" __global__ void barrier_count_bug(float* out, const float* in) {
    __shared__ float s[64];
    int t = threadIdx.x;
    if (t >= 64) return;
    s[t] = in[t];
    asm volatile("bar.sync 1, %0;" ::"r"(50) : "memory"); // FINDS: invalid_barrier
    out[t] = s[63 - t];
}

extern "C" __global__ void barrier_count_ok(float* out, const float* in) {
    __shared__ float s[64];
    int t = threadIdx.x;
    if (t >= 64) return;
    s[t] = in[t];
    asm volatile("bar.sync 1, %0;" ::"r"(64) : "memory");
    out[t] = s[63 - t];
}
