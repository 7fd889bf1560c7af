// Every block stores its own result in one place.
// LAUNCH: grid=4 block=32 args=zero:1,float:128
extern "C" __global__ void block_write_race_bug(float* out, const float* in) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) *out = in[i]; // FINDS: global_race
}

extern "C" __global__ void block_write_race_ok(float* out, const float* in) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i == 0) *out = in[i];
}
