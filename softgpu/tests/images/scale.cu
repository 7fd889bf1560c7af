// y = factor · x + 1: nvcc packs its PTX in every way that it knows (regenerate.sh).
extern "C" __global__ void scale(float* y, const float* x, float factor, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = factor * x[i] + 1.0f;
}
