//! The driver's interface, as a C program sees it.

#[macro_use]
#[path = "driver/api.rs"]
mod api;
#[path = "driver/faults.rs"]
mod faults;
#[path = "driver/graphs.rs"]
mod graphs;
#[path = "driver/launches.rs"]
mod launches;
#[path = "driver/modules.rs"]
mod modules;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use api::{Copy2D, Handle, allocate, apart, download, start, stream, upload};

fn name_of_device() -> String {
    let mut name = [0u8; 64];
    ok!(cuDeviceGetName(name.as_mut_ptr().cast(), 64, 0));
    CStr::from_bytes_until_nul(&name).expect("a text").to_str().expect("ASCII").to_string()
}

fn attribute(which: c_int) -> c_int {
    get!(cuDeviceGetAttribute(which, 0))
}

#[test]
fn the_gpu_is_chosen() {
    // Multiprocessors, capability, shared memory of a multiprocessor and of a block, bytes of L2.
    let properties = || [16, 75, 76, 81, 97, 38].map(attribute);
    let a100 = [108, 8, 0, 164 << 10, 163 << 10, 40 << 20];
    let h100 = [132, 9, 0, 228 << 10, 227 << 10, 50 << 20];
    apart("the_gpu_is_chosen", &[("SOFTGPU_GPU", "h100"), ("SOFTGPU_MEMORY", "3G")], || {
        assert_eq!(call!(cuDeviceGetCount(&mut 0)), 3, "before cuInit");
        ok!(cuInit(0));
        assert_eq!((get!(cuDeviceGetCount()), properties()), (1, h100));
        assert_eq!(name_of_device(), "NVIDIA H100 80GB HBM3 (softgpu)");
        let total: usize = get!(cuDeviceTotalMem_v2(0));
        assert_eq!(total, 3 << 30);
        ok!(softgpu_configure(c"{\"gpu\": \"a100\"}".as_ptr()));
        assert_eq!((name_of_device().as_str(), properties()), ("NVIDIA A100-SXM4-80GB (softgpu)", a100));
        assert_eq!(call!(softgpu_configure(c"{\"gpu\": \"b200\"}".as_ptr())), 1);
        let version: c_int = get!(cuDriverGetVersion());
        assert_eq!(version, 13000);
        // What every program asks first: threads of a block, of a warp, pools, cooperative launches.
        assert_eq!([1, 10, 115, 95].map(attribute), [1024, 32, 1, 1]);
    });
}

#[test]
fn contexts_are_a_stack() {
    apart("contexts_are_a_stack", &[], || {
        ok!(cuInit(0));
        let none: Handle = get!(cuCtxGetCurrent());
        assert!(none.is_null());
        assert_eq!(call!(cuMemAlloc_v2(&mut 0, 4)), 201, "without a context");
        start();
        let primary: Handle = get!(cuCtxGetCurrent());
        let own: Handle = get!(cuCtxCreate_v2(0, 0));
        let current: Handle = get!(cuCtxGetCurrent());
        assert!(current == own && own != primary);
        let popped: Handle = get!(cuCtxPopCurrent_v2());
        let current: Handle = get!(cuCtxGetCurrent());
        assert!(popped == own && current == primary);
        ok!(cuCtxDestroy_v2(own));
        assert_eq!(call!(cuCtxSetCurrent(own)), 201, "it is gone");
    });
}

#[test]
fn memory_is_copied_and_filled() {
    apart("memory_is_copied_and_filled", &[], || {
        start();
        let (mut free, mut total) = (0, 0);
        ok!(cuMemGetInfo_v2(&mut free, &mut total));
        let a = upload(&[1u32, 2, 3, 4]);
        let b = allocate(16);
        ok!(cuMemcpyDtoD_v2(b + 4, a, 12));
        ok!(cuMemsetD8_v2(b, 0xab, 2));
        ok!(cuMemsetD16_v2(b + 2, 0x1234, 1));
        assert_eq!(download::<u32>(b, 4), [0x1234_abab, 1, 2, 3]);
        ok!(cuMemsetD32_v2(b + 4, 9, 3));
        assert_eq!(download::<u32>(b, 4), [0x1234_abab, 9, 9, 9]);
        let mut left = 0;
        ok!(cuMemGetInfo_v2(&mut left, &mut total));
        assert_eq!(free - left, 32);
        // Out of bounds by a byte, freed twice, too much, nothing.
        assert_eq!(call!(cuMemcpyHtoD_v2(b + 1, [0u8; 16].as_ptr().cast(), 16)), 1);
        assert_eq!(call!(cuMemsetD8_v2(b, 0, 17)), 1);
        ok!(cuMemFree_v2(b));
        assert_eq!((call!(cuMemFree_v2(b)), call!(cuMemFree_v2(a + 4)), call!(cuMemFree_v2(0))), (1, 1, 0));
        assert_eq!((call!(cuMemAlloc_v2(&mut 0, 1 << 60)), call!(cuMemAlloc_v2(&mut 0, 0))), (2, 1));
        let pinned: *mut c_void = get!(cuMemHostAlloc(16, 0));
        ok!(cuMemcpyDtoHAsync_v2(pinned, a, 16, null_mut()));
        // SAFETY: 16 bytes, as asked for.
        assert_eq!(unsafe { pinned.cast::<[u32; 4]>().read() }, [1, 2, 3, 4]);
        ok!(cuMemFreeHost(pinned));
        assert_eq!(call!(cuMemFreeHost(pinned)), 1);
    });
}

#[test]
fn rows_are_copied_with_their_pitch() {
    apart("rows_are_copied_with_their_pitch", &[], || {
        start();
        let (mut to, mut pitch) = (0, 0);
        ok!(cuMemAllocPitch_v2(&mut to, &mut pitch, 12, 3, 4));
        assert!(pitch >= 12);
        ok!(cuMemsetD8_v2(to, 0, 3 * pitch));
        let from: Vec<u32> = (0..20).collect();
        let copy = Copy2D {
            from_x: 4,
            from_y: 1,
            from_kind: 1,
            from_host: from.as_ptr() as usize,
            from_pitch: 20,
            to_kind: 2,
            to_device: to,
            to_pitch: pitch,
            width: 8,
            height: 3,
            ..Copy2D::default()
        };
        ok!(cuMemcpy2DAsync_v2(&copy, stream()));
        let row = |n: usize| download::<u32>(to + (n * pitch) as u64, 3);
        assert_eq!([row(0), row(1), row(2)], [[6, 7, 0], [11, 12, 0], [16, 17, 0]]);
    });
}

#[test]
fn events_have_a_deterministic_clock() {
    let run = || {
        let printed = apart("events_have_a_deterministic_clock", &[], || {
            start();
            let [first, second, third, untimed]: [Handle; 4] = [0, 0, 0, 2].map(|flags| get!(cuEventCreate(flags)));
            let to = allocate(1 << 20);
            ok!(cuEventRecord(first, null_mut()));
            assert_eq!((call!(cuEventQuery(first)), call!(cuEventElapsedTime(&mut 0.0, first, second))), (0, 600));
            ok!(cuMemsetD8_v2(to, 1, 1 << 20));
            ok!(cuEventRecord(second, null_mut()));
            ok!(cuMemcpyHtoD_v2(to, vec![0u8; 1 << 20].as_ptr().cast(), 1 << 20));
            ok!(cuEventRecord(third, null_mut()));
            ok!(cuEventRecord(untimed, null_mut()));
            let fill: f32 = get!(cuEventElapsedTime(first, second));
            let copy: f32 = get!(cuEventElapsedTime(second, third));
            // A mebibyte at 2,039 GB/s, and over a bus of 25 GB/s.
            let near = |ms: f32, rate: f32| (ms * 1e-3 * rate / (1 << 20) as f32 - 1.0).abs() < 1e-3;
            assert!(near(fill, 2.039e12) && near(copy, 25e9), "{fill} {copy}");
            assert_eq!(call!(cuEventElapsedTime(&mut 0.0, first, untimed)), 400);
            assert_eq!(call!(cuEventElapsedTime(&mut 0.0, first, to as Handle)), 400);
            println!("clock {:x} {:x}", fill.to_bits(), copy.to_bits());
        });
        printed.map(|printed| printed.out.lines().find(|line| line.contains("clock")).map(str::to_string))
    };
    let Some(once) = run() else { return };
    assert_eq!(Some(once), run());
}

#[test]
fn errors_have_names() {
    apart("errors_have_names", &[], || {
        let text = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int, status| {
            let mut text = std::ptr::null();
            // SAFETY: texts of the library live for ever.
            unsafe { (function(status, &mut text) == 0).then(|| CStr::from_ptr(text).to_str().expect("ASCII")) }
        };
        assert_eq!(text(api::cuGetErrorName, 0), Some("CUDA_SUCCESS"));
        assert_eq!(text(api::cuGetErrorName, 700), Some("CUDA_ERROR_ILLEGAL_ADDRESS"));
        assert_eq!(text(api::cuGetErrorString, 700), Some("an illegal memory access was encountered"));
        assert_eq!(text(api::cuGetErrorName, 904), Some("CUDA_ERROR_STREAM_CAPTURE_UNJOINED"));
        assert_eq!(text(api::cuGetErrorName, 12345), None);
    });
}

#[test]
fn what_is_not_there_says_so() {
    let printed = apart("what_is_not_there_says_so", &[], || {
        start();
        assert_eq!(call!(cuTexObjectCreate()), 801);
    });
    let Some(printed) = printed else { return };
    assert!(printed.err.contains("softgpu: cuTexObjectCreate is not supported\n"), "{}", printed.err);
}

/// The library as programs load it, beside this test's executable.
#[test]
fn the_shared_library_is_the_drivers() {
    let library = std::env::current_exe().expect("this program").with_file_name("libsoftgpu.so");
    let bytes = std::fs::read(&library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    assert!(bytes.windows(13).any(|part| part == b"libcuda.so.1\0"), "its name");
    let path = std::ffi::CString::new(library.to_str().expect("UTF-8")).expect("no zeros");
    // SAFETY: the library's initialisers do nothing unusual, and the symbols are what the interface says.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!handle.is_null());
        // Loaded once, it is found by its name.
        assert_eq!(libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW), handle);
        let find = libc::dlsym(handle, c"cuGetProcAddress_v2".as_ptr());
        assert!(!find.is_null());
        type Find = unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, u64, *mut c_int) -> c_int;
        let find: Find = std::mem::transmute(find);
        for (name, symbol) in [
            (c"cuMemAlloc", c"cuMemAlloc_v2"),
            (c"cuLaunchKernel", c"cuLaunchKernel"),
            (c"cuGraphInstantiate", c"cuGraphInstantiateWithFlags"),
        ] {
            let (mut found, mut status) = (null_mut(), 0);
            assert_eq!(find(name.as_ptr(), &mut found, 12000, 0, &mut status), 0);
            assert_eq!(found, libc::dlsym(handle, symbol.as_ptr()));
        }
        assert_eq!(find(c"cuNothing".as_ptr(), &mut null_mut(), 12000, 0, &mut 0), 500);
    }
}
