// A tile with a halo is declared without room for it.
// LAUNCH: grid=1 block=64 args=fresh:64,float:64
extern "C" __global__ void shared_off_by_one_bug(float* out, const float* in) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t + 1] = in[t]; // FINDS: out_of_bounds
    if (t == 0) s[0] = 0;
    __syncthreads();
    out[t] = s[t];
}

extern "C" __global__ void shared_off_by_one_ok(float* out, const float* in) {
    __shared__ float s[65];
    int t = threadIdx.x;
    s[t + 1] = in[t];
    if (t == 0) s[0] = 0;
    __syncthreads();
    out[t] = s[t];
}
