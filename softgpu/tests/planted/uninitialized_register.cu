// A register is set by some lanes only, and used by all. In PTX, because compilers give undefined values up as they like.
// LAUNCH: grid=1 block=32 args=fresh:32,float:32
extern "C" __global__ void uninitialized_register_bug(float* out, const float* in) {
    int t = threadIdx.x;
    float sum;
    asm volatile("{ .reg .f32 x; .reg .pred p; setp.lt.s32 p, %1, 16; @p mov.f32 x, %2; add.f32 %0, x, %2; }" // FINDS: uninitialized
                 : "=f"(sum) : "r"(t), "f"(in[t]));
    out[t] = sum;
}

extern "C" __global__ void uninitialized_register_ok(float* out, const float* in) {
    int t = threadIdx.x;
    float sum;
    asm volatile("{ .reg .f32 x; .reg .pred p; setp.lt.s32 p, %1, 16; @p mov.f32 x, %2; @!p mov.f32 x, 0f00000000; add.f32 %0, x, %2; }"
                 : "=f"(sum) : "r"(t), "f"(in[t]));
    out[t] = sum;
}
