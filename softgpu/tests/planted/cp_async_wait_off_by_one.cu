// A pipeline of three stages waits until two groups are left, where one is what it can afford.
// LAUNCH: grid=1 block=64 args=fresh:256,float:2048,8
#define COPY_16(to, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory")
#define COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define WAIT(groups) asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory")

extern "C" __global__ void cp_async_wait_off_by_one_bug(float4* out, const float4* in, int tiles) {
    __shared__ float4 s[3][64];
    int t = threadIdx.x;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int stage = 0; stage < 2; stage++) {
        COPY_16(&s[stage][t], &in[stage * 64 + t]);
        COMMIT();
    }
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++) {
        WAIT(2);
        __syncthreads();
        float4 v = s[tile % 3][63 - t]; // FINDS: async_not_awaited; MAY FIND: shared_race
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
        if (tile + 2 < tiles) COPY_16(&s[(tile + 2) % 3][t], &in[(tile + 2) * 64 + t]);
        COMMIT();
    }
    out[t] = sum;
}

extern "C" __global__ void cp_async_wait_off_by_one_ok(float4* out, const float4* in, int tiles) {
    __shared__ float4 s[3][64];
    int t = threadIdx.x;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int stage = 0; stage < 2; stage++) {
        COPY_16(&s[stage][t], &in[stage * 64 + t]);
        COMMIT();
    }
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++) {
        WAIT(1);
        __syncthreads();
        float4 v = s[tile % 3][63 - t];
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
        if (tile + 2 < tiles) COPY_16(&s[(tile + 2) % 3][t], &in[(tile + 2) * 64 + t]);
        COMMIT();
    }
    out[t] = sum;
}
