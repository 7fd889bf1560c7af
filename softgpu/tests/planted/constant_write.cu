// A pointer leads to a table in constant memory, and is written through.
// LAUNCH_BUG: grid=1 block=16 args=fresh:16,float:16,1
// LAUNCH_OK: grid=1 block=16 args=fresh:16,float:16,0
__constant__ float table[16] = {1, 2, 3, 4};
__device__ float own[16];

extern "C" __global__ void constant_write_bug(float* out, const float* in, int fixed) {
    int t = threadIdx.x;
    float* scale = fixed ? table : own;
    scale[t] = in[t] * 2; // FINDS: read_only
    out[t] = scale[t];
}

extern "C" __global__ void constant_write_ok(float* out, const float* in, int fixed) {
    int t = threadIdx.x;
    float* scale = fixed ? table : own;
    if (!fixed) scale[t] = in[t] * 2;
    out[t] = scale[t];
}
