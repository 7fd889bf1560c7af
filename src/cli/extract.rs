//! `vf-engine extract`: latents of a folder of images, for a diffusion transformer to train on.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use vf_engine::data::ImageFolder;
use vf_engine::data::latents::Posterior;
use vf_engine::device::{Device, DeviceSpec};
use vf_engine::metrics::Progress;
use vf_engine::vae::Tokenizer;
use vf_engine::vae::extract::{self, Extraction};

/// Compute the latents of a folder of images, for `train-dit` to train on.
///
/// For every image the tokenizer's latent of its centre crop and that of the mirror image are written, in shards named and laid
/// out as the reference implementation's: latents_rankRR_shardSSS.safetensors with `latents` and `latents_flip` (N, C, h, w) and
/// `labels` (the folders' numbers; 0 for images without folders). Beside them, latents_stats.safetensors holds each channel's mean
/// and standard deviation, and the hash of the tokenizer's weights.
///
/// Shards appear whole or not at all. A run that was stopped goes on with those that are missing when it is started again
/// with the same arguments, and makes the same latents.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vf-engine extract --images imagenet/train --tokenizer runs/vae --out latents/imagenet
  for r in 0 1 2 3; do vf-engine extract ... --device cuda:$r --rank $r --world-size 4 & done
  vf-engine extract --stats latents/imagenet    # statistics alone, of latents that are there")]
pub struct Args {
    /// The folder of images, flat or one folder per class.
    #[arg(long, value_name = "DIR", required_unless_present = "stats")]
    images: Option<PathBuf>,
    /// The tokenizer: the folder of a run of train-vae, or one of its checkpoints.
    #[arg(long, value_name = "RUN", required_unless_present = "stats")]
    tokenizer: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long, value_name = "DIR", required_unless_present = "stats")]
    out: Option<PathBuf>,
    /// Side of the centre crops in pixels [default: the tokenizer's resolution].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// What of the posterior is stored; the reference samples.
    #[arg(long, value_enum, default_value_t = What::Sample)]
    posterior: What,
    /// Seed of the samples.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Use the weights as they were trained, even where the run kept their moving average.
    #[arg(long)]
    no_ema: bool,
    /// Images that go through the encoder at a time, each with its mirror image.
    #[arg(long, value_name = "IMAGES", default_value_t = 20)]
    batch: usize,
    /// Images in a shard.
    #[arg(long, value_name = "IMAGES", default_value_t = 10_000)]
    shard: usize,
    /// Decoding threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// This process among --world-size: it takes every world-size-th image.
    #[arg(long, default_value_t = 0)]
    rank: usize,
    /// How many processes share the work.
    #[arg(long, default_value_t = 1)]
    world_size: usize,
    /// Compute the statistics of the latents in this folder, and nothing else.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["images", "tokenizer", "out"])]
    stats: Option<PathBuf>,
    /// Where to compute: auto, cpu, cuda, cuda:N or sim (the CUDA kernels on the software GPU).
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Sample,
    Mean,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(folder) = args.stats {
        let stats = extract::save_stats(&folder, args.seed)?;
        println!("{}: statistics of {} images", folder.display(), stats.images);
        return Ok(());
    }
    let (images, out) = (args.images.context("--images")?, args.out.context("--out")?);
    let folder = ImageFolder::open(&images)?;
    let device = Device::open(args.device)?;
    let tokenizer = Tokenizer::open(&device, &args.tokenizer.context("--tokenizer")?, !args.no_ema)?;
    let settings = Extraction {
        size: args.size.unwrap_or(tokenizer.resolution()),
        batch: args.batch,
        shard: args.shard,
        posterior: match args.posterior {
            What::Sample => Posterior::Sample,
            What::Mean => Posterior::Mean,
        },
        seed: args.seed,
        workers: args.workers,
        rank: args.rank,
        world: args.world_size,
    };
    println!("tokenizer {} ({})", tokenizer.checkpoint().display(), &tokenizer.hash()[..12]);
    let (start, batch) = (Instant::now(), args.batch.max(1));
    let own = folder.len().saturating_sub(args.rank).div_ceil(args.world_size.max(1));
    let mut progress = Progress::new(0, own.div_ceil(batch) as u64, batch);
    let report = |done: usize| progress.step(done.div_ceil(batch) as u64, &[]);
    let extracted = extract::extract(&tokenizer, &device, &folder, settings, &out, report);
    progress.finish();
    let extracted = extracted?;
    let ([h, w, c], [new, old]) = (tokenizer.latent_shape(settings.size)?, extracted.shards);
    let (seconds, images) = (start.elapsed().as_secs_f64(), extracted.images);
    println!("{}: {images} images and their mirror images, latents of {h}×{w}×{c}", out.display());
    println!("{new} shards written in {seconds:.1} s, {old} were there");
    if !extracted.unreadable.is_empty() {
        println!("{} images could not be read and were left out", extracted.unreadable.len());
    }
    match extracted.stats {
        Some(stats) => println!("statistics of {} images", stats.images),
        None => println!("no statistics yet: other processes' shards are missing"),
    }
    Ok(())
}
