// One block hands data to another through a flag that is neither atomic nor fenced.
// LAUNCH: grid=2 block=32 args=fresh:32,fresh:32,zero:1,float:32
extern "C" __global__ void plain_flag_bug(float* out, float* data, int* flag, const float* in) {
    int t = threadIdx.x;
    if (blockIdx.x == 0) {
        data[t] = in[t];
        __syncthreads();
        if (t == 0) *flag = 1; // MAY FIND: global_race
    } else {
        if (t == 0)
            while (*(volatile int*)flag == 0) {} // MAY FIND: global_race
        __syncthreads();
        out[t] = data[t ^ 1]; // FINDS: global_race
    }
}

extern "C" __global__ void plain_flag_ok(float* out, float* data, int* flag, const float* in) {
    int t = threadIdx.x;
    if (blockIdx.x == 0) {
        data[t] = in[t];
        __threadfence();
        __syncthreads();
        if (t == 0) atomicExch(flag, 1);
    } else {
        if (t == 0) {
            while (atomicAdd(flag, 0) == 0) {}
            __threadfence();
        }
        __syncthreads();
        out[t] = data[t ^ 1];
    }
}
