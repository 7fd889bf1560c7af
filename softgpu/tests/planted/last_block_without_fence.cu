// The last block to finish sums what the others stored, but nothing makes their stores visible before their tickets.
// LAUNCH: grid=4 block=32 args=fresh:1,fresh:4,zero:1,float:128
extern "C" __global__ void last_block_without_fence_bug(float* out, float* partial, unsigned* ticket, const float* in) {
    if (threadIdx.x != 0) return;
    partial[blockIdx.x] = in[blockIdx.x * blockDim.x];
    if (atomicAdd(ticket, 1) != gridDim.x - 1) return;
    float sum = 0;
#pragma unroll 1
    for (int i = 0; i < gridDim.x; i++)
        sum += partial[i]; // FINDS: global_race
    *out = sum;
}

extern "C" __global__ void last_block_without_fence_ok(float* out, float* partial, unsigned* ticket, const float* in) {
    if (threadIdx.x != 0) return;
    partial[blockIdx.x] = in[blockIdx.x * blockDim.x];
    __threadfence();
    if (atomicAdd(ticket, 1) != gridDim.x - 1) return;
    __threadfence();
    float sum = 0;
#pragma unroll 1
    for (int i = 0; i < gridDim.x; i++)
        sum += partial[i];
    *out = sum;
}
