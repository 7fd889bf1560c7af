//! Settings and reports for programs that know of softgpu.

use std::ffi::{CString, c_char};
use std::ptr::null_mut;

use super::{INVALID_VALUE, Status, call, text};
use crate::gpu::Gpu;
use crate::memory::Arena;

/// Changes settings: a JSON object with any of `checks`, `seed`, `threads`, `report`, `counters`, and, while nothing is allocated, `gpu`
/// and `memory`. Returns 0, or 1 (and a line on stderr) for what it does not know.
///
/// # Safety
/// `json` is a zero-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softgpu_configure(json: *const c_char) -> Status {
    call("softgpu_configure", |driver| {
        // SAFETY: as promised.
        let text = unsafe { text(json)? };
        let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(|error| {
            eprintln!("softgpu: settings: {error}");
            INVALID_VALUE
        })?;
        let mut options = driver.machine.options.clone();
        for (key, value) in &settings {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            options.set(key, &value).map_err(|message| {
                eprintln!("softgpu: {key}: {message}");
                INVALID_VALUE
            })?;
        }
        if settings.contains_key("gpu") || settings.contains_key("memory") {
            let gpu = Gpu::named(&options.gpu).ok_or(INVALID_VALUE)?;
            if driver.machine.arena.used_bytes() > 0 {
                eprintln!("softgpu: gpu and memory cannot change while memory is allocated");
                return Err(INVALID_VALUE);
            }
            driver.machine.arena =
                Arena::new(options.memory_bytes.unwrap_or(gpu.memory_bytes)).map_err(|_| super::OUT_OF_MEMORY)?;
            driver.machine.gpu = gpu;
        }
        driver.machine.options = options;
        Ok(())
    })
}

/// The launches since the last call, as a JSON array; null if there is no memory for it. To be given to [`softgpu_free`].
#[unsafe(no_mangle)]
pub extern "C" fn softgpu_take_launches() -> *mut c_char {
    let mut json = null_mut();
    call("softgpu_take_launches", |driver| {
        json = to_text(&std::mem::take(&mut driver.launches));
        Ok(())
    });
    json
}

/// What the checks found since the last call, as a JSON array. To be given to [`softgpu_free`].
#[unsafe(no_mangle)]
pub extern "C" fn softgpu_take_findings() -> *mut c_char {
    let mut json = null_mut();
    call("softgpu_take_findings", |driver| {
        json = to_text(&std::mem::take(&mut driver.findings));
        Ok(())
    });
    json
}

fn to_text(value: &impl serde::Serialize) -> *mut c_char {
    let text = serde_json::to_string(value).ok().and_then(|text| CString::new(text).ok());
    text.map_or(null_mut(), CString::into_raw)
}

/// Takes back a text that one of the functions above returned.
///
/// # Safety
/// It was, and was not taken back before; or it is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softgpu_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: as promised.
        drop(unsafe { CString::from_raw(text) });
    }
}
