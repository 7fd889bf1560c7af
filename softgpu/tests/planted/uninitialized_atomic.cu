// Partial sums are added atomically to memory that nobody set to zero.
// LAUNCH_BUG: grid=2 block=64 args=fresh:1,float:128
// LAUNCH_OK: grid=2 block=64 args=zero:1,float:128
extern "C" __global__ void uninitialized_atomic_bug(float* out, const float* in) {
    atomicAdd(out, in[blockIdx.x * blockDim.x + threadIdx.x]); // FINDS: uninitialized
}

extern "C" __global__ void uninitialized_atomic_ok(float* out, const float* in) {
    atomicAdd(out, in[blockIdx.x * blockDim.x + threadIdx.x]);
}
