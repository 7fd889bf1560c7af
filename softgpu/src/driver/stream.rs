//! Streams, events, and graphs made by capturing a stream.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

use super::module::Prepared;
use super::{
    Driver, Handle, INVALID_HANDLE, INVALID_VALUE, NOT_READY, Result, STREAM_CAPTURE_INVALIDATED,
    STREAM_CAPTURE_UNSUPPORTED, export, give, offer, refuse,
};

/// A stream; its operations are done when the call that adds them returns.
#[derive(Default)]
pub(super) struct Stream {
    flags: c_uint,
    priority: c_int,
    /// What has been captured so far.
    capture: Option<Vec<Operation>>,
}

/// What can be put on a stream.
#[derive(Clone)]
pub(super) enum Operation {
    /// Runs a kernel.
    Launch(Prepared),
    /// Copies, to or from the host too.
    Copy { to: u64, from: u64, bytes: u64 },
    /// `memset`.
    Fill { to: u64, pattern: u32, width: u32, count: u64 },
    /// Calls a function of the program's.
    Call { function: unsafe extern "C" fn(*mut c_void), data: usize },
}

/// The handles of the default streams: legacy null, legacy, per thread.
const DEFAULTS: [usize; 3] = [0, 1, 2];

impl Driver {
    fn known(&self, stream: Handle) -> Result<()> {
        self.in_context()?;
        let handle = stream as usize;
        if DEFAULTS.contains(&handle) || self.streams.contains_key(&handle) { Ok(()) } else { Err(INVALID_HANDLE) }
    }

    /// Does an operation, or keeps it if the stream is being captured.
    pub(super) fn enqueue(&mut self, stream: Handle, operation: Operation) -> Result<()> {
        self.known(stream)?;
        if let Some(captured) = self.streams.get_mut(&(stream as usize)).and_then(|s| s.capture.as_mut()) {
            captured.push(operation);
            return Ok(());
        }
        self.execute(&operation)
    }

    fn execute(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Launch(prepared) => super::run(self, prepared),
            // SAFETY: host ranges are the program's, which keeps them until the stream is done with them.
            Operation::Copy { to, from, bytes } => unsafe { self.copy(*to, *from, *bytes) },
            Operation::Fill { to, pattern, width, count } => self.fill(*to, *pattern, *width, *count),
            Operation::Call { function, data } => {
                // SAFETY: the program gave both. It must not call the driver from there, as on hardware.
                unsafe { function(*data as *mut c_void) };
                Ok(())
            }
        }
    }

    fn capturing(&self, stream: Handle) -> bool {
        self.streams.get(&(stream as usize)).is_some_and(|s| s.capture.is_some())
    }

    /// Fails for a stream that is being captured: nothing that waits may be.
    fn waits(&self, stream: Handle) -> Result<()> {
        self.known(stream)?;
        if self.capturing(stream) { Err(STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    fn create(&mut self, to: *mut Handle, flags: c_uint, priority: c_int) -> Result<()> {
        self.in_context()?;
        let handle = self.handle();
        self.streams.insert(handle, Stream { flags, priority, capture: None });
        // SAFETY: the pointer is the caller's.
        unsafe { give(to, handle as Handle) }
    }

    fn elapsed(&self, milliseconds: *mut f32, start: Handle, end: Handle) -> Result<()> {
        let time = |event: Handle| self.events.get(&(event as usize)).copied().ok_or(INVALID_HANDLE);
        match (time(start)?, time(end)?) {
            // SAFETY: the pointer is the caller's.
            (Some(start), Some(end)) => unsafe { give(milliseconds, ((end - start) / 1e6) as f32) },
            _ => Err(NOT_READY),
        }
    }
}

export! {
    /// `cuStreamCreate`.
    fn cuStreamCreate(stream: *mut Handle, flags: c_uint) |driver| { driver.create(stream, flags, 0) }
    /// `cuStreamCreateWithPriority`.
    fn cuStreamCreateWithPriority(stream: *mut Handle, flags: c_uint, priority: c_int) |driver| { driver.create(stream, flags, priority) }
    /// `cuStreamDestroy_v2`.
    fn cuStreamDestroy_v2(stream: Handle) |driver| {
        driver.streams.remove(&(stream as usize)).map(drop).ok_or(INVALID_HANDLE)
    }
    /// `cuStreamSynchronize`.
    fn cuStreamSynchronize(stream: Handle) |driver| { driver.waits(stream) }
    /// `cuStreamQuery`.
    fn cuStreamQuery(stream: Handle) |driver| { driver.waits(stream) }
    /// `cuStreamWaitEvent`.
    fn cuStreamWaitEvent(stream: Handle, _event: Handle, _flags: c_uint) |driver| { driver.known(stream) }
    /// `cuStreamGetFlags`.
    fn cuStreamGetFlags(stream: Handle, flags: *mut c_uint) |driver| {
        driver.known(stream)?;
        give(flags, driver.streams.get(&(stream as usize)).map_or(0, |s| s.flags))
    }
    /// `cuStreamGetPriority`.
    fn cuStreamGetPriority(stream: Handle, priority: *mut c_int) |driver| {
        driver.known(stream)?;
        give(priority, driver.streams.get(&(stream as usize)).map_or(0, |s| s.priority))
    }
    /// `cuStreamGetCtx`.
    fn cuStreamGetCtx(stream: Handle, context: *mut Handle) |driver| {
        driver.known(stream)?;
        give(context, 0x10 as Handle)
    }
    /// `cuStreamGetId`.
    fn cuStreamGetId(stream: Handle, id: *mut u64) |driver| {
        driver.known(stream)?;
        give(id, stream as u64)
    }
    /// `cuLaunchHostFunc`.
    fn cuLaunchHostFunc(stream: Handle, function: Option<unsafe extern "C" fn(*mut c_void)>, data: *mut c_void) |driver| {
        let function = function.ok_or(INVALID_VALUE)?;
        driver.enqueue(stream, Operation::Call { function, data: data as usize })
    }

    /// `cuEventCreate`.
    fn cuEventCreate(event: *mut Handle, _flags: c_uint) |driver| {
        driver.in_context()?;
        let handle = driver.handle();
        driver.events.insert(handle, None);
        give(event, handle as Handle)
    }
    /// `cuEventDestroy_v2`.
    fn cuEventDestroy_v2(event: Handle) |driver| { driver.events.remove(&(event as usize)).map(drop).ok_or(INVALID_HANDLE) }
    /// `cuEventRecord`.
    fn cuEventRecord(event: Handle, stream: Handle) |driver| {
        driver.known(stream)?;
        let now = driver.now_ns;
        *driver.events.get_mut(&(event as usize)).ok_or(INVALID_HANDLE)? = Some(now);
        Ok(())
    }
    /// `cuEventRecordWithFlags`.
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: c_uint) |driver| {
        driver.known(stream)?;
        let now = driver.now_ns;
        *driver.events.get_mut(&(event as usize)).ok_or(INVALID_HANDLE)? = Some(now);
        Ok(())
    }
    /// `cuEventQuery`.
    fn cuEventQuery(event: Handle) |driver| { driver.events.get(&(event as usize)).map(drop).ok_or(INVALID_HANDLE) }
    /// `cuEventSynchronize`.
    fn cuEventSynchronize(event: Handle) |driver| { driver.events.get(&(event as usize)).map(drop).ok_or(INVALID_HANDLE) }
    /// `cuEventElapsedTime`.
    fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) |driver| { driver.elapsed(milliseconds, start, end) }
    /// `cuEventElapsedTime_v2`.
    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: Handle, end: Handle) |driver| { driver.elapsed(milliseconds, start, end) }

    /// `cuStreamBeginCapture_v2`.
    fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) |driver| {
        let stream = driver.streams.get_mut(&(stream as usize)).ok_or(STREAM_CAPTURE_UNSUPPORTED)?;
        if stream.capture.is_some() { return Err(INVALID_VALUE); }
        stream.capture = Some(vec![]);
        Ok(())
    }
    /// `cuThreadExchangeStreamCaptureMode`.
    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_int) |_driver| { give(mode, 0) }
    /// `cuStreamEndCapture`.
    fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) |driver| {
        let found = driver.streams.get_mut(&(stream as usize)).ok_or(INVALID_HANDLE)?;
        let captured = found.capture.take().ok_or(STREAM_CAPTURE_INVALIDATED)?;
        let handle = driver.handle();
        driver.graphs.insert(handle, captured);
        give(graph, handle as Handle)
    }
    /// `cuStreamIsCapturing`.
    fn cuStreamIsCapturing(stream: Handle, status: *mut c_int) |driver| {
        driver.known(stream)?;
        give(status, c_int::from(driver.capturing(stream)))
    }
    /// `cuStreamGetCaptureInfo_v2`.
    fn cuStreamGetCaptureInfo_v2(
        stream: Handle, status: *mut c_int, id: *mut u64, graph: *mut Handle, _dependencies: *mut *const Handle, count: *mut usize,
    ) |driver| {
        driver.known(stream)?;
        give(status, c_int::from(driver.capturing(stream)))?;
        offer(id, stream as u64);
        offer(graph, null_mut());
        offer(count, 0);
        Ok(())
    }
    /// `cuGraphInstantiateWithFlags`.
    fn cuGraphInstantiateWithFlags(executable: *mut Handle, graph: Handle, _flags: u64) |driver| {
        let operations = driver.graphs.get(&(graph as usize)).ok_or(INVALID_HANDLE)?.clone();
        let handle = driver.handle();
        driver.graphs.insert(handle, operations);
        give(executable, handle as Handle)
    }
    /// `cuGraphInstantiate_v2`.
    fn cuGraphInstantiate_v2(executable: *mut Handle, graph: Handle, _node: *mut Handle, _log: *mut c_char, _bytes: usize) |driver| {
        let operations = driver.graphs.get(&(graph as usize)).ok_or(INVALID_HANDLE)?.clone();
        let handle = driver.handle();
        driver.graphs.insert(handle, operations);
        give(executable, handle as Handle)
    }
    /// `cuGraphLaunch`.
    fn cuGraphLaunch(executable: Handle, stream: Handle) |driver| {
        let operations = driver.graphs.get(&(executable as usize)).ok_or(INVALID_HANDLE)?.clone();
        operations.into_iter().try_for_each(|operation| driver.enqueue(stream, operation))
    }
    /// `cuGraphUpload`.
    fn cuGraphUpload(_executable: Handle, _stream: Handle) |_driver| { Ok(()) }
    /// `cuGraphGetNodes`: how many there are; they have no handles.
    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) |driver| {
        if !nodes.is_null() { return super::not_supported("handles of a graph's nodes"); }
        give(count, driver.graphs.get(&(graph as usize)).ok_or(INVALID_HANDLE)?.len())
    }
    /// `cuGraphDestroy`.
    fn cuGraphDestroy(graph: Handle) |driver| { driver.graphs.remove(&(graph as usize)).map(drop).ok_or(INVALID_HANDLE) }
    /// `cuGraphExecDestroy`.
    fn cuGraphExecDestroy(executable: Handle) |driver| {
        driver.graphs.remove(&(executable as usize)).map(drop).ok_or(INVALID_HANDLE)
    }
}

refuse! {
    cuStreamAddCallback cuStreamAttachMemAsync cuGraphCreate cuGraphAddKernelNode_v2 cuGraphAddMemcpyNode cuGraphAddMemsetNode
    cuGraphExecUpdate_v2 cuGraphExecKernelNodeSetParams_v2 cuStreamUpdateCaptureDependencies_v2 cuStreamWaitValue32_v2 cuStreamWriteValue32_v2
}
