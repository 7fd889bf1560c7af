//! `vf-engine train-dit`: trains a LightningDiT.

use std::path::PathBuf;

use anyhow::bail;
use vf_engine::config::{self, DitConfig};
use vf_engine::device::{Device, DeviceSpec};
use vf_engine::dit::train;
use vf_engine::training::{CONFIG, Start};

use super::{interrupt, schedule};

/// Train a LightningDiT on a folder of latents.
///
/// Settings come from a preset, then a YAML file, then `--set`, each over the former; configs/dit/default.yaml lists every
/// key with its meaning. The run's folder receives config.yaml (what was in effect), metrics.jsonl and TensorBoard
/// events, grids/ (samples), losses.png and checkpoints/ (the model, its moving average, and the optimizer). Ctrl-C finishes the
/// step and saves; `--resume` goes on as if the run had never stopped.
///
/// The latents are what `vf-engine extract` wrote, or the reference implementation. With --tokenizer, the run of train-vae that
/// made them, samples are drawn during training.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vf-engine train-dit --preset small --latents latents --tokenizer runs/vae --out runs/dit
  vf-engine train-dit --preset XL/1 --latents latents/imagenet --set train.precision=bf16 --set data.valid=latents/val
  vf-engine train-dit --resume runs/dit --steps 20000")]
pub struct Args {
    /// What the settings start from.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(config::dit_preset_names()))]
    preset: Option<String>,
    /// A YAML file over the preset.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over preset and file; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// The folder of latents (data.latents).
    #[arg(long, value_name = "DIR")]
    latents: Option<PathBuf>,
    /// The run of train-vae that made the latents (data.tokenizer).
    #[arg(long, value_name = "RUN")]
    tokenizer: Option<PathBuf>,
    /// How many steps to train in all (train.steps).
    #[arg(long)]
    steps: Option<u64>,
    /// The run's folder; a new run refuses one that holds a run already.
    #[arg(long, value_name = "DIR", default_value = "runs/dit", conflicts_with = "resume")]
    out: PathBuf,
    /// Go on with the run in this folder, from its last checkpoint, with its own settings.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "config"])]
    resume: Option<PathBuf>,
    /// Where to compute: auto, cpu, cuda, cuda:N or sim (the CUDA kernels on the software GPU).
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut set = args.set;
    set.extend(args.latents.map(|dir| format!("data.latents={}", dir.display())));
    set.extend(args.tokenizer.map(|run| format!("data.tokenizer={}", run.display())));
    set.extend(args.steps.map(|steps| format!("train.steps={steps}")));
    let saved = args.resume.as_ref().map(|run| run.join(CONFIG));
    let config = DitConfig::load(args.preset.as_deref(), args.config.as_deref().or(saved.as_deref()), &set)?;
    if let Some(saved) = &saved {
        let planned = DitConfig::load(None, Some(saved), &[])?.train.steps;
        schedule::warn_if_moved(config.optim.schedule, planned, config.train.steps);
    }
    let device = Device::open(args.device)?;
    let (out, start) = match args.resume {
        Some(run) => (run, Start::Resume),
        None => (args.out, Start::New),
    };
    let interrupt = interrupt::install()?;
    let summary = train::run(config, &out, start, &device, &interrupt)?;
    print!("{summary}");
    if summary.interrupted {
        bail!("interrupted at step {}; go on with: vf-engine train-dit --resume {}", summary.step, out.display());
    }
    Ok(())
}
