// Lanes exchange values through shared memory as if the warp moved in lockstep.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32
extern "C" __global__ void missing_syncwarp_bug(float* out, const float* in) {
    __shared__ float s[32];
    int t = threadIdx.x;
    s[t] = in[t];
    out[t] = s[t ^ 1]; // FINDS: shared_race
}

extern "C" __global__ void missing_syncwarp_ok(float* out, const float* in) {
    __shared__ float s[32];
    int t = threadIdx.x;
    s[t] = in[t];
    __syncwarp();
    out[t] = s[t ^ 1];
}
