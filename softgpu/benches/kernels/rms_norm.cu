// RMSNorm as kernels are written: a warp per row, 16 bytes per access, the sum by shuffles.
extern "C" __global__ void rms_norm(float4 *y, const float4 *x, const float4 *weight, int rows, int chunks, float eps) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    x += (size_t)row * chunks;
    y += (size_t)row * chunks;
    float sum = 0.0f;
    for (int c = lane; c < chunks; c += 32) {
        float4 v = x[c];
        sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    float scale = rsqrtf(sum / (4 * chunks) + eps);
    for (int c = lane; c < chunks; c += 32) {
        float4 v = x[c], w = weight[c];
        y[c] = make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w);
    }
}
