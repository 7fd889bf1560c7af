//! Capturing streams, to make a graph of what is put on them.
//!
//! A capture begins on one stream; others join it when they wait for an event of it, and must be waited for before it ends. What is put
//! on any of them is kept in that order, which is one in which a GPU may run it. Source: "CUDA Driver API" reference, stream management;
//! "CUDA C++ Programming Guide", creating a graph using stream capture.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::thread::ThreadId;

use super::graph::Graph;
use super::stream::{Event, Operation, Stream};
use super::{
    CAPTURE_IMPLICIT, CAPTURE_INVALIDATED, CAPTURE_ISOLATION, CAPTURE_MERGE, CAPTURE_UNJOINED, CAPTURE_UNMATCHED,
    CAPTURE_UNSUPPORTED, CAPTURE_WRONG_THREAD, CAPTURED_EVENT, Driver, Handle, INVALID_VALUE, Result, Status, export,
    give, offer, refuse,
};

/// A capture that is under way.
pub(super) struct Capture {
    /// The stream on which it began.
    origin: usize,
    mode: c_int,
    thread: ThreadId,
    graph: Graph,
    /// Counts what is put on its streams, waits included.
    clock: u64,
    /// Streams that joined it, and when something was put on them last.
    joined: HashMap<usize, u64>,
    /// Those of them that were not waited for since.
    unjoined: HashSet<usize>,
    /// Something that is not allowed happened, so that there will be no graph.
    invalidated: bool,
}

/// `CU_STREAM_CAPTURE_MODE_GLOBAL` and `_RELAXED`; the one between them is `_THREAD_LOCAL`.
const GLOBAL: c_int = 0;
const RELAXED: c_int = 2;

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;

thread_local! {
    /// What this thread's calls may disturb, as `cuThreadExchangeStreamCaptureMode` sets it.
    static MODE: Cell<c_int> = const { Cell::new(GLOBAL) };
}

impl Capture {
    /// Puts something on one of its streams.
    pub(super) fn push(&mut self, stream: Handle, operation: Operation) {
        self.graph.operations.push(operation);
        self.advance(stream);
    }

    fn advance(&mut self, stream: Handle) {
        self.clock += 1;
        let stream = stream as usize;
        if stream != self.origin {
            self.joined.insert(stream, self.clock);
            self.unjoined.insert(stream);
        }
    }

    /// What an event stands for that is recorded now.
    pub(super) fn event(&self, capture: usize, stream: Handle) -> Event {
        Event::Captured { capture, stream: stream as usize, at: self.clock }
    }

    /// Whether the legacy stream would wait for one of its streams.
    fn is_blocking(&self, streams: &HashMap<usize, Stream>) -> bool {
        let mut all = self.joined.keys().chain([&self.origin]);
        all.any(|stream| streams.get(stream).is_some_and(|s| s.flags & NON_BLOCKING == 0))
    }
}

/// Ends those captures, if there are any, and fails then.
fn invalidate(captures: &mut HashMap<usize, Capture>, which: impl Fn(&Capture) -> bool, status: Status) -> Result<()> {
    let mut ended = Ok(());
    for capture in captures.values_mut().filter(|capture| which(capture)) {
        capture.invalidated = true;
        ended = Err(status);
    }
    ended
}

impl Driver {
    /// The capture that a stream takes part in.
    pub(super) fn capture_of(&self, stream: Handle) -> Option<usize> {
        self.streams.get(&(stream as usize)).and_then(|s| s.capture)
    }

    /// A capture that is still good.
    pub(super) fn capture(&mut self, id: usize) -> Result<&mut Capture> {
        self.captures.get_mut(&id).filter(|capture| !capture.invalidated).ok_or(CAPTURE_INVALIDATED)
    }

    /// Ends a capture: there will be no graph.
    pub(super) fn invalidate(&mut self, id: usize) {
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.invalidated = true;
        }
    }

    /// Fails for a stream that is being captured, and ends that: nothing that waits may be.
    pub(super) fn not_captured(&mut self, stream: Handle) -> Result<()> {
        match self.capture_of(stream) {
            Some(id) => {
                self.invalidate(id);
                Err(CAPTURE_UNSUPPORTED)
            }
            None => Ok(()),
        }
    }

    /// Fails where a capture forbids calls of this thread that may wait for all streams, and ends it.
    pub(super) fn not_while_capturing(&mut self) -> Result<()> {
        let (here, own) = (std::thread::current().id(), MODE.get());
        let forbids = |c: &Capture| match own {
            RELAXED => false,
            GLOBAL => c.mode == GLOBAL || c.mode != RELAXED && c.thread == here,
            _ => c.mode != RELAXED && c.thread == here,
        };
        invalidate(&mut self.captures, forbids, CAPTURE_UNSUPPORTED)
    }

    /// Fails where the legacy stream would wait for a stream that is being captured, and ends that.
    pub(super) fn legacy_stream_is_free(&mut self) -> Result<()> {
        invalidate(&mut self.captures, |c| c.is_blocking(&self.streams), CAPTURE_IMPLICIT)
    }

    /// Allocates memory of a graph that is being captured.
    pub(super) fn capture_allocation(&mut self, id: usize, stream: Handle, bytes: u64) -> Result<u64> {
        self.capture(id)?;
        let (address, reserved) = self.reserve(bytes)?;
        let capture = self.capture(id)?;
        capture.graph.memory.push(reserved);
        capture.push(stream, Operation::Allocate { address });
        Ok(address)
    }

    /// Frees it. What was allocated otherwise cannot be freed by a graph.
    pub(super) fn capture_free(&mut self, id: usize, stream: Handle, address: u64) -> Result<()> {
        let capture = self.capture(id)?;
        let of = |operation: &Operation| match operation {
            Operation::Allocate { address: at } if *at == address => 1,
            Operation::Free { address: at } if *at == address => -1,
            _ => 0,
        };
        if capture.graph.operations.iter().map(of).sum::<i32>() != 1 {
            capture.invalidated = true;
            eprintln!(
                "softgpu: cuMemFreeAsync while capturing: {address:#x} is not what the same capture has allocated"
            );
            return Err(INVALID_VALUE);
        }
        capture.push(stream, Operation::Free { address });
        Ok(())
    }

    /// A stream waits for an event: it joins the event's capture, or another stream of the same capture is waited for.
    pub(super) fn wait_for(&mut self, stream: Handle, event: &Event) -> Result<()> {
        let own = self.capture_of(stream);
        let &Event::Captured { capture: theirs, stream: from, at } = event else {
            // Work outside of the capture has been done already, but on a GPU it may not be.
            return match (own, event) {
                (Some(id), Event::At { .. }) => {
                    self.invalidate(id);
                    Err(CAPTURE_ISOLATION)
                }
                _ => Ok(()),
            };
        };
        match own {
            None if !self.captures.contains_key(&theirs) => Err(CAPTURED_EVENT),
            None => {
                let Some(joining) = self.streams.get_mut(&(stream as usize)) else {
                    self.invalidate(theirs);
                    return Err(CAPTURE_IMPLICIT);
                };
                joining.capture = Some(theirs);
                self.capture(theirs)?.advance(stream);
                Ok(())
            }
            Some(id) if id != theirs => {
                self.invalidate(id);
                self.invalidate(theirs);
                Err(CAPTURE_MERGE)
            }
            Some(id) => {
                let capture = self.capture(id)?;
                if capture.joined.get(&from).is_some_and(|&last| last <= at) {
                    capture.unjoined.remove(&from);
                }
                capture.advance(stream);
                Ok(())
            }
        }
    }

    fn begin(&mut self, stream: Handle, mode: c_int) -> Result<()> {
        let id = self.handle();
        let origin = stream as usize;
        let found = self.streams.get_mut(&origin).ok_or(CAPTURE_UNSUPPORTED)?;
        if found.capture.is_some() || !(GLOBAL..=RELAXED).contains(&mode) {
            return Err(INVALID_VALUE);
        }
        found.capture = Some(id);
        let capture = Capture {
            origin,
            mode,
            thread: std::thread::current().id(),
            graph: Graph::default(),
            clock: 0,
            joined: HashMap::new(),
            unjoined: HashSet::new(),
            invalidated: false,
        };
        self.captures.insert(id, capture);
        Ok(())
    }

    fn end(&mut self, stream: Handle) -> Result<usize> {
        self.known(stream)?;
        let id = self.capture_of(stream).ok_or(INVALID_VALUE)?;
        let capture = self.captures.get(&id).ok_or(CAPTURE_INVALIDATED)?;
        if capture.origin != stream as usize {
            self.invalidate(id);
            return Err(CAPTURE_UNMATCHED);
        }
        if capture.mode != RELAXED && capture.thread != std::thread::current().id() {
            return Err(CAPTURE_WRONG_THREAD);
        }
        let capture = self.drop_capture(id).ok_or(CAPTURE_INVALIDATED)?;
        let wrong = match (capture.invalidated, capture.unjoined.is_empty()) {
            (true, _) => Some(CAPTURE_INVALIDATED),
            (false, false) => Some(CAPTURE_UNJOINED),
            (false, true) => None,
        };
        if let Some(status) = wrong {
            self.drop_graph(capture.graph);
            return Err(status);
        }
        let handle = self.handle();
        self.graphs.insert(handle, capture.graph);
        Ok(handle)
    }

    /// Lets all streams of a capture go.
    fn drop_capture(&mut self, id: usize) -> Option<Capture> {
        self.streams.values_mut().filter(|s| s.capture == Some(id)).for_each(|s| s.capture = None);
        self.captures.remove(&id)
    }

    /// A stream is destroyed: what it captured is lost.
    pub(super) fn forget_stream(&mut self, id: usize, stream: Handle) {
        if self.captures.get(&id).is_some_and(|c| c.origin == stream as usize) {
            if let Some(capture) = self.drop_capture(id) {
                self.drop_graph(capture.graph);
            }
        } else {
            self.invalidate(id);
        }
    }

    /// `CUstreamCaptureStatus`: none, active, invalidated.
    fn capture_status(&self, stream: Handle) -> Result<c_int> {
        self.known(stream)?;
        let capture = self.capture_of(stream).and_then(|id| self.captures.get(&id));
        Ok(capture.map_or(0, |c| if c.invalidated { 2 } else { 1 }))
    }
}

export! {
    /// `cuStreamBeginCapture`, of interfaces before its modes: relaxed.
    fn cuStreamBeginCapture(stream: Handle) |driver| { driver.begin(stream, RELAXED) }
    /// `cuStreamBeginCapture_v2`.
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) |driver| { driver.begin(stream, mode) }
    /// `cuThreadExchangeStreamCaptureMode`.
    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_int) |_driver| {
        if mode.is_null() || !(GLOBAL..=RELAXED).contains(&mode.read_unaligned()) { return Err(INVALID_VALUE); }
        give(mode, MODE.replace(mode.read_unaligned()))
    }
    /// `cuStreamEndCapture`.
    fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) |driver| {
        let ended = driver.end(stream);
        give(graph, ended.map_or(null_mut(), |handle| handle as Handle))?;
        ended.map(drop)
    }
    /// `cuStreamIsCapturing`.
    fn cuStreamIsCapturing(stream: Handle, status: *mut c_int) |driver| { give(status, driver.capture_status(stream)?) }
    /// `cuStreamGetCaptureInfo_v2`: a graph that is not complete has no handle, and no nodes.
    fn cuStreamGetCaptureInfo_v2(
        stream: Handle, status: *mut c_int, id: *mut u64, graph: *mut Handle, dependencies: *mut *const Handle, count: *mut usize,
    ) |driver| {
        give(status, driver.capture_status(stream)?)?;
        offer(id, driver.capture_of(stream).unwrap_or(0) as u64);
        offer(graph, null_mut());
        offer(dependencies, std::ptr::null());
        offer(count, 0);
        Ok(())
    }
}

refuse! { cuStreamBeginCaptureToGraph cuStreamUpdateCaptureDependencies_v2 }
