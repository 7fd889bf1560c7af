// An optional argument is null.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32,null
extern "C" __global__ void null_pointer_bug(float* out, const float* in, const float* bias) {
    int i = threadIdx.x;
    out[i] = in[i] + bias[i]; // FINDS: out_of_bounds
}

extern "C" __global__ void null_pointer_ok(float* out, const float* in, const float* bias) {
    int i = threadIdx.x;
    out[i] = in[i] + (bias ? bias[i] : 0);
}
