// What CUDA C++ makes of PTX beyond straight code: jumps through tables, functions that are not inlined, pointers into every memory,
// structs as arguments, local arrays, volatile, and the widths of vectors.

struct Pair {
    int first;
    float second;
};

__noinline__ __device__ float blend(float a, float b, float weight) { return a + weight * (b - a); }

__noinline__ __device__ Pair exchange(Pair p, int by) {
    Pair out = {int(p.second) + by, float(p.first)};
    return out;
}

__noinline__ __device__ int depth(int n, int* trail) {
    trail[n % 4] += n;
    return n;
}

__noinline__ __device__ int nested(int n, int* trail) { return depth(n, trail) + 10 * depth(n + 1, trail); }

extern "C" __global__ void calls(int* out, float* blended, const int* in) {
    int i = threadIdx.x, trail[4] = {0, 0, 0, 0};
    Pair p = exchange({in[i], float(i)}, 100);
    blended[i] = blend(float(p.first), p.second, 0.25f);
    // Only some of the lanes call.
    int n = i % 3 ? nested(i, trail) : -1;
    out[i] = n + 1000 * trail[i % 4];
}

// Every lane its own case.
extern "C" __global__ void cases(int* out, const int* in) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, x = in[i];
    switch (i % 9) {
    case 0: x += 3; break;
    case 1: x *= 5; break;
    case 2: x ^= 0x55; break;
    case 3: x = x << 3; break;
    case 4: x -= 77; // and on
    case 5: x = -x; break;
    case 6: x = x % 10; break;
    case 7:
        if (x > 100) x = 1;
        break;
    default: x = 12345;
    }
    out[i] = x;
}

__constant__ int weights[4] = {2, 3, 5, 7};
__device__ int bias = 11;

__noinline__ __device__ int sum4(const int* p) { return p[0] + p[1] + p[2] + p[3]; }

// The same function on global, shared, local and constant memory.
extern "C" __global__ void spaces(int* out, const int* in) {
    __shared__ int tile[64];
    int i = threadIdx.x, own[4];
    for (int n = 0; n < 4; n++) own[(n + i) % 4] = in[i] + n;
    tile[i] = in[i];
    __syncthreads();
    const int* where[4] = {in + i / 4 * 4, tile + i / 8 * 8, own, weights};
    out[i] = sum4(where[i % 4]) + bias;
}

struct Wide {
    double scale;
    short small[3];
    char tag;
    float values[5];
};

extern "C" __global__ void structs(double* out, Wide by_value, const Wide* by_pointer) {
    int i = threadIdx.x;
    out[i] = by_value.scale * by_value.small[i % 3] + by_value.values[i % 5] + by_value.tag + by_pointer->values[i % 5] * by_pointer->small[2];
}

extern "C" __global__ void vectors(double2* wide, float4* four, uchar4* bytes, short2* halves, const float4* in) {
    int i = threadIdx.x;
    float4 v = in[i];
    wide[i] = make_double2(v.x + v.y, v.z + v.w);
    four[i] = make_float4(v.w, v.z, v.y, v.x);
    bytes[i] = make_uchar4(v.x, v.y, v.z, v.w);
    halves[i] = make_short2(v.x, -v.w);
}

// Loops that lanes leave at different times, with shuffles after them, and early exits.
extern "C" __global__ void loops(int* out, const int* in) {
    int i = threadIdx.x, x = in[i], steps = 0;
    if (i >= 50) return;
    while (x != 1 && steps < 200) {
        if (x % 2) {
            x = 3 * x + 1;
            if (x > 4000) continue;
        } else {
            x /= 2;
        }
        steps++;
    }
    out[i] = steps;
    if (i < 32) out[i] += 1000 * __shfl_xor_sync(0xffffffffu, steps, 1);
}
