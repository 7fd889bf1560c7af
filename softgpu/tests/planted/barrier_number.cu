// Each warp takes the barrier of its number plus one; there are 16 of them.
// LAUNCH: grid=1 block=512 args=fresh:512,float:512
extern "C" __global__ void barrier_number_bug(float* out, const float* in) {
    __shared__ float s[512];
    int t = threadIdx.x;
    s[t] = in[t];
    asm volatile("bar.sync %0, 32;" ::"r"(t / 32 + 1) : "memory"); // FINDS: invalid_barrier
    out[t] = s[t ^ 1];
}

extern "C" __global__ void barrier_number_ok(float* out, const float* in) {
    __shared__ float s[512];
    int t = threadIdx.x;
    s[t] = in[t];
    asm volatile("bar.sync %0, 64;" ::"r"(t / 64 + 1) : "memory");
    out[t] = s[t ^ 32];
}
