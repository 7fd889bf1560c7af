//! Ctrl-C (and SIGTERM, as schedulers send it before they kill): the first finishes the step, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vf_engine::metrics;

/// The exit code shells give a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Installs the handler; the flag becomes true with the first signal. Call it once in a process.
///
/// # Errors
/// If the handler cannot be installed or is installed already.
pub fn install() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        metrics::note("\nfinishing this step, then saving; press Ctrl-C again to stop at once");
    })?;
    Ok(stop)
}
