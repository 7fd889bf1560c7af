// An accumulator in device memory is added to before anything set it.
// LAUNCH: grid=2 block=64 args=fresh:128,float:128
extern "C" __global__ void uninitialized_global_bug(float* out, const float* in) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] += in[i]; // FINDS: uninitialized
}

extern "C" __global__ void uninitialized_global_ok(float* out, const float* in) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = 0;
    out[i] += in[i];
}
