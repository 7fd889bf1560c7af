"""y = a·x + y by the CUDA driver's interface, with ctypes alone: runs on a GPU, and on softgpu where there is none."""

import array
import ctypes

PTX = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry saxpy(.param .u64 y, .param .u64 x, .param .f32 a, .param .u32 count)
{
  .reg .pred %outside;
  .reg .u32 %i, %block, %threads, %count;
  .reg .u64 %y, %x, %offset;
  .reg .f32 %a, %xi, %yi;
  ld.param.u64 %y, [y];
  ld.param.u64 %x, [x];
  ld.param.f32 %a, [a];
  ld.param.u32 %count, [count];
  mov.u32 %i, %tid.x;
  mov.u32 %block, %ctaid.x;
  mov.u32 %threads, %ntid.x;
  mad.lo.u32 %i, %block, %threads, %i;
  setp.ge.u32 %outside, %i, %count;
  @%outside ret;
  mul.wide.u32 %offset, %i, 4;
  add.u64 %x, %x, %offset;
  add.u64 %y, %y, %offset;
  ld.global.f32 %xi, [%x];
  ld.global.f32 %yi, [%y];
  fma.rn.f32 %yi, %a, %xi, %yi;
  st.global.f32 [%y], %yi;
  ret;
}
"""

cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    status = getattr(cuda, name)(*arguments)
    if status:
        raise SystemExit(f"{name}: error {status}")


def upload(values):
    address = ctypes.c_uint64()
    data = array.array("f", values)
    call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(4 * len(data)))
    call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(data.buffer_info()[0]), ctypes.c_size_t(4 * len(data)))
    return address


count, a = 1000, ctypes.c_float(2.0)
call("cuInit", 0)
context, module, saxpy = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
call("cuCtxSetCurrent", context)
call("cuModuleLoadData", ctypes.byref(module), PTX)
call("cuModuleGetFunction", ctypes.byref(saxpy), module, b"saxpy")

x, y = upload(range(count)), upload([1.0] * count)
n = ctypes.c_uint32(count)
pointers = (ctypes.c_void_p * 4)(*(ctypes.addressof(value) for value in (y, x, a, n)))
call("cuLaunchKernel", saxpy, (count + 127) // 128, 1, 1, 128, 1, 1, 0, None, pointers, None)

result = (ctypes.c_float * count)()
call("cuMemcpyDtoH_v2", result, y, ctypes.c_size_t(4 * count))
for address in (x, y):
    call("cuMemFree_v2", address)
assert all(result[i] == 2.0 * i + 1.0 for i in range(count))
name = ctypes.create_string_buffer(100)
call("cuDeviceGetName", name, 100, 0)
print(f"{name.value.decode()}: {count} sums are right, the last is {result[count - 1]}")
call("cuDevicePrimaryCtxRelease_v2", 0)
