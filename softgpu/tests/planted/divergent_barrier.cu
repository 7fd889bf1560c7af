// Half of a warp comes to a barrier inside a branch.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32
extern "C" __global__ void divergent_barrier_bug(float* out, const float* in) {
    __shared__ float s[32];
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16) {
        s[t] = v;
        __syncthreads(); // FINDS: barrier_divergence
        v = s[15 - t];
    }
    __syncthreads(); // MAY FIND: barrier_divergence
    out[t] = v;
}

extern "C" __global__ void divergent_barrier_ok(float* out, const float* in) {
    __shared__ float s[32];
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16) s[t] = v;
    __syncthreads();
    if (t < 16) v = s[15 - t];
    __syncthreads();
    out[t] = v;
}
