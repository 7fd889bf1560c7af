// Threads of a warp leave a loop with a barrier after different numbers of rounds.
// LAUNCH: grid=1 block=64 args=fresh:64,float:64,5
extern "C" __global__ void divergent_barrier_in_loop_bug(float* out, const float* in, int rounds) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = in[t];
    float v = 0;
#pragma unroll 1
    for (int i = 0; i < rounds - t % 2; i++) {
        __syncthreads(); // FINDS: barrier_divergence
        v += s[(t + i) % 64];
    }
    __syncthreads(); // MAY FIND: barrier_divergence
    out[t] = v;
}

extern "C" __global__ void divergent_barrier_in_loop_ok(float* out, const float* in, int rounds) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = in[t];
    float v = 0;
#pragma unroll 1
    for (int i = 0; i < rounds; i++) {
        __syncthreads();
        if (i < rounds - t % 2) v += s[(t + i) % 64];
    }
    __syncthreads();
    out[t] = v;
}
