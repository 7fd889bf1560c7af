// Two stages: the next copy into a stage begins while other warps still read it.
// LAUNCH: grid=1 block=64 args=fresh:256,float:1536,6
#define COPY_16(to, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory")
#define COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define WAIT(groups) asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory")

extern "C" __global__ void cp_async_over_readers_bug(float4* out, const float4* in, int tiles) {
    __shared__ float4 s[2][64];
    int t = threadIdx.x;
    float sum = 0;
    COPY_16(&s[0][t], &in[t]);
    COMMIT();
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) COPY_16(&s[(tile + 1) % 2][t], &in[(tile + 1) * 64 + t]); // FINDS: shared_race
        COMMIT();
        WAIT(1);
        __syncthreads();
        float4 v = s[tile % 2][63 - t]; // MAY FIND: async_not_awaited, shared_race
        sum += v.x + v.y + v.z + v.w;
    }
    out[t] = make_float4(sum, sum, sum, sum);
}

extern "C" __global__ void cp_async_over_readers_ok(float4* out, const float4* in, int tiles) {
    __shared__ float4 s[2][64];
    int t = threadIdx.x;
    float sum = 0;
    COPY_16(&s[0][t], &in[t]);
    COMMIT();
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) COPY_16(&s[(tile + 1) % 2][t], &in[(tile + 1) * 64 + t]);
        COMMIT();
        WAIT(1);
        __syncthreads();
        float4 v = s[tile % 2][63 - t];
        sum += v.x + v.y + v.z + v.w;
        __syncthreads();
    }
    out[t] = make_float4(sum, sum, sum, sum);
}
