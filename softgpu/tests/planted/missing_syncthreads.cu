// Threads read what another warp wrote, without a barrier between.
// LAUNCH: grid=1 block=64 args=fresh:64,float:64
extern "C" __global__ void missing_syncthreads_bug(float* out, const float* in) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = in[t];
    out[t] = s[t ^ 32]; // FINDS: shared_race; MAY FIND: uninitialized
}

extern "C" __global__ void missing_syncthreads_ok(float* out, const float* in) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = in[t];
    __syncthreads();
    out[t] = s[t ^ 32];
}
