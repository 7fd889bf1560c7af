// The host frees the input before the launch.
// LAUNCH_BUG: grid=1 block=32 args=fresh:32,freed:32
// LAUNCH_OK: grid=1 block=32 args=fresh:32,float:32
extern "C" __global__ void use_after_free_bug(float* out, const float* in) {
    out[threadIdx.x] = in[threadIdx.x]; // FINDS: use_after_free
}

extern "C" __global__ void use_after_free_ok(float* out, const float* in) {
    out[threadIdx.x] = in[threadIdx.x];
}
