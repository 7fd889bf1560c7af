// Neighbouring threads read and write rows, and with that far apart.
// LAUNCH: grid=1 block=32 args=fresh:1024,float:1024,32
extern "C" __global__ void uncoalesced_bug(float* out, const float* in, int n) { // COUNTS: excess_load_sectors=896, excess_store_sectors=896
    for (int i = 0; i < n; i++) out[threadIdx.x * n + i] = in[threadIdx.x * n + i] + 1;
}

extern "C" __global__ void uncoalesced_ok(float* out, const float* in, int n) {
    for (int i = 0; i < n; i++) out[i * blockDim.x + threadIdx.x] = in[i * blockDim.x + threadIdx.x] + 1;
}
