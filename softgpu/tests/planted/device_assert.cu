// A label beyond the number of classes.
// LAUNCH_BUG: grid=1 block=32 args=fresh:32,iota:32,31
// LAUNCH_OK: grid=1 block=32 args=fresh:32,iota:32,32
#include <cassert>

extern "C" __global__ void device_assert_bug(int* out, const int* labels, int classes) {
    int label = labels[threadIdx.x];
    assert(label < classes); // FINDS: assert
    out[threadIdx.x] = label;
}

extern "C" __global__ void device_assert_ok(int* out, const int* labels, int classes) {
    int label = labels[threadIdx.x];
    assert(label < classes);
    out[threadIdx.x] = label;
}
