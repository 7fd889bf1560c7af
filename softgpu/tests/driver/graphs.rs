//! Graphs by stream capture.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use crate::api::{Handle, allocate, apart, download, kernel, launch, start, stream, upload};

const GLOBAL: c_int = 0;
const RELAXED: c_int = 2;

fn end(stream: Handle) -> Result<Handle, c_int> {
    let mut graph = null_mut();
    match call!(cuStreamEndCapture(stream, &mut graph)) {
        0 => Ok(graph),
        status => {
            assert!(graph.is_null());
            Err(status)
        }
    }
}

fn instantiate(graph: Handle) -> Handle {
    get!(cuGraphInstantiateWithFlags(graph, 0))
}

fn capturing(stream: Handle) -> c_int {
    let mut status = -1;
    ok!(cuStreamIsCapturing(stream, &mut status));
    status
}

fn nodes(graph: Handle) -> usize {
    let mut count = 0;
    ok!(cuGraphGetNodes(graph, null_mut(), &mut count));
    count
}

#[test]
fn a_graph_does_again_what_was_captured() {
    apart("graphs::a_graph_does_again_what_was_captured", &[], || {
        start();
        let (scale, stream) = (kernel(c"scale"), stream());
        let (x, y, count) = (allocate(256), allocate(256), 64i32);
        let mut input = [1f32; 64];
        let mut output = [0f32; 64];
        extern "C" fn add_one(counter: *mut c_void) {
            // SAFETY: it is the counter below.
            unsafe { *counter.cast::<u32>() += 1 };
        }
        let mut calls = 0u32;
        ok!(cuStreamBeginCapture_v2(stream, GLOBAL));
        assert_eq!(capturing(stream), 1);
        ok!(cuMemcpyHtoDAsync_v2(x, input.as_ptr().cast(), 256, stream));
        for (to, from) in [(y, x), (x, y)] {
            assert_eq!(launch(scale, 2, 32, 0, stream, args![to, from, 3f32, count]), 0);
        }
        ok!(cuMemsetD32Async(x, 0, 1, stream));
        ok!(cuMemcpyDtoHAsync_v2(output.as_mut_ptr().cast(), x, 256, stream));
        ok!(cuLaunchHostFunc(stream, add_one, std::ptr::from_mut(&mut calls).cast()));
        let graph = end(stream).expect("a graph");
        assert_eq!((nodes(graph), capturing(stream), output[1], calls), (6, 0, 0.0, 0));
        let executable = instantiate(graph);
        ok!(cuGraphDestroy(graph));
        for value in [1f32, 2.0] {
            // Arguments are those of the capture; memory is read when the graph runs.
            input.fill(value);
            ok!(cuGraphLaunch(executable, stream));
            ok!(cuStreamSynchronize(stream));
            assert_eq!((output[0], output[1], output[63]), (0.0, 9.0 * value + 4.0, 9.0 * value + 4.0));
        }
        assert_eq!(calls, 2);
        ok!(cuGraphExecDestroy(executable));
        assert_eq!((call!(cuGraphLaunch(executable, stream)), call!(cuGraphExecDestroy(executable))), (400, 400));
    });
}

#[test]
fn other_streams_join_by_events() {
    apart("graphs::other_streams_join_by_events", &[], || {
        start();
        let (scale, first, second) = (kernel(c"scale"), stream(), stream());
        let [fork, join]: [Handle; 2] = [0, 0].map(|flags| get!(cuEventCreate(flags)));
        let (x, y, z) = (upload(&[1f32]), upload(&[0f32]), upload(&[0f32]));
        let step = |stream, to: u64, from: u64| launch(scale, 1, 1, 0, stream, args![to, from, 2f32, 1i32]);
        let capture = |joins: bool| {
            ok!(cuStreamBeginCapture_v2(first, GLOBAL));
            assert_eq!(step(first, y, x), 0);
            ok!(cuEventRecord(fork, first));
            ok!(cuStreamWaitEvent(second, fork, 0));
            assert_eq!(capturing(second), 1);
            assert_eq!(step(second, z, y), 0);
            ok!(cuEventRecord(join, second));
            if !joins {
                // What comes after the event is not waited for.
                assert_eq!(step(second, z, z), 0);
            }
            ok!(cuStreamWaitEvent(first, join, 0));
            assert_eq!(call!(cuEventQuery(join)), 907);
            end(first)
        };
        let executable = instantiate(capture(true).expect("a graph"));
        assert_eq!(download::<f32>(z, 1), [0.0], "nothing has run");
        ok!(cuGraphLaunch(executable, first));
        assert_eq!((download::<f32>(y, 1), download::<f32>(z, 1)), (vec![3.0], vec![7.0]));
        assert_eq!(capture(false), Err(904));
        assert_eq!([first, second].map(capturing), [0; 2]);
        // An event of the capture stands for nothing outside of it.
        assert_eq!(call!(cuStreamWaitEvent(second, join, 0)), 907);
        ok!(cuEventRecord(join, second));
        ok!(cuStreamWaitEvent(first, join, 0));
        assert_eq!(step(second, y, x), 0);
        assert_eq!(download::<f32>(y, 1), [3.0], "it runs at once again");
    });
}

#[test]
fn captures_end_as_they_began() {
    apart("graphs::captures_end_as_they_began", &[], || {
        start();
        let (first, second) = (stream(), stream());
        let event: Handle = get!(cuEventCreate(0));
        let begin = |stream| call!(cuStreamBeginCapture_v2(stream, GLOBAL));
        assert_eq!((begin(null_mut()), end(first)), (900, Err(1)));
        assert_eq!((begin(first), begin(first)), (0, 1));
        ok!(cuEventRecord(event, first));
        ok!(cuStreamWaitEvent(second, event, 0));
        assert_eq!((end(second), end(first)), (Err(903), Err(901)), "on the wrong stream");
        // Two captures do not merge.
        assert_eq!((begin(first), begin(second)), (0, 0));
        ok!(cuEventRecord(event, first));
        assert_eq!((call!(cuStreamWaitEvent(second, event, 0)), end(first), end(second)), (902, Err(901), Err(901)));
        // Nor do they depend on work outside of them.
        ok!(cuEventRecord(event, second));
        assert_eq!((begin(first), call!(cuStreamWaitEvent(first, event, 0)), end(first)), (0, 905, Err(901)));
        // A thread ends what it began.
        assert_eq!(begin(first), 0);
        let (handle, primary) = (first as usize, get!(cuCtxGetCurrent()) as usize);
        let elsewhere = std::thread::spawn(move || {
            ok!(cuCtxSetCurrent(primary as Handle));
            end(handle as Handle).err()
        });
        assert_eq!((elsewhere.join().expect("no panic"), end(first).is_ok()), (Some(908), true));
        // Without its stream there is no capture.
        assert_eq!(begin(first), 0);
        ok!(cuStreamDestroy_v2(first));
        assert_eq!((end(first), call!(cuMemAlloc_v2(&mut 0, 4))), (Err(400), 0));
    });
}

#[test]
fn nothing_waits_in_a_capture() {
    apart("graphs::nothing_waits_in_a_capture", &[], || {
        start();
        let (stream, x) = (stream(), allocate(4));
        let in_capture = |mode, call: &dyn Fn() -> c_int| {
            ok!(cuStreamBeginCapture_v2(stream, mode));
            let status = call();
            (status, end(stream).err())
        };
        let calls: [(&dyn Fn() -> c_int, c_int); 5] = [
            (&|| call!(cuStreamSynchronize(stream)), 900),
            (&|| call!(cuCtxSynchronize()), 900),
            (&|| call!(cuMemAlloc_v2(&mut 0, 4)), 900),
            (&|| call!(cuMemsetD8_v2(x, 0, 4)), 900),
            (&|| call!(cuMemFree_v2(x)), 900),
        ];
        for (call, status) in calls {
            assert_eq!(in_capture(GLOBAL, call), (status, Some(901)));
        }
        assert_eq!(in_capture(RELAXED, calls[3].0), (0, None));
        let mut mode = RELAXED;
        ok!(cuThreadExchangeStreamCaptureMode(&mut mode));
        assert_eq!((mode, in_capture(GLOBAL, calls[3].0)), (GLOBAL, (0, None)));
        // The legacy stream would wait for this one.
        let blocking: Handle = get!(cuStreamCreate(0));
        ok!(cuStreamBeginCapture_v2(blocking, RELAXED));
        assert_eq!((call!(cuMemsetD32Async(x, 0, 1, null_mut())), end(blocking)), (906, Err(901)));
        ok!(cuMemsetD32Async(x, 0, 1, null_mut()));
    });
}

#[test]
fn graphs_allocate_memory() {
    let printed = apart("graphs::graphs_allocate_memory", &[], || {
        start();
        let (scale, stream) = (kernel(c"scale"), stream());
        let (x, y, outside) = (upload(&[2f32]), upload(&[0f32]), allocate(4));
        let step = |to: u64, from: u64| launch(scale, 1, 1, 0, stream, args![to, from, 2f32, 1i32]);
        let (mut free, mut total) = (0, 0);
        ok!(cuMemGetInfo_v2(&mut free, &mut total));
        let capture = |frees: bool| {
            ok!(cuStreamBeginCapture_v2(stream, GLOBAL));
            let between: u64 = get!(cuMemAllocAsync(4, stream));
            assert_eq!((step(between, x), step(y, between)), (0, 0));
            if frees {
                ok!(cuMemFreeAsync(between, stream));
            }
            (between, end(stream).expect("a graph"))
        };
        let left = || {
            let (mut left, mut total) = (0, 0);
            ok!(cuMemGetInfo_v2(&mut left, &mut total));
            left
        };
        let (between, graph) = capture(true);
        assert_eq!((nodes(graph), left()), (4, free), "it takes memory only while it runs");
        assert_eq!(call!(cuMemsetD32_v2(between, 0, 1)), 1, "it is not there yet");
        let executable = instantiate(graph);
        for _ in 0..3 {
            ok!(cuGraphLaunch(executable, stream));
        }
        assert_eq!((download::<f32>(y, 1), left()), (vec![11.0], free));
        // What a graph does not free is there until the program frees it, and before it runs again.
        let (between, graph) = capture(false);
        let kept = instantiate(graph);
        ok!(cuGraphLaunch(kept, stream));
        assert_eq!((download::<f32>(between, 1), left()), (vec![5.0], free - 4));
        assert_eq!(call!(cuGraphLaunch(kept, stream)), 1);
        ok!(cuMemFreeAsync(between, stream));
        ok!(cuGraphLaunch(kept, stream));
        let automatic: Handle = get!(cuGraphInstantiateWithFlags(graph, 1));
        ok!(cuGraphLaunch(automatic, stream));
        ok!(cuMemFree_v2(between));
        for handle in [executable, kept, automatic] {
            ok!(cuGraphExecDestroy(handle));
        }
        assert_eq!(left(), free);
        // A graph frees only what it has allocated.
        ok!(cuStreamBeginCapture_v2(stream, GLOBAL));
        assert_eq!((call!(cuMemFreeAsync(outside, stream)), end(stream)), (1, Err(901)));
    });
    let Some(printed) = printed else { return };
    assert!(printed.err.contains("memory of the last launch"), "{}", printed.err);
    assert!(!printed.err.contains("uninitialised"), "{}", printed.err);
}
