// A loop writes the tile again while other warps may still read what it held.
// LAUNCH: grid=1 block=128 args=fresh:128,float:512,4
extern "C" __global__ void missing_second_barrier_bug(float* out, const float* in, int tiles) {
    __shared__ float s[128];
    int t = threadIdx.x;
    float sum = 0;
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++) {
        s[t] = in[tile * 128 + t]; // FINDS: shared_race
        __syncthreads();
        sum += s[127 - t]; // MAY FIND: shared_race
    }
    out[t] = sum;
}

extern "C" __global__ void missing_second_barrier_ok(float* out, const float* in, int tiles) {
    __shared__ float s[128];
    int t = threadIdx.x;
    float sum = 0;
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++) {
        s[t] = in[tile * 128 + t];
        __syncthreads();
        sum += s[127 - t];
        __syncthreads();
    }
    out[t] = sum;
}
