// Consumers wait at a named barrier at which the producers do not arrive.
// LAUNCH: grid=1 block=64 args=fresh:32,float:32
extern "C" __global__ void producer_never_arrives_bug(float* out, const float* in) {
    __shared__ float s[32];
    int t = threadIdx.x;
    if (t < 32) {
        s[t] = in[t];
        __threadfence_block();
    } else {
        asm volatile("bar.sync 1, 64;" ::: "memory"); // FINDS: deadlock
        out[t - 32] = s[63 - t];
    }
}

extern "C" __global__ void producer_never_arrives_ok(float* out, const float* in) {
    __shared__ float s[32];
    int t = threadIdx.x;
    if (t < 32) {
        s[t] = in[t];
        __threadfence_block();
        asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else {
        asm volatile("bar.sync 1, 64;" ::: "memory");
        out[t - 32] = s[63 - t];
    }
}
