//! `vf-engine train-vae`: trains a VA-VAE.

use std::path::PathBuf;

use anyhow::bail;
use vf_engine::config::{self, Config};
use vf_engine::device::{Device, DeviceSpec};
use vf_engine::vae::train::{self, Start};

use super::{interrupt, schedule};

/// Train a VA-VAE on a folder of images.
///
/// Settings come from a preset, then a YAML file, then `--set`, each over the former; configs/default.yaml lists every
/// key with its meaning. The run's folder receives config.yaml (what was in effect), metrics.jsonl and TensorBoard
/// events, grids/ (inputs above reconstructions), losses.png and checkpoints/. Ctrl-C finishes the step and saves;
/// `--resume` goes on as if the run had never stopped.
///
/// The VF loss needs features of a frozen foundation model: either a file that `vf-engine features` wrote
/// (data.features), or the model's weights (data.foundation.weights). `--set loss.vf_weight=0` trains without.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vf-engine train-vae --preset demo --out runs/demo
  vf-engine train-vae --preset f16d32 --set data.images=imagenet/train --set data.foundation.weights=dinov2.safetensors
  vf-engine train-vae --resume runs/demo --steps 2000")]
pub struct Args {
    /// What the settings start from.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(config::preset_names()))]
    preset: Option<String>,
    /// A YAML file over the preset.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over preset and file; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// The folder of images (data.images).
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How many steps to train in all (train.steps).
    #[arg(long)]
    steps: Option<u64>,
    /// The run's folder; a new run refuses one that holds a run already.
    #[arg(long, value_name = "DIR", default_value = "runs/vae", conflicts_with = "resume")]
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
    set.extend(args.images.map(|dir| format!("data.images={}", dir.display())));
    set.extend(args.steps.map(|steps| format!("train.steps={steps}")));
    let saved = args.resume.as_ref().map(|run| run.join("config.yaml"));
    let config = Config::load(args.preset.as_deref(), args.config.as_deref().or(saved.as_deref()), &set)?;
    if let Some(saved) = &saved {
        let planned = Config::load(None, Some(saved), &[])?.train.steps;
        schedule::warn_if_moved(config.optim.schedule, planned, config.train.steps);
    }
    let device = Device::open(args.device)?;
    let (out, start) = match args.resume {
        Some(run) => (run, Start::Resume),
        None => (args.out, Start::New),
    };
    let interrupt = interrupt::install()?;
    let summary = train::run(&config, &out, start, &device, &interrupt)?;
    print!("{summary}");
    if summary.interrupted {
        bail!("interrupted at step {}; go on with: vf-engine train-vae --resume {}", summary.step, out.display());
    }
    Ok(())
}
