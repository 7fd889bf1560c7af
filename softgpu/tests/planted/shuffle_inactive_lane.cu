// A shuffle among the lower lanes reads from one that its mask does not name.
// LAUNCH: grid=1 block=32 args=fresh:16,float:32
extern "C" __global__ void shuffle_inactive_lane_bug(float* out, const float* in) {
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16) out[t] = v + __shfl_down_sync(0x0000ffff, v, 8); // FINDS: invalid_shuffle
}

extern "C" __global__ void shuffle_inactive_lane_ok(float* out, const float* in) {
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16) out[t] = v + __shfl_down_sync(0x0000ffff, v, 8, 16);
}
