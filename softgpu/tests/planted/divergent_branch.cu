// Even and odd lanes take different branches, where whole warps could.
// LAUNCH: grid=1 block=64 args=fresh:64,float:64,8
extern "C" __global__ void divergent_branch_bug(float* out, const float* in, int n) { // COUNTS: divergent_branches=2
    int t = threadIdx.x;
    float v = in[t];
    if (t % 2 == 0) {
#pragma unroll 1
        for (int i = 0; i < n; i++) v = sqrtf(fabsf(v) + i);
    } else {
#pragma unroll 1
        for (int i = 0; i < n; i++) v = __expf(v - i);
    }
    out[t] = v;
}

extern "C" __global__ void divergent_branch_ok(float* out, const float* in, int n) {
    int t = threadIdx.x;
    float v = in[t];
    if (t / 32 == 0) {
#pragma unroll 1
        for (int i = 0; i < n; i++) v = sqrtf(fabsf(v) + i);
    } else {
#pragma unroll 1
        for (int i = 0; i < n; i++) v = __expf(v - i);
    }
    out[t] = v;
}
