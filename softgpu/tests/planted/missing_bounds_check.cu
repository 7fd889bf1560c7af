// The last block has more threads than there are elements.
// LAUNCH: grid=2 block=64 args=fresh:100,float:128,100
extern "C" __global__ void missing_bounds_check_bug(float* out, const float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = in[i] * n; // FINDS: out_of_bounds
}

extern "C" __global__ void missing_bounds_check_ok(float* out, const float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = in[i] * n;
}
