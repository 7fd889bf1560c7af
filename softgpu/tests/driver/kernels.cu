// What the tests of the driver's interface launch.
#include <cooperative_groups.h>
#include <cstdio>

extern "C" __constant__ float offset = 1.0f;
extern "C" { __device__ int launches; }

extern "C" __global__ void scale(float* y, const float* x, float factor, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = factor * x[i] + offset;
}

extern "C" __global__ void count_launches() { launches += 1; }

// Where each thread is, by its number: x, y, z of the thread, then of the block, a decimal digit each.
extern "C" __global__ void places(int* out) {
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    int threads = blockDim.x * blockDim.y * blockDim.z;
    out[block * threads + thread] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x + 10000 * blockIdx.y
        + 100000 * blockIdx.z;
}

// The order in which blocks come.
extern "C" __global__ void tickets(unsigned* counter, unsigned* order) {
    if (threadIdx.x == 0) order[atomicAdd(counter, 1u)] = blockIdx.x;
}

extern "C" __global__ void reverse(int* out, const int* in) {
    extern __shared__ int tile[];
    int i = threadIdx.x;
    tile[i] = in[i];
    __syncthreads();
    out[i] = tile[blockDim.x - 1 - i];
}

// Every block adds up what all blocks wrote in the phase before.
extern "C" __global__ void phases(int* sums, int* values, int count) {
    for (int phase = 0; phase < count; phase++) {
        if (threadIdx.x == 0) values[blockIdx.x] = phase * (blockIdx.x + 1);
        cooperative_groups::this_grid().sync();
        if (threadIdx.x == 0) {
            int sum = 0;
            for (int block = 0; block < gridDim.x; block++) sum += values[block];
            sums[phase * gridDim.x + blockIdx.x] = sum;
        }
        cooperative_groups::this_grid().sync();
    }
}

struct Mixed {
    char tag;
    double value;
    short pair[2];
};

extern "C" __global__ void say(Mixed mixed, const char* word) {
    if (threadIdx.x % 2) printf("%c%d|%5.2f|%-4hd|%+d|%x|%s|%lld|100%%\n", mixed.tag, threadIdx.x, mixed.value, mixed.pair[1], 7, 255, word, 1ll << 40);
}
