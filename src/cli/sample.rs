//! `vf-engine sample`: images from a trained LightningDiT.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use vf_engine::device::{Device, DeviceSpec};
use vf_engine::dit::generate::{Generator, Request, path};
use vf_engine::metrics::{GridRow, Progress, image_grid, save_png, write_npz};

use super::interrupt;

/// Make images with a LightningDiT that was trained.
///
/// Writes images/NNNNNN.png, grid.png (the first images), samples.json (what they were made with) and, with --npz, samples.npz
/// (arr_0, as ADM's evaluation reads it). Image i starts from noise of seed SEED + i and is the same whatever the batch;
/// only dopri5 chooses its steps by the whole batch. A call that was stopped goes on when it is made again.
///
/// What the run's configuration says under `sample` is the default. Guidance applies to the first three channels of the latents, as
/// in the reference implementation, unless told otherwise, and the unconditional prediction is not computed where it is not
/// used.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vf-engine sample --run runs/dit --classes 207,88 --count 16 --out samples
  vf-engine sample --run runs/dit --count 50000 --batch 64 --npz --out samples/50k
  vf-engine sample --run runs/xl --demo --out samples/demo")]
pub struct Args {
    /// The run of train-dit: its folder, or one of its checkpoints.
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// The run of train-vae that decodes the latents [default: the training run's data.tokenizer].
    #[arg(long, value_name = "RUN")]
    tokenizer: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Images to make.
    #[arg(long, default_value_t = 16)]
    count: usize,
    /// Classes that take turns: numbers, or all.
    #[arg(long, default_value = "all", value_name = "N,N,...")]
    classes: String,
    /// Seed of the first image.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images made at a time.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// The reference's demonstration: eight ImageNet classes at guidance 9, without interval and shift.
    #[arg(long, conflicts_with_all = ["classes", "count", "cfg", "cfg_interval_start", "shift"])]
    demo: bool,
    /// The solver: euler, heun, midpoint, rk4, dopri5, sde-euler or sde-heun (sample.sampling_method).
    #[arg(long)]
    method: Option<String>,
    /// Points of the time grid, one more than there are steps (sample.num_sampling_steps).
    #[arg(long)]
    steps: Option<usize>,
    /// Shift of the time grid (sample.timestep_shift).
    #[arg(long)]
    shift: Option<f64>,
    /// Scale of classifier-free guidance; 1: none (sample.cfg_scale).
    #[arg(long)]
    cfg: Option<f64>,
    /// Guidance from this time on (sample.cfg_interval_start).
    #[arg(long)]
    cfg_interval_start: Option<f64>,
    /// How many channels are guided, the first ones: a number, or all (sample.cfg_channels).
    #[arg(long, value_name = "3|all")]
    cfg_channels: Option<String>,
    /// Another setting of the run's configuration; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Use the weights as they were trained, even where the run kept their moving average.
    #[arg(long)]
    no_ema: bool,
    /// Write samples.npz as well.
    #[arg(long)]
    npz: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N or sim (the CUDA kernels on the software GPU).
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
}

/// The reference's demonstration.
const DEMO_CLASSES: [u32; 8] = [975, 3, 207, 387, 388, 88, 979, 279];
const DEMO_SETTINGS: [&str; 3] = ["sample.cfg_scale=9.0", "sample.cfg_interval_start=0.0", "sample.timestep_shift=0.0"];

/// Images in the grid.
const GRID: usize = 64;

pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = settings(&args);
    let device = Device::open(args.device)?;
    let generator = Generator::open(&device, &args.run, !args.no_ema, args.tokenizer.as_deref(), &settings)?;
    let request = Request {
        classes: match args.demo {
            true => DEMO_CLASSES.to_vec(),
            false => classes(&args.classes, generator.classes())?,
        },
        count: if args.demo { DEMO_CLASSES.len() } else { args.count },
        seed: args.seed,
        batch: args.batch,
    };
    println!("model {}", generator.checkpoint().display());
    let interrupt = interrupt::install()?;
    let mut progress = Progress::new(0, request.count as u64, 1);
    let generated = generator.generate(&request, &args.out, &interrupt, |done| progress.step(done as u64, &[]));
    progress.finish();
    let generated = generated?;
    let (out, [made, old], evaluations) = (args.out.display(), generated.images, generated.evaluations);
    println!("{out}: {made} images made, {old} were there");
    if made > 0 {
        println!(
            "model runs: {} with labels, {} without ({:.1} % of two for each step saved)",
            evaluations.conditional,
            evaluations.unconditional,
            100.0 * evaluations.saved()
        );
    }
    if generated.interrupted {
        bail!("interrupted after {} of {} images; go on with the same command", made + old, request.count);
    }
    let images: Vec<PathBuf> = (0..request.count).map(|i| path(&args.out, i)).collect();
    let grid = args.out.join("grid.png");
    draw_grid(&grid, &images[..images.len().min(GRID)])?;
    println!("grid {}", grid.display());
    if args.npz {
        let npz = args.out.join("samples.npz");
        write_npz(&npz, &images)?;
        println!("array {}", npz.display());
    }
    Ok(())
}

/// The flags as settings over the run's.
fn settings(args: &Args) -> Vec<String> {
    let mut set: Vec<String> = if args.demo { DEMO_SETTINGS.map(str::to_owned).to_vec() } else { vec![] };
    set.extend(args.method.as_ref().map(|method| format!("sample.sampling_method={method}")));
    set.extend(args.steps.map(|steps| format!("sample.num_sampling_steps={steps}")));
    set.extend(args.shift.map(|shift| format!("sample.timestep_shift={shift}")));
    set.extend(args.cfg.map(|scale| format!("sample.cfg_scale={scale}")));
    set.extend(args.cfg_interval_start.map(|start| format!("sample.cfg_interval_start={start}")));
    set.extend(args.cfg_channels.as_ref().map(|channels| {
        let channels = if channels == "all" { "null" } else { channels };
        format!("sample.cfg_channels={channels}")
    }));
    set.extend(args.set.iter().cloned());
    set
}

fn classes(text: &str, known: usize) -> anyhow::Result<Vec<u32>> {
    if text == "all" {
        return Ok((0..known as u32).collect());
    }
    let number = |part: &str| {
        part.trim().parse().with_context(|| format!("--classes {text}: `{part}` is no number; give numbers, or all"))
    };
    text.split(',').map(number).collect()
}

fn draw_grid(path: &Path, images: &[PathBuf]) -> anyhow::Result<()> {
    let (mut pixels, mut size) = (vec![], (0, 0));
    for image in images {
        let image = image::open(image).with_context(|| image.display().to_string())?.into_rgb8();
        size = image.dimensions();
        pixels.extend(image.as_raw().iter().map(|&level| f32::from(level) / 127.5 - 1.0));
    }
    let rows = [GridRow { label: "samples", images: &pixels }];
    let grid = image_grid(&format!("{} samples", images.len()), size.1 as usize, size.0 as usize, &rows)?;
    Ok(save_png(path, &grid)?)
}
