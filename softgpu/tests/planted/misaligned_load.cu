// Rows of an odd length are read four floats at a time.
// LAUNCH: grid=1 block=8 args=fresh:32,float:72
extern "C" __global__ void misaligned_load_bug(float4* out, const float* in) {
    int row = threadIdx.x;
    out[row] = *reinterpret_cast<const float4*>(in + row * 9); // FINDS: misaligned
}

extern "C" __global__ void misaligned_load_ok(float4* out, const float* in) {
    int row = threadIdx.x;
    const float* from = in + row * 9;
    out[row] = make_float4(from[0], from[1], from[2], from[3]);
}
