// Only as many threads write as there are elements; all of the tile is summed.
// LAUNCH: grid=1 block=64 args=fresh:1,float:50,50
extern "C" __global__ void uninitialized_shared_bug(float* out, const float* in, int n) {
    __shared__ float s[64];
    int t = threadIdx.x;
    if (t < n) s[t] = in[t];
    __syncthreads();
    for (int step = 32; step > 0; step /= 2) {
        if (t < step) s[t] += s[t + step]; // FINDS: uninitialized
        __syncthreads();
    }
    if (t == 0) *out = s[0];
}

extern "C" __global__ void uninitialized_shared_ok(float* out, const float* in, int n) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = t < n ? in[t] : 0;
    __syncthreads();
    for (int step = 32; step > 0; step /= 2) {
        if (t < step) s[t] += s[t + step];
        __syncthreads();
    }
    if (t == 0) *out = s[0];
}
