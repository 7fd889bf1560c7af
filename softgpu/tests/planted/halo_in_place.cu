// A stencil works in place: a block reads the edges that its neighbours overwrite.
// LAUNCH: grid=4 block=32 args=fresh:128,float:128,128
extern "C" __global__ void halo_in_place_bug(float* out, float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = in[max(i - 1, 0)] + in[min(i + 1, n - 1)]; // FINDS: global_race
    __syncthreads();
    in[i] = sum; // FINDS: global_race
    out[i] = sum;
}

extern "C" __global__ void halo_in_place_ok(float* out, float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = in[max(i - 1, 0)] + in[min(i + 1, n - 1)];
    out[i] = sum;
}
