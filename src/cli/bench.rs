//! `vf-engine bench`: kernel micro-benchmarks and whole training steps.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;
use vf_engine::benchmark::{self, KernelCount, Peaks, SampleTiming, StepTiming, Timing};
use vf_engine::config::{self, Config, DitConfig};
use vf_engine::device::{Device, DeviceSpec, Math};
use vf_engine::ops::Case;
use vf_engine::training::{self, RandomRun, StepPlan};
use vf_engine::{dit, vae};

/// Measure kernels, whole training steps, or sampling.
///
/// Times are the least (kernels) or the median (steps, samples) of several runs. On the CPU, throughput is shown beside the
/// peaks of fused multiply-adds and of memory measured in the same run.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every op's benchmark cases, forward and backward, and what runs outside of the tape; on sim what each kernel does instead of times.
    Kernels {
        /// Only ops whose name contains this.
        #[arg(long, default_value = "")]
        filter: String,
        /// Timed runs per case.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// What they compute in: f32, and on a GPU bf16, or tf32 for products of f32 matrices.
        #[arg(long, default_value = "f32")]
        dtype: Math,
        /// On sim: fail if a kernel breaks a rule (findings, DRAM bytes, sectors, bank conflicts, spills, local memory).
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Whole VA-VAE training steps on random images and features; or what one would take on a GPU.
    Step {
        /// The model.
        #[arg(long, default_value = "demo", value_parser = clap::builder::PossibleValuesParser::new(config::preset_names()))]
        preset: String,
        /// Channels of the foundation features.
        #[arg(long, default_value_t = 384)]
        feature_channels: usize,
        #[command(flatten)]
        step: Step,
    },
    /// The same of LightningDiT, on random latents: of 16×16×32 and 1000 classes, unless --set says otherwise.
    DitStep {
        /// The model.
        #[arg(long, default_value = "small", value_parser = clap::builder::PossibleValuesParser::new(config::dit_preset_names()))]
        preset: String,
        #[command(flatten)]
        step: Step,
    },
    /// A batch of samples by a new LightningDiT, up to latents: of 16×16×32 and 1000 classes, unless --set says otherwise.
    DitSample {
        /// The model.
        #[arg(long, default_value = "small", value_parser = clap::builder::PossibleValuesParser::new(config::dit_preset_names()))]
        preset: String,
        /// One setting over the preset, e.g. sample.num_sampling_steps=11; may be repeated.
        #[arg(long, value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
        /// Images in the batch.
        #[arg(long, default_value_t = 8)]
        images: usize,
        /// Timed batches.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        #[command(flatten)]
        common: Common,
    },
}

/// Latents of ImageNet at 256×256 by the f16d32 tokenizer: what a preset leaves to the data.
const LATENTS: [&str; 3] = ["model.input_size=16", "model.in_channels=32", "model.num_classes=1000"];

#[derive(clap::Args)]
struct Step {
    /// One setting over the preset; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Timed steps.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Compute nothing: show the memory, launches and bytes of a step on a GPU. Needs none.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    common: Common,
}

impl Step {
    fn report<L>(&self, run: impl FnOnce(&Device) -> vf_engine::Result<RandomRun<L>>) -> anyhow::Result<()> {
        let json = self.common.json.as_deref();
        if self.plan {
            let device = Device::plan();
            return report(&device, json, training::plan(&device, run)?, print_plan);
        }
        let device = Device::open(self.common.device)?;
        report(&device, json, benchmark::time_step(run(&device)?, &device, self.runs)?, print_step)
    }
}

#[derive(clap::Args)]
struct Common {
    /// Where to compute: auto, cpu, cuda, cuda:N or sim.
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
    /// JSON instead of text: to this file, or printed.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<T: Serialize> {
    device: String,
    threads: usize,
    peaks: Option<Peaks>,
    results: T,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Kernels { filter, runs, dtype, check, common } => {
            let device = Device::open(common.device)?;
            anyhow::ensure!(dtype == Math::F32 || !device.is_cpu(), "the CPU computes in f32, not in {dtype}");
            let cases = benchmark::cases(dtype).into_iter().filter(|case| case.op.contains(&filter));
            if common.device == DeviceSpec::Sim {
                return count_kernels(&device, cases.collect(), dtype, check, common.json.as_deref());
            }
            anyhow::ensure!(!check, "--check counts what kernels do, which needs --device sim");
            let timings =
                cases.map(|case| benchmark::time_case(&case, &device, dtype, runs)).collect::<Result<Vec<_>, _>>()?;
            report(&device, common.json.as_deref(), timings, print_kernels)
        }
        What::Step { preset, feature_channels, step } => {
            let config = Config::load(Some(&preset), None, &step.set)?;
            step.report(|device| vae::random_run(&config, feature_channels, device))
        }
        What::DitStep { preset, step } => {
            let config = on_imagenet(&preset, &step.set)?;
            step.report(|device| dit::random_run(&config, device))
        }
        What::DitSample { preset, set, images, runs, common } => {
            let config = on_imagenet(&preset, &set)?;
            let device = Device::open(common.device)?;
            let timing = benchmark::time_sampling(&config, images, &device, runs)?;
            report(&device, common.json.as_deref(), timing, print_sampling)
        }
    }
}

fn on_imagenet(preset: &str, set: &[String]) -> anyhow::Result<DitConfig> {
    let set: Vec<String> = LATENTS.map(str::to_string).into_iter().chain(set.iter().cloned()).collect();
    Ok(DitConfig::load(Some(preset), None, &set)?)
}

/// What each kernel does, by the software GPU's counters, and which rules it breaks.
fn count_kernels(
    device: &Device,
    cases: Vec<Case>,
    math: Math,
    check: bool,
    json: Option<&Path>,
) -> anyhow::Result<()> {
    let counts = cases.iter().map(|case| benchmark::count_case(case, device, math)).collect::<Result<Vec<_>, _>>()?;
    let counts = counts.concat();
    let misses = |c: &KernelCount| {
        let all = c.misses().into_iter().map(|miss| format!("{} ({}): {miss}", c.kernel, c.label));
        all.collect::<Vec<_>>()
    };
    let misses: Vec<String> = counts.iter().flat_map(misses).collect();
    report(device, json, counts, print_counts)?;
    anyhow::ensure!(!check || misses.is_empty(), "{} rules are broken:\n  {}", misses.len(), misses.join("\n  "));
    Ok(())
}

fn print_counts(report: &Report<Vec<KernelCount>>) {
    println!("{}; rows are kernels, over all launches of one forward and backward", report.device);
    let mut shown = None;
    for c in &report.results {
        if shown != Some((c.op, c.label)) {
            shown = Some((c.op, c.label));
            println!(
                "\n{:<44} {:>8} {:>6} {:>7} {:>6} {:>6} {:>4} {:>5} {:>6} {:>8}",
                format!("{}, {}", c.op, c.label),
                "DRAM KB",
                "/least",
                "sectors",
                "/ideal",
                "banks",
                "regs",
                "spill",
                "tensor",
                "least us"
            );
        }
        println!(
            "  {:<28} {:>3} {:<7} {:>10.1} {:>6.3} {:>7.2} {:>6.3} {:>6} {:>4} {:>5} {:>5.1}% {:>8.1}",
            c.kernel,
            format!("x{}", c.launches),
            c.binding,
            c.dram_bytes as f64 / 1e3,
            c.dram_bytes as f64 / c.minimum_bytes.max(1) as f64,
            c.sectors_per_request,
            c.sectors_over_ideal,
            c.bank_conflict_cycles,
            c.registers,
            c.spill_bytes,
            100.0 * c.tensor_share,
            1e6 * c.roofline_s,
        );
    }
}

fn report<T: Serialize>(device: &Device, json: Option<&Path>, results: T, print: fn(&Report<T>)) -> anyhow::Result<()> {
    let peaks = device.is_cpu().then(benchmark::cpu_peaks);
    let report = Report { device: device.name(), threads: rayon::current_num_threads(), peaks, results };
    if let Some(file) = json {
        let text = serde_json::to_string(&report)?;
        if file == Path::new("-") {
            println!("{text}");
            return Ok(());
        }
        return std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()));
    }
    if let Some(peaks) = report.peaks {
        let Peaks { gflops, gbytes_per_s } = peaks;
        println!(
            "{}: {} threads, {gflops:.0} GFLOP/s of FMA, {gbytes_per_s:.1} GB/s of memory",
            report.device, report.threads
        );
    }
    print(&report);
    Ok(())
}

fn print_kernels(report: &Report<Vec<Timing>>) {
    println!(
        "{:<20} {:<34} {:>10} {:>10} {:>9} {:>7} {:>8}",
        "op", "case", "forward", "backward", "GFLOP/s", "of FMA", "GB/s"
    );
    for t in &report.results {
        let gflops = t.flops as f64 / t.forward_s / 1e9;
        let of_peak = report.peaks.map_or("".to_string(), |p| format!("{:.0} %", 100.0 * gflops / p.gflops));
        let gbytes = t.bytes as f64 / t.forward_s / 1e9;
        println!(
            "{:<20} {:<34} {:>7.3} ms {:>7.3} ms {gflops:>9.1} {of_peak:>7} {gbytes:>8.1}",
            t.op,
            t.label,
            t.forward_s * 1e3,
            t.backward_s * 1e3
        );
    }
}

fn print_step(report: &Report<StepTiming>) {
    let t = &report.results;
    println!(
        "step: {:.1} ms (median of {}), {:.2} images/s, {} parameters, {} launches, at most {:.0} MiB in tensors",
        t.median_s * 1e3,
        t.runs,
        t.images as f64 / t.median_s,
        t.parameters,
        t.launches,
        t.peak_bytes as f64 / f64::from(1 << 20)
    );
}

fn print_sampling(report: &Report<SampleTiming>) {
    let t = &report.results;
    let [conditional, unconditional] = t.evaluations;
    println!(
        "{} images: {:.1} ms (median of {}), {:.2} images/s, {conditional} model runs with labels and {unconditional} without \
         ({:.1} % of two for each step saved), at most {:.0} MiB in tensors",
        t.images,
        t.median_s * 1e3,
        t.runs,
        t.images as f64 / t.median_s,
        100.0 * t.saved,
        t.peak_bytes as f64 / f64::from(1 << 20)
    );
}

fn print_plan(report: &Report<StepPlan>) {
    let plan = &report.results;
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!("a step of {} images on a GPU, {} parameters; nothing was computed", plan.images, plan.parameters);
    println!("\nmemory, MiB");
    for (name, bytes) in plan.memory() {
        println!("  {name:<34} {:>10.1}", mib(bytes));
    }
    let gb = |bytes: u64| bytes as f64 / 1e9;
    println!(
        "\nDRAM: {:.3} GB, {:.3} GB per image, in {} launches",
        gb(plan.dram_bytes),
        gb(plan.dram_bytes) / plan.images.max(1) as f64,
        plan.launches()
    );
    println!("  {:<34} {:>8} {:>10} {:>8}", "kernel", "launches", "GB", "share");
    for kernel in &plan.kernels {
        let share = 100.0 * kernel.dram_bytes as f64 / plan.dram_bytes.max(1) as f64;
        println!("  {:<34} {:>8} {:>10.4} {share:>6.1} %", kernel.entry, kernel.launches, gb(kernel.dram_bytes));
    }
}
