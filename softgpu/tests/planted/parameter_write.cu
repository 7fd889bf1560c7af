// A parameter in read-only memory is cast to be written.
// LAUNCH: grid=1 block=16 args=fresh:16,16
extern "C" __global__ void parameter_write_bug(int* out, const __grid_constant__ int n) {
    const_cast<volatile int&>(n) = 8; // FINDS: read_only
    out[threadIdx.x] = n;
}

extern "C" __global__ void parameter_write_ok(int* out, int n) {
    n = 8;
    out[threadIdx.x] = n;
}
