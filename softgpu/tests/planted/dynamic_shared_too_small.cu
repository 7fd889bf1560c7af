// The launch gives less dynamic shared memory than the kernel's tile needs.
// LAUNCH: grid=1 block=64 shared=256 args=fresh:64,float:64
extern __shared__ float tile[];

extern "C" __global__ void dynamic_shared_too_small_bug(float* out, const float* in) {
    int t = threadIdx.x;
    tile[t] = in[t];
    __syncthreads();
    out[t] = tile[t] + tile[(t + 1) % 65]; // FINDS: out_of_bounds
}

extern "C" __global__ void dynamic_shared_too_small_ok(float* out, const float* in) {
    int t = threadIdx.x;
    tile[t] = in[t];
    __syncthreads();
    out[t] = tile[t] + tile[(t + 1) % 64];
}
