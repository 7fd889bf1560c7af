// Rows of 128 bytes start at the same bank: ldmatrix reads eight of them at once.
// LAUNCH: grid=1 block=32 args=fresh:128,iota:2048
#define LDMATRIX(v, from) \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"((unsigned)__cvta_generic_to_shared(from)) : "memory")

extern "C" __global__ void unswizzled_tile_bug(uint4* out, const uint4* in) { // COUNTS: bank_conflict_cycles=28
    __shared__ uint4 s[16][8];
    int t = threadIdx.x;
    for (int i = t; i < 128; i += 32) s[i / 8][i % 8] = in[i];
    __syncwarp();
    uint4 v;
    LDMATRIX(v, &s[t % 16][t / 16]);
    out[t] = v;
}

extern "C" __global__ void unswizzled_tile_ok(uint4* out, const uint4* in) {
    __shared__ uint4 s[16][8];
    int t = threadIdx.x;
    for (int i = t; i < 128; i += 32) s[i / 8][i % 8 ^ i / 8 % 8] = in[i];
    __syncwarp();
    uint4 v;
    LDMATRIX(v, &s[t % 16][t / 16 ^ t % 8]);
    out[t] = v;
}
