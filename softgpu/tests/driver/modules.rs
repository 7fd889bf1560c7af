//! Modules from every kind of image, their functions and variables.

use std::ffi::{CStr, c_int, c_void};

use crate::api::{Handle, KERNELS, allocate, apart, download, kernel, launch, load, start, upload};

/// Runs `scale` of an image over more than a block.
fn scales(image: &[u8]) {
    let module = load(image);
    let scale: Handle = get!(cuModuleGetFunction(module, c"scale".as_ptr()));
    let (count, factor) = (1000i32, 2.5f32);
    let input: Vec<f32> = (0..count).map(|n| n as f32).collect();
    let (x, y) = (upload(&input), allocate(4000));
    assert_eq!(launch(scale, 8, 128, 0, std::ptr::null_mut(), args![y, x, factor, count]), 0);
    let expected: Vec<f32> = input.iter().map(|x| factor * x + 1.0).collect();
    assert_eq!(download::<f32>(y, 1000), expected);
    ok!(cuModuleUnload(module));
    assert_eq!(launch(scale, 8, 128, 0, std::ptr::null_mut(), args![y, x, factor, count]), 400);
}

#[test]
fn every_packing_of_nvcc_runs() {
    apart("modules::every_packing_of_nvcc_runs", &[], || {
        start();
        // The flags of an entry say how it is packed.
        for (image, flags) in [
            (&include_bytes!("../images/scale_none.fatbin")[..], 0),
            (&include_bytes!("../images/scale_speed.fatbin")[..], 0x2000),
            (&include_bytes!("../images/scale_size.fatbin")[..], 0x8000),
        ] {
            let entry = u64::from_le_bytes(image[16 + 40..][..8].try_into().expect("8 bytes"));
            assert_eq!(entry & 0xa000, flags);
            scales(image);
        }
        scales(&[KERNELS.as_bytes(), &[0]].concat());
    });
}

#[test]
fn images_that_cannot_run_are_refused() {
    let printed = apart("modules::images_that_cannot_run_are_refused", &[], || {
        start();
        let status = |image: &[u8]| call!(cuModuleLoadData(&mut std::ptr::null_mut(), image.as_ptr().cast()));
        assert_eq!(status(b"\x7fELF\x02\x01\x01\0"), 209);
        assert_eq!(status(b"hello\0"), 200);
        let too_new = [&include_bytes!("../images/scale_none.fatbin")[..16 + 28], &200u32.to_le_bytes()[..]].concat();
        let too_new = [&too_new, &include_bytes!("../images/scale_none.fatbin")[16 + 32..]].concat();
        assert_eq!(status(&too_new), 209);
        let text =
            c".version 8.0\n.target sm_80\n.address_size 64\n.entry k() {\n  wgmma.fence.sync.aligned;\n  ret;\n}\n";
        let mut log = [0u8; 200];
        let (options, values): ([c_int; 2], _) = ([5, 6], [log.as_mut_ptr().cast(), log.len() as *mut c_void]);
        let image = text.as_ptr().cast();
        let mut module: Handle = std::ptr::null_mut();
        assert_eq!(call!(cuModuleLoadDataEx(&mut module, image, 2, options.as_ptr(), values.as_ptr())), 218);
        let log = CStr::from_bytes_until_nul(&log).expect("a text").to_str().expect("UTF-8");
        assert_eq!(log, "PTX line 5: unsupported instruction wgmma.fence.sync.aligned");
    });
    let Some(printed) = printed else { return };
    assert!(printed.err.contains("compile with"), "{}", printed.err);
    assert_eq!(printed.err.matches("softgpu: module: ").count(), 4, "a line for each: {}", printed.err);
}

#[test]
fn functions_have_attributes_and_modules_variables() {
    apart("modules::functions_have_attributes_and_modules_variables", &[], || {
        start();
        let module = load(&[KERNELS.as_bytes(), &[0]].concat());
        let missing = call!(cuModuleGetFunction(&mut std::ptr::null_mut(), module, c"nothing".as_ptr()));
        assert_eq!(missing, 500);
        let scale: Handle = get!(cuModuleGetFunction(module, c"scale".as_ptr()));
        let attribute = |which| -> c_int { get!(cuFuncGetAttribute(which, scale)) };
        // Threads, static shared memory, local memory; and registers, of which there are some.
        assert_eq!([0, 1, 3].map(attribute), [1024, 0, 0]);
        assert!((1..=64).contains(&attribute(4)));
        // A constant that the host changes, and a variable that the kernel does.
        let (mut offset, mut bytes) = (0, 0);
        ok!(cuModuleGetGlobal_v2(&mut offset, &mut bytes, module, c"offset".as_ptr()));
        assert_eq!((bytes, download::<f32>(offset, 1)), (4, vec![1.0]));
        ok!(cuMemcpyHtoD_v2(offset, (&10f32 as *const f32).cast(), 4));
        let (x, y) = (upload(&[1f32, 2.0]), allocate(8));
        assert_eq!(launch(scale, 1, 32, 0, std::ptr::null_mut(), args![y, x, 3f32, 2i32]), 0);
        assert_eq!(download::<f32>(y, 2), [13.0, 16.0]);
        let mut launches = 0;
        ok!(cuModuleGetGlobal_v2(&mut launches, &mut bytes, module, c"launches".as_ptr()));
        let count: Handle = get!(cuModuleGetFunction(module, c"count_launches".as_ptr()));
        for _ in 0..3 {
            assert_eq!(launch(count, 1, 1, 0, std::ptr::null_mut(), std::ptr::null_mut()), 0);
        }
        assert_eq!(download::<i32>(launches, 1), [3]);
    });
}

#[test]
fn dynamic_shared_memory_must_be_allowed() {
    let printed = apart("modules::dynamic_shared_memory_must_be_allowed", &[], || {
        start();
        let reverse = kernel(c"reverse");
        let values: Vec<i32> = (0..64).collect();
        let (input, output) = (upload(&values), allocate(256));
        let with = |shared: u32| launch(reverse, 1, 64, shared, std::ptr::null_mut(), args![output, input]);
        assert_eq!(with(256), 0);
        assert_eq!(download::<i32>(output, 64), values.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!((with(48 << 10), with(49 << 10)), (0, 1));
        assert_eq!(call!(cuFuncSetAttribute(reverse, 8, 164 << 10)), 1, "more than there is");
        ok!(cuFuncSetAttribute(reverse, 8, 163 << 10));
        assert_eq!(with(163 << 10), 0);
    });
    let Some(printed) = printed else { return };
    assert!(printed.err.contains("CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES"), "{}", printed.err);
}
