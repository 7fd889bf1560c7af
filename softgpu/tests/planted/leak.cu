// The host never frees the output.
// FINDS: leak
// LAUNCH_BUG: grid=1 block=32 args=leaked:32,float:32
// LAUNCH_OK: grid=1 block=32 args=fresh:32,float:32
extern "C" __global__ void leak_bug(float* out, const float* in) {
    out[threadIdx.x] = in[threadIdx.x];
}

extern "C" __global__ void leak_ok(float* out, const float* in) {
    out[threadIdx.x] = in[threadIdx.x];
}
