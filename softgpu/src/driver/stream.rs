//! Streams and events.

use std::ffi::{c_int, c_uint, c_void};

use super::memory::Copy2D;
use super::module::Prepared;
use super::{CAPTURED_EVENT, Driver, Handle, INVALID_HANDLE, INVALID_VALUE, NOT_READY, Result, export, give, refuse};

/// A stream; its operations are done when the call that adds them returns.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) flags: c_uint,
    priority: c_int,
    /// The capture that it takes part in.
    pub(super) capture: Option<usize>,
}

/// An event.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// Not recorded yet.
    Fresh,
    /// Recorded, at nanoseconds of the imitated GPU.
    At { now_ns: f64 },
    /// Recorded in a capture, at a time of its clock.
    Captured { capture: usize, stream: usize, at: u64 },
}

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;

/// What can be put on a stream.
#[derive(Clone)]
pub(super) enum Operation {
    /// Runs a kernel.
    Launch(Prepared),
    /// Copies, to or from the host too.
    Copy { to: u64, from: u64, bytes: u64 },
    /// Copies rows.
    Copy2D(Copy2D),
    /// `memset`.
    Fill { to: u64, pattern: u32, width: u32, count: u64 },
    /// Allocates memory of a graph.
    Allocate { address: u64 },
    /// Frees it.
    Free { address: u64 },
    /// Calls a function of the program's.
    Call { function: unsafe extern "C" fn(*mut c_void), data: usize },
}

/// The handles of the default streams: legacy null, legacy, per thread.
const DEFAULTS: [usize; 3] = [0, 1, 2];
const LEGACY: [usize; 2] = [0, 1];

impl Driver {
    pub(super) fn known(&self, stream: Handle) -> Result<()> {
        self.in_context()?;
        let handle = stream as usize;
        if DEFAULTS.contains(&handle) || self.streams.contains_key(&handle) { Ok(()) } else { Err(INVALID_HANDLE) }
    }

    /// Does an operation, or keeps it if the stream is being captured.
    pub(super) fn enqueue(&mut self, stream: Handle, operation: Operation) -> Result<()> {
        self.known(stream)?;
        if let Some(id) = self.capture_of(stream) {
            self.capture(id)?.push(stream, operation);
            return Ok(());
        }
        if LEGACY.contains(&(stream as usize)) {
            self.legacy_stream_is_free()?;
        }
        self.execute(&operation)
    }

    fn execute(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Launch(prepared) => super::run(self, prepared),
            // SAFETY: host ranges are the program's, which keeps them until the stream is done with them.
            Operation::Copy { to, from, bytes } => unsafe { self.copy(*to, *from, *bytes) },
            // SAFETY: as above.
            Operation::Copy2D(copy) => unsafe { self.copy_2d(copy) },
            Operation::Fill { to, pattern, width, count } => self.fill(*to, *pattern, *width, *count),
            Operation::Allocate { address } => {
                self.machine.arena.allocate_reserved(*address, "graph").map_err(|error| {
                    eprintln!("softgpu: cuGraphLaunch: {error}");
                    INVALID_VALUE
                })
            }
            Operation::Free { address } => self.release(*address),
            Operation::Call { function, data } => {
                // SAFETY: the program gave both. It must not call the driver from there, as on hardware.
                unsafe { function(*data as *mut c_void) };
                Ok(())
            }
        }
    }

    /// All that is on a stream has been done, unless it is being captured.
    fn done(&mut self, stream: Handle) -> Result<()> {
        self.known(stream)?;
        self.not_captured(stream)
    }

    fn record(&mut self, event: Handle, stream: Handle) -> Result<()> {
        self.known(stream)?;
        let recorded = match self.capture_of(stream) {
            Some(id) => self.capture(id)?.event(id, stream),
            None => Event::At { now_ns: self.now_ns },
        };
        self.events.get_mut(&(event as usize)).ok_or(INVALID_HANDLE)?.1 = recorded;
        Ok(())
    }

    /// All that an event stands for has been done, unless that is in a graph only.
    fn event_done(&self, event: Handle) -> Result<()> {
        match self.events.get(&(event as usize)).ok_or(INVALID_HANDLE)?.1 {
            Event::Captured { .. } => Err(CAPTURED_EVENT),
            _ => Ok(()),
        }
    }

    fn create(&mut self, to: *mut Handle, flags: c_uint, priority: c_int) -> Result<()> {
        self.in_context()?;
        let handle = self.handle();
        self.streams.insert(handle, Stream { flags, priority, capture: None });
        // SAFETY: the pointer is the caller's.
        unsafe { give(to, handle as Handle) }
    }

    fn elapsed(&self, milliseconds: *mut f32, start: Handle, end: Handle) -> Result<()> {
        let time = |event: Handle| match self.events.get(&(event as usize)) {
            None => Err(INVALID_HANDLE),
            Some((flags, _)) if flags & DISABLE_TIMING != 0 => Err(INVALID_HANDLE),
            Some((_, Event::At { now_ns })) => Ok(Some(*now_ns)),
            Some((_, Event::Fresh)) => Ok(None),
            Some((_, Event::Captured { .. })) => Err(CAPTURED_EVENT),
        };
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
        let id = driver.capture_of(stream);
        driver.streams.remove(&(stream as usize)).ok_or(INVALID_HANDLE)?;
        id.into_iter().for_each(|id| driver.forget_stream(id, stream));
        Ok(())
    }
    /// `cuStreamSynchronize`.
    fn cuStreamSynchronize(stream: Handle) |driver| { driver.done(stream) }
    /// `cuStreamQuery`.
    fn cuStreamQuery(stream: Handle) |driver| { driver.done(stream) }
    /// `cuStreamWaitEvent`.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) |driver| {
        driver.known(stream)?;
        let (_, event) = *driver.events.get(&(event as usize)).ok_or(INVALID_HANDLE)?;
        driver.wait_for(stream, &event)
    }
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
    fn cuEventCreate(event: *mut Handle, flags: c_uint) |driver| {
        driver.in_context()?;
        let handle = driver.handle();
        driver.events.insert(handle, (flags, Event::Fresh));
        give(event, handle as Handle)
    }
    /// `cuEventDestroy_v2`.
    fn cuEventDestroy_v2(event: Handle) |driver| { driver.events.remove(&(event as usize)).map(drop).ok_or(INVALID_HANDLE) }
    /// `cuEventRecord`.
    fn cuEventRecord(event: Handle, stream: Handle) |driver| { driver.record(event, stream) }
    /// `cuEventRecordWithFlags`.
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: c_uint) |driver| { driver.record(event, stream) }
    /// `cuEventQuery`.
    fn cuEventQuery(event: Handle) |driver| { driver.event_done(event) }
    /// `cuEventSynchronize`.
    fn cuEventSynchronize(event: Handle) |driver| { driver.event_done(event) }
    /// `cuEventElapsedTime`.
    fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) |driver| { driver.elapsed(milliseconds, start, end) }
    /// `cuEventElapsedTime_v2`.
    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: Handle, end: Handle) |driver| { driver.elapsed(milliseconds, start, end) }
}

refuse! { cuStreamAddCallback cuStreamAttachMemAsync cuStreamWaitValue32_v2 cuStreamWriteValue32_v2 }
