// A shuffle names all lanes, and half of them wait elsewhere.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32
extern "C" __global__ void shuffle_full_mask_bug(float* out, const float* in) {
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16) v += __shfl_xor_sync(0xffffffff, v, 1); else __syncwarp(); // FINDS: deadlock
    out[t] = v;
}

extern "C" __global__ void shuffle_full_mask_ok(float* out, const float* in) {
    int t = threadIdx.x;
    float v = in[t];
    if (t < 16) v += __shfl_xor_sync(0x0000ffff, v, 1); else __syncwarp(0xffff0000);
    out[t] = v;
}
