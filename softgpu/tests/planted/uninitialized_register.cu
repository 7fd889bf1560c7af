// A register is set by some lanes only, and used by all. In PTX, because compilers give undefined values up as they like.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32
#define ADD(sum, t, v, otherwise) \
    asm volatile("{ .reg .f32 x; .reg .pred p; setp.lt.s32 p, %1, 16; @p mov.f32 x, %2; " otherwise "add.f32 %0, x, %2; }" \
                 : "=f"(sum) : "r"(t), "f"(v))

extern "C" __global__ void uninitialized_register_bug(float* out, const float* in) {
    int t = threadIdx.x;
    float v = in[t], sum;
    ADD(sum, t, v, ""); // FINDS: uninitialized
    out[t] = sum;
}

extern "C" __global__ void uninitialized_register_ok(float* out, const float* in) {
    int t = threadIdx.x;
    float v = in[t], sum;
    ADD(sum, t, v, "@!p mov.f32 x, 0f00000000; ");
    out[t] = sum;
}
