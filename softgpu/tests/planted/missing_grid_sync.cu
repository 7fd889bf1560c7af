// A cooperative kernel reads what other blocks write in the phase before, without waiting for the grid.
// LAUNCH: grid=4 block=32 cooperative args=fresh:128,fresh:128,float:128
#include <cooperative_groups.h>

extern "C" __global__ void missing_grid_sync_bug(float* out, float* between, const float* in) {
    int n = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    between[i] = in[i]; // MAY FIND: global_race
    __syncthreads();
    out[i] = between[n - 1 - i]; // FINDS: global_race; MAY FIND: uninitialized
}

extern "C" __global__ void missing_grid_sync_ok(float* out, float* between, const float* in) {
    int n = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    between[i] = in[i];
    cooperative_groups::this_grid().sync();
    out[i] = between[n - 1 - i];
}
