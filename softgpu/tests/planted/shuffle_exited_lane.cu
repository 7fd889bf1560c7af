// Lanes without an element have left before the reduction reads from them.
// LAUNCH: grid=1 block=32 args=fresh:1,float:32,20
extern "C" __global__ void shuffle_exited_lane_bug(float* out, const float* in, int n) {
    int t = threadIdx.x;
    if (t >= n) return;
    float v = in[t];
#pragma unroll 1
    for (int step = 16; step > 0; step /= 2)
        v += __shfl_xor_sync(0xffffffff, v, step); // FINDS: invalid_shuffle
    if (t == 0) *out = v;
}

extern "C" __global__ void shuffle_exited_lane_ok(float* out, const float* in, int n) {
    int t = threadIdx.x;
    float v = t < n ? in[t] : 0;
#pragma unroll 1
    for (int step = 16; step > 0; step /= 2)
        v += __shfl_xor_sync(0xffffffff, v, step);
    if (t == 0) *out = v;
}
