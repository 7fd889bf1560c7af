// A transpose reads columns of a tile whose rows are as long as there are banks.
// LAUNCH: grid=1 block=32,4 args=fresh:1024,float:1024
extern "C" __global__ void column_of_tile_bug(float* out, const float* in) { // COUNTS: bank_conflict_cycles=992
    __shared__ float s[32][32];
    int x = threadIdx.x;
    for (int y = threadIdx.y; y < 32; y += 4) s[y][x] = in[y * 32 + x];
    __syncthreads();
    for (int y = threadIdx.y; y < 32; y += 4) out[y * 32 + x] = s[x][y];
}

extern "C" __global__ void column_of_tile_ok(float* out, const float* in) {
    __shared__ float s[32][33];
    int x = threadIdx.x;
    for (int y = threadIdx.y; y < 32; y += 4) s[y][x] = in[y * 32 + x];
    __syncthreads();
    for (int y = threadIdx.y; y < 32; y += 4) out[y * 32 + x] = s[x][y];
}
