//! The software GPU in place of the CUDA driver.
//!
//! `libsoftgpu.so` is the project's own `libcuda.so.1`: once it is in the process, cudarc finds it under that name. From then on
//! `--device sim` is the CUDA device, with the same kernels and the same launches.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CStr, c_char};
use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Names the library's file where it does not lie beside the binary.
pub const VARIABLE: &str = "VF_SOFTGPU";

/// What the names of its devices end with, so that none is taken for a real one.
pub const NAME_SUFFIX: &str = " (softgpu)";

const FILE: &str = "libsoftgpu.so";

type Take = unsafe extern "C" fn() -> *mut c_char;
type Configure = unsafe extern "C" fn(*const c_char) -> i32;
type Free = unsafe extern "C" fn(*mut c_char);

/// The software GPU in this process.
pub struct SoftGpu {
    configure: Symbol<Configure>,
    take_launches: Symbol<Take>,
    take_findings: Symbol<Take>,
    free: Symbol<Free>,
}

/// One kernel launch as the software GPU counted it. What is not needed here is left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// The kernel's entry.
    pub kernel: String,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// What it did.
    pub counters: Counters,
    /// What it would take at least on the GPU that is imitated.
    pub roofline: Roofline,
}

/// Counts of a launch, as softgpu's `counters.rs` explains them.
#[allow(missing_docs, reason = "named as there")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counters {
    pub warp_instructions: u64,
    pub by_class: BTreeMap<String, u64>,
    pub fp32_flops: u64,
    pub tensor_flops: u64,
    pub global_load_bytes: u64,
    pub global_store_bytes: u64,
    pub global_load_sectors: u64,
    pub global_store_sectors: u64,
    pub global_load_requests: u64,
    pub global_store_requests: u64,
    pub ideal_load_sectors: u64,
    pub ideal_store_sectors: u64,
    pub unique_load_sectors: u64,
    pub unique_store_sectors: u64,
    pub shared_requests: u64,
    pub bank_conflict_cycles: u64,
    pub local_bytes: u64,
    pub divergent_branches: u64,
}

/// The least time of a launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Roofline {
    /// Seconds.
    pub time_s: f64,
    /// What takes that long: `dram`, `tensor`, `fp32`, `issue` or `shared`.
    pub binding: String,
}

static LOADED: OnceLock<std::result::Result<SoftGpu, String>> = OnceLock::new();

/// Brings the software GPU into the process, once; must come before any call of the CUDA driver.
///
/// # Errors
/// When its library is not found or is not one.
pub fn load() -> Result<&'static SoftGpu> {
    LOADED.get_or_init(open).as_ref().map_err(|message| Error::Device(message.clone()))
}

fn open() -> std::result::Result<SoftGpu, String> {
    let path = find()?;
    let fail = |e: libloading::Error| format!("{} is not the software GPU: {e}", path.display());
    // SAFETY: the library is the project's own; loading it runs no code of consequence.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }.map_err(fail)?;
    // SAFETY: softgpu's C interface declares these functions with these types.
    let loaded = unsafe {
        SoftGpu {
            configure: library.get(b"softgpu_configure\0").map_err(fail)?,
            take_launches: library.get(b"softgpu_take_launches\0").map_err(fail)?,
            take_findings: library.get(b"softgpu_take_findings\0").map_err(fail)?,
            free: library.get(b"softgpu_free\0").map_err(fail)?,
        }
    };
    // It stays for as long as the process: cudarc keeps pointers into it.
    std::mem::forget(library);
    Ok(loaded)
}

/// The variable's file, or the library beside the binary (for tests: beside the folder of the binary).
fn find() -> std::result::Result<PathBuf, String> {
    if let Some(path) = env::var_os(VARIABLE).map(PathBuf::from) {
        return if path.is_file() { Ok(path) } else { Err(format!("{VARIABLE}: there is no file {}", path.display())) };
    }
    let binary = env::current_exe().map_err(|e| format!("cannot tell where this binary lies: {e}"))?;
    let places: Vec<PathBuf> = binary.ancestors().skip(1).take(2).map(|folder| folder.join(FILE)).collect();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let shown: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        format!(
            "the software GPU was not found ({}): build it with `cargo build --release -p softgpu`, or name its file in {VARIABLE}",
            shown.join(", ")
        )
    })
}

impl SoftGpu {
    /// Changes settings, such as `{"checks": "all", "seed": 1}`.
    ///
    /// # Errors
    /// A setting that it does not know.
    pub fn configure(&self, settings: &serde_json::Value) -> Result<()> {
        let text = std::ffi::CString::new(settings.to_string()).map_err(|e| Error::Device(e.to_string()))?;
        // SAFETY: a zero-terminated text that outlives the call.
        match unsafe { (self.configure)(text.as_ptr()) } {
            0 => Ok(()),
            code => Err(Error::Device(format!("the software GPU does not take {settings}: error {code}"))),
        }
    }

    /// The launches since the last call.
    pub fn take_launches(&self) -> Result<Vec<Launch>> {
        self.take(&self.take_launches)
    }

    /// What the checks found since the last call, an object each; [`sentence`] puts one in words.
    pub fn take_findings(&self) -> Result<Vec<serde_json::Value>> {
        self.take(&self.take_findings)
    }

    fn take<T: serde::de::DeserializeOwned>(&self, function: &Symbol<Take>) -> Result<Vec<T>> {
        // SAFETY: takes nothing, and returns a zero-terminated text that `softgpu_free` takes back.
        let text = unsafe { function() };
        if text.is_null() {
            return Err(Error::Device("the software GPU has no more memory".to_string()));
        }
        // SAFETY: as above.
        let parsed = serde_json::from_slice(unsafe { CStr::from_ptr(text) }.to_bytes());
        // SAFETY: the text that was just returned, not used any more.
        unsafe { (self.free)(text) };
        parsed.map_err(|e| Error::Device(format!("the software GPU's report cannot be read: {e}")))
    }
}

/// A finding in one line.
pub fn sentence(finding: &serde_json::Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default().replace('_', " ");
    let place = match (finding["source"]["file"].as_str(), &finding["source"]["line"]) {
        (Some(file), line) => format!("{file}:{line}"),
        (None, _) => format!("PTX line {}", finding["ptx_line"]),
    };
    format!(
        "{} at {place}, block {}, thread {}: {}",
        text("kind"),
        finding["block"],
        finding["thread"],
        text("message")
    )
}
