// A stencil reads to the left of its first element.
// LAUNCH: grid=1 block=64 args=fresh:64,float:64
extern "C" __global__ void negative_index_bug(float* out, const float* in) {
    int i = threadIdx.x;
    out[i] = in[i - 1]; // FINDS: out_of_bounds
}

extern "C" __global__ void negative_index_ok(float* out, const float* in) {
    int i = threadIdx.x;
    out[i] = i > 0 ? in[i - 1] : 0;
}
