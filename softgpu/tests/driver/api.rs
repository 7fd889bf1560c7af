//! The driver's interface as its header declares it, and what every program does with it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::process::Command;
use std::ptr::null_mut;

// The library's symbols are what is tested.
use softgpu as _;

pub type Handle = *mut c_void;

macro_rules! interface {
    ($($name:ident($($ty:ty),*);)*) => {
        unsafe extern "C" { $(pub fn $name($(_: $ty),*) -> c_int;)* }
    };
}

interface! {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuGetErrorName(c_int, *mut *const c_char);
    cuGetErrorString(c_int, *mut *const c_char);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGetName(*mut c_char, c_int, c_int);
    cuDeviceGetAttribute(*mut c_int, c_int, c_int);
    cuDeviceTotalMem_v2(*mut usize, c_int);
    cuDevicePrimaryCtxRetain(*mut Handle, c_int);
    cuDevicePrimaryCtxRelease_v2(c_int);
    cuCtxSetCurrent(Handle);
    cuCtxGetCurrent(*mut Handle);
    cuCtxPopCurrent_v2(*mut Handle);
    cuCtxCreate_v2(*mut Handle, c_uint, c_int);
    cuCtxDestroy_v2(Handle);
    cuCtxSynchronize();
    cuMemAlloc_v2(*mut u64, usize);
    cuMemAllocAsync(*mut u64, usize, Handle);
    cuMemAllocPitch_v2(*mut u64, *mut usize, usize, usize, c_uint);
    cuMemFree_v2(u64);
    cuMemFreeAsync(u64, Handle);
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuMemcpyHtoD_v2(u64, *const c_void, usize);
    cuMemcpyDtoH_v2(*mut c_void, u64, usize);
    cuMemcpyDtoD_v2(u64, u64, usize);
    cuMemcpyHtoDAsync_v2(u64, *const c_void, usize, Handle);
    cuMemcpyDtoHAsync_v2(*mut c_void, u64, usize, Handle);
    cuMemcpy2DAsync_v2(*const Copy2D, Handle);
    cuMemsetD8_v2(u64, u8, usize);
    cuMemsetD16_v2(u64, u16, usize);
    cuMemsetD32_v2(u64, c_uint, usize);
    cuMemsetD32Async(u64, c_uint, usize, Handle);
    cuStreamCreate(*mut Handle, c_uint);
    cuStreamDestroy_v2(Handle);
    cuStreamSynchronize(Handle);
    cuStreamWaitEvent(Handle, Handle, c_uint);
    cuLaunchHostFunc(Handle, unsafe extern "C" fn(*mut c_void), *mut c_void);
    cuEventCreate(*mut Handle, c_uint);
    cuEventRecord(Handle, Handle);
    cuEventQuery(Handle);
    cuEventElapsedTime(*mut f32, Handle, Handle);
    cuModuleLoadData(*mut Handle, *const c_void);
    cuModuleLoadDataEx(*mut Handle, *const c_void, c_uint, *const c_int, *const *mut c_void);
    cuModuleUnload(Handle);
    cuModuleGetFunction(*mut Handle, Handle, *const c_char);
    cuModuleGetGlobal_v2(*mut u64, *mut usize, Handle, *const c_char);
    cuFuncGetAttribute(*mut c_int, c_int, Handle);
    cuFuncSetAttribute(Handle, c_int, c_int);
    cuOccupancyMaxActiveBlocksPerMultiprocessor(*mut c_int, Handle, c_int, usize);
    cuOccupancyMaxPotentialBlockSize(*mut c_int, *mut c_int, Handle, Option<unsafe extern "C" fn(c_int) -> usize>, usize, c_int);
    cuOccupancyAvailableDynamicSMemPerBlock(*mut usize, Handle, c_int, c_int);
    cuLaunchKernel(
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void
    );
    cuLaunchCooperativeKernel(
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void
    );
    cuStreamBeginCapture_v2(Handle, c_int);
    cuStreamEndCapture(Handle, *mut Handle);
    cuStreamIsCapturing(Handle, *mut c_int);
    cuThreadExchangeStreamCaptureMode(*mut c_int);
    cuGraphGetNodes(Handle, *mut Handle, *mut usize);
    cuGraphInstantiateWithFlags(*mut Handle, Handle, u64);
    cuGraphLaunch(Handle, Handle);
    cuGraphDestroy(Handle);
    cuGraphExecDestroy(Handle);
    cuTexObjectCreate();
    softgpu_configure(*const c_char);
}

unsafe extern "C" {
    pub fn softgpu_take_launches() -> *mut c_char;
    pub fn softgpu_take_findings() -> *mut c_char;
    pub fn softgpu_free(_: *mut c_char);
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Default)]
pub struct Copy2D {
    pub from_x: usize,
    pub from_y: usize,
    pub from_kind: c_uint,
    pub from_host: usize,
    pub from_device: u64,
    pub from_array: usize,
    pub from_pitch: usize,
    pub to_x: usize,
    pub to_y: usize,
    pub to_kind: c_uint,
    pub to_host: usize,
    pub to_device: u64,
    pub to_array: usize,
    pub to_pitch: usize,
    pub width: usize,
    pub height: usize,
}

pub const KERNELS: &str = include_str!("kernels.ptx");

/// Calls a function of the interface.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: all pointers are to living things of the types that the header says.
        unsafe { $crate::api::$name($($argument),*) }
    }};
}

/// Calls it, and fails the test if it does.
macro_rules! ok {
    ($name:ident($($argument:expr),* $(,)?)) => {
        assert_eq!(call!($name($($argument),*)), 0, stringify!($name))
    };
}

/// The value that a function of the interface writes through its first argument.
macro_rules! get {
    ($name:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: numbers and pointers only.
        let mut value = unsafe { std::mem::zeroed() };
        assert_eq!(call!($name(&mut value, $($argument),*)), 0, stringify!($name));
        value
    }};
}

/// What `cuLaunchKernel` wants of a kernel's arguments.
macro_rules! args {
    ($($value:expr),*) => { [$(std::ptr::from_ref(&$value).cast_mut().cast::<std::ffi::c_void>()),*].as_mut_ptr() };
}

/// What a process printed.
pub struct Printed {
    pub out: String,
    pub err: String,
}

/// Runs the test `name` in a process of its own, with these variables: the driver's state is the process's. There, `body` runs, and
/// `None` is returned.
pub fn apart(name: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Printed> {
    const MARK: &str = "SOFTGPU_TEST";
    if std::env::var(MARK).is_ok_and(|running| running == name) {
        body();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, name);
    let output = command.envs(variables.iter().copied()).output().expect("it starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && out.contains("1 passed"), "{name}:\n{out}\n{err}");
    Some(Printed { out, err })
}

/// Initialises the driver and takes up the primary context.
pub fn start() {
    ok!(cuInit(0));
    let context: Handle = get!(cuDevicePrimaryCtxRetain(0));
    ok!(cuCtxSetCurrent(context));
}

pub fn load(image: &[u8]) -> Handle {
    get!(cuModuleLoadData(image.as_ptr().cast()))
}

/// A function of the tests' kernels.
pub fn kernel(name: &CStr) -> Handle {
    let module = load(&[KERNELS.as_bytes(), &[0]].concat());
    get!(cuModuleGetFunction(module, name.as_ptr()))
}

pub fn stream() -> Handle {
    // Apart from the legacy stream.
    get!(cuStreamCreate(1))
}

pub fn allocate(bytes: usize) -> u64 {
    get!(cuMemAlloc_v2(bytes))
}

pub fn upload<T: Copy>(values: &[T]) -> u64 {
    let address = allocate(size_of_val(values));
    ok!(cuMemcpyHtoD_v2(address, values.as_ptr().cast(), size_of_val(values)));
    address
}

pub fn download<T: Copy + Default>(address: u64, count: usize) -> Vec<T> {
    let mut values = vec![T::default(); count];
    ok!(cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), address, count * size_of::<T>()));
    values
}

pub fn launch(kernel: Handle, grid: u32, block: u32, shared: u32, stream: Handle, args: *mut *mut c_void) -> c_int {
    call!(cuLaunchKernel(kernel, grid, 1, 1, block, 1, 1, shared, stream, args, null_mut()))
}

/// What `softgpu_take_findings` or `_launches` gives.
pub fn taken(take: unsafe extern "C" fn() -> *mut c_char) -> serde_json::Value {
    // SAFETY: the library gives a text, which is given back once.
    unsafe {
        let text = take();
        let value = serde_json::from_slice(CStr::from_ptr(text).to_bytes()).expect("JSON");
        softgpu_free(text);
        value
    }
}
