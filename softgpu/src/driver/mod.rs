//! The CUDA driver's interface: the symbols of `libcuda.so.1`.
//!
//! Streams execute at once and in order, so that every handle of a stream does the same; only a stream that is being captured keeps its
//! operations for the graph. What a kernel does wrong ends up as the error that hardware would give, which stays as it does there, and
//! as a line on stderr. Source: "CUDA Driver API" reference, version 13.

#![allow(clippy::missing_safety_doc, reason = "every function's contract is the driver's")]

mod capi;
mod capture;
mod context;
mod device;
mod graph;
mod memory;
mod module;
mod occupancy;
mod status;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use serde::Serialize;

use self::status::*;
use crate::check::{Finding, Kind};
use crate::counters::Counters;
use crate::exec::launch::Machine;
use crate::gpu::{Gpu, Occupancy, Roofline};
use crate::memory::Arena;
use crate::options::Options;

type Result<T> = std::result::Result<T, Status>;

/// A launch as it is reported.
#[derive(Debug, Clone, Serialize)]
struct LaunchReport {
    kernel: String,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    registers: u32,
    occupancy: Occupancy,
    counters: Counters,
    roofline: Roofline,
}

/// The most launches and findings that are kept for `softgpu_take_*`.
const KEPT: usize = 1 << 20;

/// Everything behind the interface. One host thread at a time uses it.
struct Driver {
    initialized: bool,
    machine: Machine,
    /// Contexts by handle. The primary one has the lowest.
    contexts: BTreeMap<usize, context::Context>,
    primary_retained: u32,
    modules: HashMap<usize, module::Module>,
    functions: HashMap<usize, module::Function>,
    streams: HashMap<usize, stream::Stream>,
    /// Their flags, and what was recorded last.
    events: HashMap<usize, (u32, stream::Event)>,
    captures: HashMap<usize, capture::Capture>,
    graphs: HashMap<usize, graph::Graph>,
    host_memory: HashMap<usize, std::alloc::Layout>,
    /// Nanoseconds of the imitated GPU: the least that what was asked of it takes.
    now_ns: f64,
    next_handle: usize,
    /// A kernel's fault, which every later call returns.
    fault: Option<Status>,
    launches: Vec<LaunchReport>,
    findings: Vec<Finding>,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::new(Options::from_env())));

impl Driver {
    fn new(options: Options) -> Driver {
        let gpu = Gpu::named(&options.gpu).unwrap_or_else(|| Gpu::named("a100").expect("the first of the table"));
        let wanted = options.memory_bytes.unwrap_or(gpu.memory_bytes);
        // A host that does not even reserve so much address space gets by with less.
        let arena =
            (0..10).find_map(|halvings| Arena::new(wanted >> halvings).ok()).expect("address space for device memory");
        Driver {
            initialized: false,
            machine: Machine { gpu, arena, options },
            contexts: BTreeMap::new(),
            primary_retained: 0,
            modules: HashMap::new(),
            functions: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            captures: HashMap::new(),
            graphs: HashMap::new(),
            host_memory: HashMap::new(),
            now_ns: 0.0,
            next_handle: 0x1000,
            fault: None,
            launches: vec![],
            findings: vec![],
        }
    }

    fn handle(&mut self) -> usize {
        self.next_handle += 16;
        self.next_handle
    }

    /// Reports and keeps what a check found.
    fn found(&mut self, finding: Finding) {
        eprintln!("softgpu: {finding}");
        if let Some(path) = &self.machine.options.report {
            append(path, &finding);
        }
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }

    /// Reports memory that is still allocated, except variables of modules, which their modules give back.
    fn report_leaks(&mut self) {
        if !self.machine.options.checks.init {
            return;
        }
        let own: Vec<u64> =
            self.modules.values().flat_map(|m| m.loaded.globals.values().map(|&(address, _)| address)).collect();
        for leak in self.machine.arena.allocations().into_iter().filter(|a| !own.contains(&a.address)) {
            let message =
                format!("{} bytes at {:#x} were not freed when their context ended", leak.bytes, leak.address);
            let (kind, kernel, block, thread) = (Kind::Leak, String::new(), [0; 3], [0; 3]);
            self.found(Finding { kind, kernel, block, thread, ptx_line: 0, source: None, message, count: 1 });
        }
    }
}

/// Appends a line of JSON. A report that cannot be written is said once per call, and nothing else suffers.
fn append(path: &Path, value: &impl Serialize) {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", serde_json::to_string(value)?)
    };
    if let Err(error) = write() {
        eprintln!("softgpu: {}: {error}", path.display());
    }
}

/// What is the matter with a kernel that was ended, as hardware would say it.
fn status_of(kind: Kind) -> Status {
    match kind {
        Kind::OutOfBounds | Kind::UseAfterFree | Kind::ReadOnly => ILLEGAL_ADDRESS,
        Kind::Misaligned => MISALIGNED_ADDRESS,
        Kind::Assert => ASSERT,
        Kind::Deadlock => LAUNCH_TIMEOUT,
        _ => LAUNCH_FAILED,
    }
}

/// Runs the body of an entry point: one thread at a time, no panic beyond it, and after a fault nothing but that fault.
fn enter(name: &str, body: impl FnOnce(&mut Driver) -> Result<()>) -> Status {
    call(name, |driver| match (driver.fault, driver.initialized) {
        (_, false) => Err(NOT_INITIALIZED),
        (Some(fault), _) => Err(fault),
        _ => body(driver),
    })
}

/// As [`enter`], also before `cuInit` and after a fault.
fn call(name: &str, body: impl FnOnce(&mut Driver) -> Result<()>) -> Status {
    let run = AssertUnwindSafe(|| body(&mut DRIVER.lock().unwrap_or_else(|e| e.into_inner())));
    match catch_unwind(run) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(status)) => status,
        Err(_) => {
            eprintln!("softgpu: {name} failed from within, which is an error of softgpu itself");
            UNKNOWN
        }
    }
}

/// Says on stderr that something is not there, and fails.
fn not_supported(what: &str) -> Result<()> {
    eprintln!("softgpu: {what} is not supported");
    Err(NOT_SUPPORTED)
}

/// Writes a result through a pointer of the program's.
unsafe fn give<T>(to: *mut T, value: T) -> Result<()> {
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, and the caller of the driver's interface promises the rest.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Writes a result that the program may not want.
unsafe fn offer<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: as in `give`.
        unsafe { to.write_unaligned(value) };
    }
}

/// The text at a pointer of the program's.
unsafe fn text<'a>(from: *const std::ffi::c_char) -> Result<&'a str> {
    if from.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, and zero-terminated as the interface demands.
    unsafe { std::ffi::CStr::from_ptr(from) }.to_str().map_err(|_| INVALID_VALUE)
}

/// Copies a text into a buffer of `length` bytes, cut where it is too long.
unsafe fn give_text(to: *mut std::ffi::c_char, length: i32, text: &str) -> Result<()> {
    if to.is_null() || length <= 0 {
        return Err(INVALID_VALUE);
    }
    let count = text.len().min(length as usize - 1);
    // SAFETY: the buffer has `length` bytes, as the caller promises.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), count);
        to.add(count).write(0);
    }
    Ok(())
}

type Handle = *mut c_void;

/// Exports functions of the driver: their bodies run within [`enter`].
macro_rules! export {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) |$driver:ident| $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> crate::driver::Status {
            // SAFETY: pointers are what the driver's interface says they are.
            crate::driver::enter(stringify!($name), |$driver| { let _ = &$driver; #[allow(unused_unsafe)] unsafe { $body } })
        }
    )*};
}
use export;

/// Exports functions that there are but that do nothing else than refuse.
macro_rules! refuse {
    ($($name:ident)*) => {$(
        #[doc = "Not supported."]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> crate::driver::Status {
            crate::driver::call(stringify!($name), |_| crate::driver::not_supported(stringify!($name)))
        }
    )*};
}
use refuse;

/// A launch's parameters and its program, ready to run.
fn run(driver: &mut Driver, launch: &module::Prepared) -> Result<()> {
    use crate::exec::launch::LaunchError;
    let module::Prepared { program, config, params } = launch;
    let outcome = match crate::exec::launch::launch(&driver.machine, program, config, params) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("softgpu: launch of {}: {error}", program.name);
            return Err(match error {
                LaunchError::Shape(_) => INVALID_VALUE,
                LaunchError::Resources(_) => LAUNCH_OUT_OF_RESOURCES,
                LaunchError::Cooperative(_) => COOPERATIVE_LAUNCH_TOO_LARGE,
            });
        }
    };
    let gpu = &driver.machine.gpu;
    let shared_bytes = program.shared_bytes + config.shared_bytes;
    let occupancy = gpu.occupancy(program.registers, shared_bytes, config.block.iter().product());
    let report = LaunchReport {
        kernel: program.name.clone(),
        grid: config.grid,
        block: config.block,
        shared_bytes,
        registers: program.registers,
        occupancy,
        roofline: gpu.roofline(&outcome.counters, config.grid.iter().product(), &occupancy),
        counters: outcome.counters,
    };
    driver.now_ns += report.roofline.time_s * 1e9;
    if let Some(path) = &driver.machine.options.counters {
        append(path, &report);
    }
    if driver.launches.len() < KEPT {
        driver.launches.push(report);
    }
    outcome.findings.into_iter().for_each(|finding| driver.found(finding));
    match outcome.fault {
        Some(fault) => {
            driver.fault = Some(status_of(fault.kind));
            Err(status_of(fault.kind))
        }
        None => Ok(()),
    }
}

/// A module's program, shared by functions and by launches in graphs.
type SharedProgram = Arc<crate::exec::program::Program>;
