// Padding a row by one float breaks the alignment of vector stores to it.
// LAUNCH: grid=1 block=32 args=fresh:32,float:64
extern "C" __global__ void misaligned_shared_store_bug(float* out, const float2* in) {
    __shared__ __align__(16) float s[32][3];
    int t = threadIdx.x;
    *reinterpret_cast<float2*>(s[t]) = in[t]; // FINDS: misaligned
    __syncwarp();
    out[t] = s[t ^ 1][1];
}

extern "C" __global__ void misaligned_shared_store_ok(float* out, const float2* in) {
    __shared__ __align__(16) float s[32][4];
    int t = threadIdx.x;
    *reinterpret_cast<float2*>(s[t]) = in[t];
    __syncwarp();
    out[t] = s[t ^ 1][1];
}
