//! The benchmark cases of ops: timed, or counted on the software GPU.

use serde::Serialize;

use super::untaped;
use crate::device::{Device, KernelInfo, Launch, Math, sim};
use crate::error::{Error, Result};
use crate::kernels::RESOURCES;
use crate::ops::{Case, Input, REGISTRY};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// Every benchmark case of what can compute in `math`.
pub fn cases(math: Math) -> Vec<Case> {
    let takes = |kernel: &KernelInfo| math != Math::Tf32 || kernel.tf32;
    let entries = REGISTRY.iter().filter(|entry| (entry.kernels)().iter().any(takes));
    let mut cases: Vec<Case> = entries.flat_map(|entry| (entry.cases)()).filter(|case| case.bench).collect();
    if math != Math::Tf32 {
        cases.extend(untaped::cases());
    }
    cases
}

/// The launches on a GPU of a case's forward and backward, in order.
pub fn launches(case: &Case, device: &Device, math: Math) -> Result<Vec<Launch>> {
    let mut launches = vec![];
    run_case(case, device, &draw(case, device, math)?, |part| {
        launches.extend(device.record_launches(part)?);
        Ok(())
    })?;
    Ok(launches)
}

/// One op's time.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// The op.
    pub op: &'static str,
    /// The case.
    pub label: &'static str,
    /// The shapes of its inputs.
    pub shapes: Vec<Vec<usize>>,
    /// What it computes in.
    pub dtype: Math,
    /// Seconds of the forward, the least of all runs.
    pub forward_s: f64,
    /// Seconds of the backward to every input that has a gradient, the least of all runs.
    pub backward_s: f64,
    /// Floating-point operations of the forward, by the definition of the op.
    pub flops: u64,
    /// Bytes that the forward must move.
    pub bytes: u64,
}

/// Written between timed runs on a GPU, so that inputs come from memory and not from its L2 cache, which is smaller than this.
const FLUSH_FLOATS: usize = 64 << 20;

/// Times a case's forward and backward, computed in `math`: the least of `runs` runs each, after one to warm up. On a GPU the caches are cold.
pub fn time_case(case: &Case, device: &Device, math: Math, runs: usize) -> Result<Timing> {
    let inputs = draw(case, device, math)?;
    let flush = || if device.is_cpu() { Ok(()) } else { Tensor::zeros(device, &[FLUSH_FLOATS]).map(drop) };
    // Of the forward and of the backward.
    let mut least = [f64::INFINITY; 2];
    for run in 0..=runs {
        let mut least = least.iter_mut();
        run_case(case, device, &inputs, |part| {
            flush()?;
            let seconds = device.time(part)?;
            let least = least.next().expect("a case has two parts");
            if run > 0 {
                *least = least.min(seconds);
            }
            Ok(())
        })?;
    }
    let [forward_s, backward_s] = least;
    Ok(Timing {
        op: case.op,
        label: case.label,
        shapes: case.inputs.iter().map(|input| input.shape.clone()).collect(),
        dtype: math,
        forward_s,
        backward_s,
        flops: case.flops,
        bytes: case.bytes * math.dtype().size() as u64 / Math::F32.dtype().size() as u64,
    })
}

/// One kernel of a case, as the software GPU counted it, over all its launches in one forward and backward.
#[derive(Debug, Clone, Serialize)]
pub struct KernelCount {
    /// The op.
    pub op: &'static str,
    /// The case.
    pub label: &'static str,
    /// The kernel's entry.
    pub kernel: String,
    /// How often it was launched.
    pub launches: u64,
    /// Bytes of the tensors that it reads and writes: what it must move at least.
    pub minimum_bytes: u64,
    /// Bytes of different sectors that it moved.
    pub dram_bytes: u64,
    /// Sectors over the fewest that its requests could have touched.
    pub sectors_over_ideal: f64,
    /// Sectors per request to device memory.
    pub sectors_per_request: f64,
    /// Cycles that shared memory lost to bank conflicts.
    pub bank_conflict_cycles: u64,
    /// Bytes of local memory that its threads read and wrote.
    pub local_bytes: u64,
    /// Branches at which a warp's lanes went different ways.
    pub divergent_branches: u64,
    /// Registers per thread on sm_80, as ptxas said.
    pub registers: u32,
    /// Bytes of spilled registers on sm_80, as ptxas said.
    pub spill_bytes: u32,
    /// Instructions, counted once for a warp.
    pub warp_instructions: u64,
    /// Tensor-core instructions, as a part of all.
    pub tensor_share: f64,
    /// The least seconds on the GPU that is imitated.
    pub roofline_s: f64,
    /// What takes that long.
    pub binding: String,
    /// What the checks found, a sentence each.
    pub findings: Vec<String>,
}

/// A kernel may move this much more than it must.
const DRAM_ALLOWANCE: f64 = 1.05;

/// Bytes in which memory is moved.
const SECTOR_BYTES: u64 = 32;

impl KernelCount {
    /// The rules for kernels that it breaks, a sentence each.
    pub fn misses(&self) -> Vec<String> {
        let mut misses = self.findings.clone();
        let dram = self.dram_bytes as f64 / self.minimum_bytes.max(1) as f64;
        if dram > DRAM_ALLOWANCE {
            misses.push(format!("moves {dram:.2} times the bytes that it must ({DRAM_ALLOWANCE} allowed)"));
        }
        if self.sectors_over_ideal > 1.0 {
            misses.push(format!("touches {:.3} times the sectors that its requests need", self.sectors_over_ideal));
        }
        if self.bank_conflict_cycles > 0 {
            misses.push(format!("loses {} cycles to bank conflicts", self.bank_conflict_cycles));
        }
        if self.spill_bytes > 0 {
            misses.push(format!("spills {} bytes", self.spill_bytes));
        }
        if self.local_bytes > 0 {
            misses.push(format!("keeps arrays in local memory, and moves {} bytes there", self.local_bytes));
        }
        misses
    }
}

/// Counts a case's forward and backward, computed in `math`, on the software GPU, which must be the device, once each.
///
/// # Errors
/// When the op fails, or the software GPU's report cannot be read.
pub fn count_case(case: &Case, device: &Device, math: Math) -> Result<Vec<KernelCount>> {
    let gpu = sim::load()?;
    let inputs = draw(case, device, math)?;
    let (mut asked, mut launches) = (vec![], vec![]);
    gpu.take_findings()?;
    run_case(case, device, &inputs, |part| {
        gpu.take_launches()?;
        asked.extend(device.record_launches(part)?);
        launches.extend(gpu.take_launches()?);
        Ok(())
    })?;
    if launches.len() != asked.len() {
        let message = format!("the software GPU saw {} launches of {}'s {}", launches.len(), case.op, asked.len());
        return Err(Error::Device(message));
    }
    let findings = gpu.take_findings()?;
    let mut kernels: Vec<&str> = vec![];
    for launch in &launches {
        if !kernels.contains(&launch.kernel.as_str()) {
            kernels.push(&launch.kernel);
        }
    }
    let count = |kernel: &str| {
        let of = || launches.iter().zip(&asked).filter(|(launch, _)| launch.kernel == kernel);
        let sum = |f: fn(&sim::Counters) -> u64| of().map(|(launch, _)| f(&launch.counters)).sum::<u64>();
        let sectors = sum(|c| c.global_load_sectors + c.global_store_sectors);
        let longest = of().map(|(launch, _)| &launch.roofline).max_by(|a, b| a.time_s.total_cmp(&b.time_s));
        let resources = RESOURCES.iter().find(|r| r.kernel == kernel && r.arch == "sm_80");
        let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        KernelCount {
            op: case.op,
            label: case.label,
            kernel: kernel.to_string(),
            launches: of().count() as u64,
            minimum_bytes: of().map(|(_, asked)| asked.bytes).sum(),
            dram_bytes: SECTOR_BYTES * sum(|c| c.unique_load_sectors + c.unique_store_sectors),
            sectors_over_ideal: ratio(sectors, sum(|c| c.ideal_load_sectors + c.ideal_store_sectors)),
            sectors_per_request: ratio(sectors, sum(|c| c.global_load_requests + c.global_store_requests)),
            bank_conflict_cycles: sum(|c| c.bank_conflict_cycles),
            local_bytes: sum(|c| c.local_bytes),
            divergent_branches: sum(|c| c.divergent_branches),
            registers: resources.map_or(0, |r| r.registers),
            spill_bytes: resources.map_or(0, |r| r.spill_load_bytes + r.spill_store_bytes),
            warp_instructions: sum(|c| c.warp_instructions),
            tensor_share: ratio(sum(|c| c.by_class.get("tensor").copied().unwrap_or(0)), sum(|c| c.warp_instructions)),
            roofline_s: of().map(|(launch, _)| launch.roofline.time_s).sum(),
            binding: longest.map_or(String::new(), |roofline| roofline.binding.clone()),
            findings: findings.iter().filter(|f| f["kernel"] == kernel).map(sim::sentence).collect(),
        }
    };
    Ok(kernels.into_iter().map(count).collect())
}

/// Hands a case's forward and then its backward, to every input that has a gradient, to `run`; what they need lies ready.
fn run_case(
    case: &Case,
    device: &Device,
    inputs: &[Tensor],
    mut run: impl FnMut(&mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let tape = Tape::new(device);
    let vars = place(&tape, case, inputs);
    let mut outputs = vec![];
    run(&mut || {
        outputs = (case.run)(&tape, &vars)?;
        Ok(())
    })?;
    let outputs: Vec<Var> = outputs.into_iter().filter(Var::requires_grad).collect();
    let seeds = upstream(case, device, &outputs)?;
    let wanted: Vec<&Var> = vars.iter().filter(|var| var.requires_grad()).collect();
    run(&mut || tape.gradients(&seeds, &wanted).map(drop))
}

/// A case's inputs for `math`, which the device computes in from now on.
fn draw(case: &Case, device: &Device, math: Math) -> Result<Vec<Tensor>> {
    device.set_tf32(math == Math::Tf32);
    let inputs = case.draw(device, 0)?.into_iter().zip(&case.inputs);
    inputs.map(|(tensor, input)| input.as_taken(tensor, math.dtype())).collect()
}

fn place(tape: &Tape, case: &Case, inputs: &[Tensor]) -> Vec<Var> {
    let place = |(tensor, input): (&Tensor, &Input)| match input.differentiable {
        true => tape.leaf(tensor.clone()),
        false => tape.constant(tensor.clone()),
    };
    inputs.iter().zip(&case.inputs).map(place).collect()
}

/// Gradients of the outputs, as if they came from later ops.
fn upstream<'a>(case: &Case, device: &Device, outputs: &'a [Var]) -> Result<Vec<(&'a Var, Tensor)>> {
    let gradient = |var: &Var| case.upstream(device, var.shape())?.to_dtype(var.value().dtype());
    outputs.iter().map(|var| Ok((var, gradient(var)?))).collect()
}
