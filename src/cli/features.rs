//! `vf-engine features`: computes foundation features of a folder of images once.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use vf_engine::data::ImageFolder;
use vf_engine::device::{Device, DeviceSpec};
use vf_engine::metrics::Progress;
use vf_engine::vision::{Extraction, Options, Style, Vit, Weights};

/// Compute a foundation model's features of a folder of images, once, for training to read.
///
/// The VF loss aligns each latent with the feature that a frozen vision transformer gives for the same 16×16 pixels.
/// Computing these takes longer than the rest of a small model's training step and gives the same numbers in every epoch, so
/// this command stores them: for every image the features of its centre crop and of the mirror image, as f16, in one
/// safetensors file. Train with `--set data.features=FILE`.
///
/// The file remembers the images' names and contents, the size, and the weights' SHA-256. Training refuses it, and says
/// why, when an image was added, removed or changed, or when the size differs. Random crops cannot be cached: for these, give
/// training the weights themselves (data.foundation.weights).
///
/// Weights are safetensors (f32, f16 or bf16) under timm's names: vit_small_patch14_dinov2 to vit_large_patch14_dinov2, without
/// registers, or vit_base_patch16_224.mae and larger. The model's sizes are read off the tensors.
#[derive(clap::Args)]
#[command(
    after_help = "How the model sees an image: the centre crop in [-1, 1], with no ImageNet mean and standard deviation, as
the reference implementation does. DINOv2 sees it resized to 14 pixels per cell of 16, MAE as it is; so a crop of
256 pixels gives a grid of 16×16 features, one per latent.

A crop of 64 or 96 pixels is less than these models can read much from. With --feature-size, a multiple of --size, the
model sees the same crop at that size, and its features are averaged over each latent's cell.

Examples:
  vf-engine features --images photos --weights dinov2_vits14.safetensors --out photos.features
  vf-engine features --images photos --size 96 --feature-size 288 --weights dinov2_vits14.safetensors --out demo.features"
)]
pub struct Args {
    /// The folder of images, flat or one folder per class.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Side of the centre crops that will be trained on, in pixels (model.resolution): a multiple of 16.
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    size: usize,
    /// Side of the crops that the foundation model sees, a multiple of --size [default: --size, as the reference].
    #[arg(long, value_name = "PIXELS")]
    feature_size: Option<usize>,
    /// The foundation model's weights.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The kind of model; auto goes by the patch: 14 pixels for DINOv2, 16 for MAE.
    #[arg(long, value_enum, default_value_t = Model::Auto)]
    model: Model,
    /// Attention heads [default: num_heads in the file's metadata, or one per 64 channels].
    #[arg(long)]
    heads: Option<usize>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Images that go through the model at a time, each with its mirror image.
    #[arg(long, value_name = "IMAGES", default_value_t = 8)]
    batch: usize,
    /// Where to compute: auto, cpu, cuda, cuda:N or sim (the CUDA kernels on the software GPU).
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Auto,
    Dinov2,
    Mae,
}

impl Model {
    fn style(self) -> Option<Style> {
        match self {
            Model::Auto => None,
            Model::Dinov2 => Some(Style::DinoV2),
            Model::Mae => Some(Style::Mae),
        }
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let images = ImageFolder::open(&args.images)?;
    let device = Device::open(args.device)?;
    let options = Options { style: args.model.style(), heads: args.heads };
    let vit = Vit::new(&device, Weights::open(&args.weights)?, options)?;
    let settings =
        Extraction { size: args.size, feature_size: args.feature_size.unwrap_or(args.size), batch: args.batch };
    println!("{vit}");

    let start = Instant::now();
    let batch = args.batch.max(1);
    let mut progress = Progress::new(0, images.len().div_ceil(batch) as u64, batch);
    let report = |done: usize| progress.step(done.div_ceil(batch) as u64, &[]);
    let extracted = vit.extract(&device, &images, settings, &args.weights, &args.out, report);
    progress.finish();
    let extracted = extracted?;

    let ([rows, columns], channels) = (extracted.source.grid, extracted.source.channels);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}: {} images and their mirror images, {rows}×{columns} features of {channels} channels each, in {seconds:.1} s",
        args.out.display(),
        images.len()
    );
    if !extracted.unreadable.is_empty() {
        println!("{} images could not be read and have no features", extracted.unreadable.len());
    }
    Ok(())
}
