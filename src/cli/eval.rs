//! `vf-engine eval`: how good images are.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use vf_engine::data::ImageFolder;
use vf_engine::device::{Device, DeviceSpec};
use vf_engine::eval::reconstruction::{Settings, reconstruct};
use vf_engine::eval::{FrechetStats, ImageFeatures, frechet_distance, image_stats};
use vf_engine::metrics::Progress;
use vf_engine::vae::Tokenizer;
use vf_engine::vision::Options;

/// Evaluate reconstructed and generated images.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Frechet(Frechet),
    Reconstruction(Reconstruction),
}

/// The Fréchet distance between two sets of images, on the features of a frozen foundation model.
///
/// Each side is a folder of images, or statistics that --save wrote. The features of an image are the mean over its patches of
/// the model's last layer, and the distance is named after the model: with DINOv2 ViT-S it is FD-DINOv2-S. It is not FID, whose
/// features are those of an Inception network, and its values cannot be compared with FID's. Square roots of covariances are in
/// f64. Distances depend on the number of images: compare only those over equally many.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vf-engine eval frechet samples/images photos --weights dinov2_vits14.safetensors --size 64
  vf-engine eval frechet photos --save photos.stats --weights dinov2_vits14.safetensors")]
struct Frechet {
    /// A folder of images, or a file of statistics.
    first: PathBuf,
    /// Another; without it the first one's statistics are computed, for --save.
    second: Option<PathBuf>,
    /// The foundation model's weights: safetensors with timm's names.
    #[arg(long, value_name = "FILE", required_unless_present = "second")]
    weights: Option<PathBuf>,
    /// Attention heads [default: num_heads in the file's metadata, or one per 64 channels].
    #[arg(long)]
    heads: Option<usize>,
    /// Side of the centre crops that the model sees, a multiple of 16.
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    size: usize,
    /// Write the first side's statistics to this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// How well a tokenizer gives a folder of images back.
///
/// Every image's centre crop goes through the tokenizer, by the mean of its posterior; the mean PSNR over images is printed. With
/// --out the reconstructions are written, for a look or for `vf-engine eval frechet`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vf-engine eval reconstruction photos --tokenizer runs/photos --out reconstructions")]
struct Reconstruction {
    /// The folder of images.
    images: PathBuf,
    /// The tokenizer: the folder of a run of train-vae, or one of its checkpoints.
    #[arg(long, value_name = "RUN")]
    tokenizer: PathBuf,
    /// The folder to write the reconstructions to, as NNNNNN.png in the order of the images' names.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Side of the centre crops in pixels [default: the tokenizer's resolution].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Use the weights as they were trained, even where the run kept their moving average.
    #[arg(long)]
    no_ema: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Common {
    /// Images that go through the model at a time.
    #[arg(long, value_name = "IMAGES", default_value_t = 16)]
    batch: usize,
    /// Decoding threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N or sim (the CUDA kernels on the software GPU).
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
}

#[derive(Serialize)]
struct Report {
    distance: Option<f64>,
    name: Option<String>,
    features: String,
    images: Vec<usize>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Frechet(args) => frechet(&args),
        What::Reconstruction(args) => reconstruction(&args),
    }
}

fn frechet(args: &Frechet) -> anyhow::Result<()> {
    let device = Device::open(args.common.device)?;
    let extractor = match &args.weights {
        Some(weights) => {
            Some(ImageFeatures::open(&device, weights, Options { heads: args.heads, style: None }, args.size)?)
        }
        None => None,
    };
    let side = |path: &Path| stats(args, &device, extractor.as_ref(), path);
    let first = side(&args.first)?;
    if let Some(path) = &args.save {
        first.save(path)?;
    }
    let second = args.second.as_deref().map(side).transpose()?;
    let distance = second.as_ref().map(|second| frechet_distance(&first, second)).transpose()?;
    let report = Report {
        distance,
        name: extractor.as_ref().map(ImageFeatures::distance_name),
        features: first.features.clone(),
        images: std::iter::once(&first).chain(&second).map(FrechetStats::count).collect(),
    };
    if args.common.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!("features  {}", report.features);
    match (report.distance, &report.images[..]) {
        (Some(distance), [first, second]) => {
            let name = report.name.as_deref().unwrap_or("Fréchet distance");
            println!("{name}  {distance:.4} between {first} and {second} images");
        }
        _ => println!("statistics of {} images", first.count()),
    }
    Ok(())
}

fn stats(
    args: &Frechet,
    device: &Device,
    extractor: Option<&ImageFeatures>,
    path: &Path,
) -> anyhow::Result<FrechetStats> {
    if path.is_file() {
        return Ok(FrechetStats::open(path)?);
    }
    let folder = ImageFolder::open(path)?;
    let Some(extractor) = extractor else {
        anyhow::bail!("{} is a folder of images: give --weights of the model that sees them", path.display());
    };
    let batch = args.common.batch.max(1);
    let mut progress = Progress::new(0, folder.len().div_ceil(batch) as u64, batch);
    let report = |done: usize| progress.step(done.div_ceil(batch) as u64, &[]);
    let stats = image_stats(extractor, device, &folder, args.common.batch, args.common.workers, report);
    progress.finish();
    Ok(stats?)
}

fn reconstruction(args: &Reconstruction) -> anyhow::Result<()> {
    let folder = ImageFolder::open(&args.images)?;
    let device = Device::open(args.common.device)?;
    let tokenizer = Tokenizer::open(&device, &args.tokenizer, !args.no_ema)?;
    let size = args.size.unwrap_or(tokenizer.resolution());
    let settings = Settings { size, batch: args.common.batch, workers: args.common.workers };
    let mut progress = Progress::new(0, folder.len() as u64, 1);
    let report = |done: usize| progress.step(done as u64, &[]);
    let psnr = reconstruct(&tokenizer, &device, &folder, settings, args.out.as_deref(), report);
    progress.finish();
    let psnr = psnr?;
    if args.common.json {
        println!("{}", serde_json::json!({ "psnr": psnr, "images": folder.len(), "size": size }));
        return Ok(());
    }
    println!("tokenizer {}", tokenizer.checkpoint().display());
    println!("PSNR      {psnr:.2} dB over {} images of {size}×{size}", folder.len());
    Ok(())
}
