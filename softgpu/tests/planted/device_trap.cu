// A case that the kernel's author thought impossible.
// LAUNCH: grid=1 block=32 args=fresh:32,iota:32
extern "C" __global__ void device_trap_bug(int* out, const int* in) {
    int t = threadIdx.x;
    if (in[t] == 20) __trap(); // FINDS: trap
    out[t] = in[t];
}

extern "C" __global__ void device_trap_ok(int* out, const int* in) {
    int t = threadIdx.x;
    if (in[t] == 99) __trap();
    out[t] = in[t];
}
