// A thread's own array is indexed by its data, which reach one further than the array.
// LAUNCH: grid=1 block=32 args=fresh:32,iota:32
extern "C" __global__ void local_out_of_bounds_bug(int* out, const int* in) {
    int t = threadIdx.x;
    volatile int counts[8];
    for (int i = 0; i < 8; i++) counts[i] = 0;
    for (int i = 0; i < 4; i++) counts[in[(t + i) % 32] % 9] = i; // FINDS: out_of_bounds
    out[t] = counts[0] + counts[7];
}

extern "C" __global__ void local_out_of_bounds_ok(int* out, const int* in) {
    int t = threadIdx.x;
    volatile int counts[8];
    for (int i = 0; i < 8; i++) counts[i] = 0;
    for (int i = 0; i < 4; i++) counts[in[(t + i) % 32] % 8] = i;
    out[t] = counts[0] + counts[7];
}
