// One thread adds to a shared sum plainly while others do so atomically.
// LAUNCH: grid=1 block=64 args=fresh:1,iota:64
extern "C" __global__ void atomic_beside_plain_bug(int* out, const int* in) {
    __shared__ int sum;
    int t = threadIdx.x;
    if (t == 0) sum = 0;
    __syncthreads();
    if (t >= 32) atomicAdd(&sum, in[t]); else if (t == 0) sum += in[t]; // FINDS: shared_race
    __syncthreads();
    if (t == 0) *out = sum;
}

extern "C" __global__ void atomic_beside_plain_ok(int* out, const int* in) {
    __shared__ int sum;
    int t = threadIdx.x;
    if (t == 0) sum = 0;
    __syncthreads();
    if (t >= 32 || t == 0) atomicAdd(&sum, in[t]);
    __syncthreads();
    if (t == 0) *out = sum;
}
