// A difference with the right neighbour reads one element past the allocation.
// LAUNCH: grid=2 block=64 args=fresh:100,float:100,100
extern "C" __global__ void global_off_by_one_bug(float* out, const float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = in[i + 1] - in[i]; // FINDS: out_of_bounds
}

extern "C" __global__ void global_off_by_one_ok(float* out, const float* in, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = i + 1 < n ? in[i + 1] - in[i] : 0;
}
