//! Launches: shapes, limits, occupancy, the whole grid's barrier, what is counted, and schedules.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;

use crate::api::{Handle, allocate, apart, download, kernel, launch, softgpu_take_launches, start, taken, upload};

fn launch_3d(kernel: Handle, [gx, gy, gz]: [c_uint; 3], [bx, by, bz]: [c_uint; 3], args: *mut *mut c_void) -> c_int {
    call!(cuLaunchKernel(kernel, gx, gy, gz, bx, by, bz, 0, null_mut(), args, null_mut()))
}

fn launch_together(kernel: Handle, grid: c_uint, block: c_uint, args: *mut *mut c_void) -> c_int {
    call!(cuLaunchCooperativeKernel(kernel, grid, 1, 1, block, 1, 1, 0, null_mut(), args))
}

#[test]
fn grids_and_blocks_have_three_dimensions() {
    apart("launches::grids_and_blocks_have_three_dimensions", &[], || {
        start();
        let places = kernel(c"places");
        for (grid, block) in
            [([3, 1, 1], [1, 1, 1]), ([2, 3, 2], [5, 3, 2]), ([1, 1, 2], [8, 8, 8]), ([1, 2, 1], [9, 7, 1])]
        {
            let [blocks, threads] = [grid, block].map(|of| of.iter().product::<c_uint>());
            let out = allocate((blocks * threads * 4) as usize);
            assert_eq!(launch_3d(places, grid, block, args![out]), 0);
            let place = |n: c_uint, of: [c_uint; 3]| [n % of[0], n / of[0] % of[1], n / of[0] / of[1]];
            let digits = |[x, y, z]: [c_uint; 3]| x + 10 * y + 100 * z;
            let expected: Vec<c_uint> = (0..blocks * threads)
                .map(|n| digits(place(n % threads, block)) + 1000 * digits(place(n / threads, grid)))
                .collect();
            assert_eq!(download::<c_uint>(out, expected.len()), expected);
        }
        let out = allocate(4096);
        let status = |grid, block| launch_3d(places, grid, block, args![out]);
        assert_eq!(status([1, 1, 1], [1024, 1, 1]), 0);
        let wrong = [
            status([0, 1, 1], [1, 1, 1]),
            status([1, 1, 1], [1025, 1, 1]),
            status([1, 1, 1], [32, 33, 1]),
            status([1, 1, 1], [1, 1, 65]),
            status([1, 65536, 1], [1, 1, 1]),
        ];
        assert_eq!(wrong, [1; 5]);
        assert_eq!(launch(null_mut(), 1, 1, 0, null_mut(), args![out]), 400);
        assert_eq!(launch(places, 1, 1, 0, null_mut(), null_mut()), 1, "arguments are missing");
    });
}

#[test]
fn arguments_may_come_in_a_buffer() {
    apart("launches::arguments_may_come_in_a_buffer", &[], || {
        start();
        let (x, y) = (upload(&[4f32]), allocate(4));
        let mut buffer = [y.to_le_bytes(), x.to_le_bytes(), [0; 8]].concat();
        buffer[16..20].copy_from_slice(&0.5f32.to_le_bytes());
        buffer[20..24].copy_from_slice(&1i32.to_le_bytes());
        let size = buffer.len();
        let mut extra: [*mut c_void; 5] =
            [1 as _, buffer.as_mut_ptr().cast(), 2 as _, std::ptr::from_ref(&size).cast_mut().cast(), null_mut()];
        ok!(cuLaunchKernel(kernel(c"scale"), 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), extra.as_mut_ptr()));
        assert_eq!(download::<f32>(y, 1), [3.0]);
    });
}

#[test]
fn occupancy_is_what_a_multiprocessor_holds() {
    apart("launches::occupancy_is_what_a_multiprocessor_holds", &[("SOFTGPU_GPU", "h100")], || {
        start();
        let reverse = kernel(c"reverse");
        let blocks =
            |threads, shared| -> c_int { get!(cuOccupancyMaxActiveBlocksPerMultiprocessor(reverse, threads, shared)) };
        // Threads: 2048; blocks: 32; shared memory: 228 KiB, of which each block takes 1 KiB more than it asks for.
        assert_eq!([blocks(1024, 0), blocks(256, 0), blocks(32, 0)], [2, 8, 32]);
        assert_eq!([blocks(32, 48 << 10), blocks(32, 75 << 10), blocks(32, 227 << 10)], [4, 3, 1]);
        assert_eq!(blocks(32, 228 << 10), 0);
        // The other way round: what each of so many blocks can have.
        let available =
            |count, threads| -> usize { get!(cuOccupancyAvailableDynamicSMemPerBlock(reverse, count, threads)) };
        assert_eq!([available(1, 32), available(3, 32), available(4, 32)], [227 << 10, 75 << 10, 56 << 10]);
        assert_eq!(call!(cuOccupancyAvailableDynamicSMemPerBlock(&mut 0, reverse, 3, 1024)), 1);
        let (mut grid, mut block) = (0, 0);
        ok!(cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, reverse, None, 0, 0));
        assert_eq!((grid * block, block % 32), (132 * 2048, 0));
        extern "C" fn shared(threads: c_int) -> usize {
            threads as usize * 256
        }
        ok!(cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, reverse, Some(shared), 0, 512));
        // So much shared memory is for some 900 threads of a multiprocessor.
        assert!(block <= 512 && (800..=912).contains(&(grid / 132 * block)), "{grid} {block}");
    });
}

#[test]
fn a_cooperative_grid_waits_for_all_its_blocks() {
    let printed = apart("launches::a_cooperative_grid_waits_for_all_its_blocks", &[], || {
        start();
        let phases = kernel(c"phases");
        let (blocks, count) = (24u32, 5i32);
        for _ in 0..2 {
            let (sums, values) = (allocate(4 * 24 * 5), allocate(4 * 24));
            assert_eq!(launch_together(phases, blocks, 64, args![sums, values, count]), 0);
            let expected: Vec<i32> = (0..count).flat_map(|phase| [phase * 24 * 25 / 2; 24]).collect();
            assert_eq!(download::<i32>(sums, 24 * 5), expected);
        }
        let (sums, values) = (allocate(4), allocate(4));
        assert_eq!(launch_together(phases, 108 * 2 + 1, 1024, args![sums, values, count]), 720);
    });
    let Some(printed) = printed else { return };
    assert!(!printed.err.contains("race"), "{}", printed.err);
}

#[test]
fn launches_are_counted() {
    apart("launches::launches_are_counted", &[], || {
        start();
        let (count, factor) = (1024i32, 2f32);
        let (x, y) = (upload(&[1f32; 1024]), allocate(4096));
        assert_eq!(launch(kernel(c"scale"), 4, 256, 0, null_mut(), args![y, x, factor, count]), 0);
        let all = taken(softgpu_take_launches);
        let launch = &all[0];
        assert_eq!((launch["kernel"].as_str(), &launch["block"]), (Some("scale"), &serde_json::json!([256, 1, 1])));
        let counters = &launch["counters"];
        let number = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("{name} in {counters}"));
        assert_eq!([number("global_load_bytes"), number("global_store_bytes")], [4096; 2]);
        // 32 warps, a request of 4 sectors each; all sectors differ.
        let per_warp = ["global_load_requests", "global_store_requests"].map(number);
        let sectors = ["global_load_sectors", "ideal_load_sectors", "unique_load_sectors", "unique_store_sectors"];
        assert_eq!((per_warp, sectors.map(number)), ([32; 2], [128; 4]));
        assert_eq!(number("fp32_flops"), 2 * 1024);
        // No thread takes the branch around the end.
        assert_eq!(number("thread_instructions"), 32 * (number("warp_instructions") - 32));
        let classes = counters["by_class"].as_object().expect("classes");
        let sum: u64 = classes.values().filter_map(serde_json::Value::as_u64).sum();
        assert_eq!((sum, classes["global_load"].as_u64()), (number("warp_instructions"), Some(32)));
        assert_eq!(launch["occupancy"]["blocks"].as_u64(), Some(8));
        let roofline = &launch["roofline"];
        assert!(
            roofline["time_s"].as_f64().expect("a time") >= 256.0 * 32.0 / 2.04e12 && roofline["binding"].is_string()
        );
        assert_eq!(taken(softgpu_take_launches), serde_json::json!([]), "they are taken once");
    });
}

/// The order in which blocks come, under a seed and a number of threads.
fn order_of_blocks(seed: &str, threads: &str) -> Option<String> {
    let variables = [("SOFTGPU_SEED", seed), ("SOFTGPU_THREADS", threads)];
    let printed = apart("launches::a_seed_gives_one_schedule", &variables, || {
        start();
        let (counter, order) = (upload(&[0u32]), allocate(400));
        assert_eq!(launch(kernel(c"tickets"), 100, 32, 0, null_mut(), args![counter, order]), 0);
        let order = download::<u32>(order, 100);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        println!("order {order:?}");
    });
    printed.and_then(|printed| printed.out.lines().find(|line| line.contains("order [")).map(str::to_string))
}

#[test]
fn a_seed_gives_one_schedule() {
    let Some(first) = order_of_blocks("1", "1") else { return };
    assert_eq!(Some(&first), order_of_blocks("1", "4").as_ref());
    assert_ne!(Some(first), order_of_blocks("2", "4"));
}
