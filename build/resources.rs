//! What `ptxas -v` says of each kernel.

use anyhow::{Context, Result, bail};
use std::fmt;

/// One entry point on one architecture.
#[derive(Debug, Default, PartialEq)]
pub struct Resources {
    pub kernel: String,
    pub arch: String,
    pub registers: u32,
    pub shared_bytes: u32,
    pub spill_store_bytes: u32,
    pub spill_load_bytes: u32,
    pub stack_bytes: u32,
}

impl fmt::Display for Resources {
    /// As fields of a Rust structure expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resources { kernel, arch, registers, shared_bytes, spill_store_bytes, spill_load_bytes, stack_bytes } =
            self;
        write!(f, "kernel: {kernel:?}, arch: {arch:?}, registers: {registers}, shared_bytes: {shared_bytes}, ")?;
        write!(
            f,
            "spill_store_bytes: {spill_store_bytes}, spill_load_bytes: {spill_load_bytes}, stack_bytes: {stack_bytes}"
        )
    }
}

/// Reads ptxas's log, three lines per entry point:
/// ```text
/// ptxas info    : Compiling entry function 'add_fwd_f32' for 'sm_80'
///     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
/// ptxas info    : Used 12 registers, used 0 barriers, 48 bytes smem, 392 bytes cmem[0]
/// ```
pub fn parse(log: &str) -> Result<Vec<Resources>> {
    let mut all: Vec<Resources> = vec![];
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let names = rest.trim_end().trim_end_matches('\'').split_once("' for '");
            let (kernel, arch) = names.with_context(|| format!("unknown form of ptxas line: {line}"))?;
            all.push(Resources { kernel: kernel.into(), arch: arch.into(), ..Default::default() });
        } else if let Some(last) = all.last_mut() {
            if line.contains("bytes stack frame") {
                last.stack_bytes = number_before(line, " bytes stack frame")?;
                last.spill_store_bytes = number_before(line, " bytes spill stores")?;
                last.spill_load_bytes = number_before(line, " bytes spill loads")?;
            } else if line.contains(" registers") {
                last.registers = number_before(line, " registers")?;
                last.shared_bytes = if line.contains(" bytes smem") { number_before(line, " bytes smem")? } else { 0 };
            }
        }
    }
    if let Some(bad) = all.iter().find(|resources| resources.registers == 0) {
        bail!("ptxas does not say how many registers {} uses on {}", bad.kernel, bad.arch);
    }
    Ok(all)
}

fn number_before(line: &str, unit: &str) -> Result<u32> {
    let number = line.split_once(unit).and_then(|(before, _)| before.split([' ', ',']).next_back()?.parse().ok());
    number.with_context(|| format!("ptxas does not say how many{unit}: {line}"))
}

/// No kernel may keep anything in local memory.
pub fn refuse_local_memory(all: &[Resources]) -> Result<()> {
    let faults: Vec<String> = all
        .iter()
        .filter(|r| r.spill_store_bytes + r.spill_load_bytes + r.stack_bytes > 0)
        .map(|r| {
            let Resources { kernel, arch, spill_store_bytes, spill_load_bytes, stack_bytes, .. } = r;
            format!("{kernel} on {arch} spills ({spill_store_bytes} bytes stored, {spill_load_bytes} loaded, {stack_bytes} of stack)")
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}
