// Blocks add to one counter without atomics.
// LAUNCH: grid=4 block=32 args=zero:1
extern "C" __global__ void read_modify_write_bug(int* out) {
    if (threadIdx.x == 0) *out += blockIdx.x; // FINDS: global_race
}

extern "C" __global__ void read_modify_write_ok(int* out) {
    if (threadIdx.x == 0) atomicAdd(out, blockIdx.x);
}
