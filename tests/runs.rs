//! Whole runs through the command line: resuming, kills, full disks, and what a person is told when something is wrong.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::cli::{assert_same_state, fail, last_checkpoint, succeed, text};
use tempfile::TempDir;
use vf_engine::checkpoint;
use vf_engine::data::{FeatureCache, FeatureSource, ImageFolder};
use vf_engine::metrics;

const FEATURE_CHANNELS: usize = 24;

/// A folder with a few small images, their features, and room for runs.
struct Workbench {
    folder: TempDir,
}

impl Workbench {
    fn new() -> Workbench {
        let bench = Workbench { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.path("images")).unwrap();
        for i in 0..5u32 {
            let pixel = |x: u32, y: u32| image::Rgb([(x * 7 + i * 40) as u8, (y * 6) as u8, (x * y + i) as u8]);
            image::RgbImage::from_fn(40, 36, pixel).save(bench.path("images").join(format!("{i}.png"))).unwrap();
        }
        let folder = ImageFolder::open(bench.path("images")).unwrap();
        let source = FeatureSource {
            model: "made up".to_string(),
            weights_sha256: "0".repeat(64),
            size: 32,
            feature_size: 32,
            grid: [2, 2],
            channels: FEATURE_CHANNELS,
        };
        let feature =
            |i: usize| (0..4 * FEATURE_CHANNELS).map(|k| ((i * 31 + k * 17) % 23) as f32 / 11.0 - 1.0).collect();
        let features = (0..folder.len()).map(|i| Ok(Some([feature(2 * i), feature(2 * i + 1)])));
        FeatureCache::write(bench.path("features"), &folder, &source, features).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `vf-engine train-vae` of a model small enough for a test.
    fn train(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vf-engine"));
        command.current_dir(self.folder.path()).arg("train-vae").args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn new_run(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.train(&["--preset", "tiny", "--images", "images", "--out", out]);
        let settings = [
            "data.features=features",
            "data.workers=1",
            "model.ch_mult=[1, 1, 1, 1, 1]",
            "model.resolution=32",
            "model.attn_resolutions=[2]",
            "optim.ema_decay=0.9",
            "optim.grad_clip=100.0",
            "train.log_every=1",
            "train.checkpoint_every=1",
            "train.grid_images=2",
        ];
        settings.iter().for_each(|s| {
            command.args(["--set", s]);
        });
        command.args(arguments);
        command
    }
}

/// Every logged value but the speed.
fn logged(run: &Path) -> Vec<(u64, BTreeMap<String, Option<f64>>)> {
    let records = metrics::read(run).unwrap().into_iter();
    let without_speed = records.map(|mut record| {
        record.values.remove("images_per_second");
        (record.step, record.values)
    });
    without_speed.collect()
}

/// Four steps with these settings are two, and two more after resuming; the device is not among a run's settings.
fn check_resuming(device: &str, settings: &[&str]) {
    let bench = Workbench::new();
    let new_run = |out: &str, steps: &str| {
        let mut command = bench.new_run(out, &["--device", device, "--steps", steps]);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        succeed(&mut command);
    };
    new_run("whole", "4");
    new_run("broken", "2");
    succeed(&mut bench.train(&["--device", device, "--resume", "broken", "--steps", "4"]));
    let (whole, broken) = (last_checkpoint(&bench.path("whole")), last_checkpoint(&bench.path("broken")));
    assert_eq!((whole.step(), broken.step()), (4, 4));
    assert!(whole.names().iter().any(|name| name.starts_with("ema.")));
    assert_same_state(&bench.path("whole"), &bench.path("broken"));
    // The run that stopped at 2 drew a grid there, which the unbroken one did not; each step's losses are the same.
    let losses = |run: &str| {
        let rows = logged(&bench.path(run)).into_iter();
        rows.filter(|(_, values)| values.contains_key("nll")).collect::<Vec<_>>()
    };
    assert_eq!(losses("whole"), losses("broken"));
    assert_eq!(losses("whole").len(), 4);
}

#[test]
fn a_resumed_run_equals_an_unbroken_one_bit_for_bit() {
    // Two micro-batches per step, so that the data's position is not the step.
    check_resuming("cpu", &["train.accumulate=2"]);
}

/// The unbroken run records its second step as a CUDA graph and runs that for the rest; the resumed one starts anew with a step that it
/// does not record.
#[test]
fn a_resumed_run_on_the_software_gpu_equals_an_unbroken_one_bit_for_bit() {
    if vf_engine::kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return;
    }
    check_resuming(
        "sim",
        &["train.precision=bf16", "train.cuda_graph=true", "train.batch_size=1", "train.accumulate=2"],
    );
}

#[test]
fn a_run_leaves_what_it_promises() {
    let bench = Workbench::new();
    let printed = succeed(&mut bench.new_run("run", &["--steps", "2"]));
    for line in ["sample grid", "loss curves", "checkpoint", "PSNR", "VF alignment"] {
        assert!(printed.contains(line), "{printed}");
    }
    for file in [
        "config.yaml",
        "metrics.jsonl",
        "losses.png",
        "grids/step_00000002.png",
        "checkpoints/checkpoint_00000002.safetensors",
    ] {
        assert!(bench.path("run").join(file).is_file(), "{file}");
    }
    let refused = fail(&mut bench.new_run("run", &["--steps", "2"]));
    assert!(refused.contains("holds a run already") && refused.contains("--resume run"), "{refused}");
}

#[test]
fn a_killed_run_leaves_its_last_checkpoint_whole() {
    let bench = Workbench::new();
    let checkpoints = bench.path("run").join("checkpoints");
    for delay_ms in [0, 3, 11] {
        let _ = fs::remove_dir_all(bench.path("run"));
        let mut child = bench.new_run("run", &["--steps", "100000"]).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while checkpoint::latest(&checkpoints).ok().flatten().is_none() {
            assert!(Instant::now() < deadline, "no checkpoint came");
            std::thread::sleep(Duration::from_millis(5));
        }
        // A checkpoint is written at every step, so the kill lands somewhere in a write or a step.
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let step = last_checkpoint(&bench.path("run")).step();
        let goal = (step + 1).to_string();
        succeed(&mut bench.train(&["--resume", "run", "--steps", &goal]));
        assert_eq!(last_checkpoint(&bench.path("run")).step(), step + 1);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_says_how_to_go_on() {
    let bench = Workbench::new();
    let mut command = bench.new_run("run", &["--steps", "100000", "--set", "train.checkpoint_every=0"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while fs::read_to_string(bench.path("run").join("metrics.jsonl")).map_or(0, |text| text.lines().count()) < 2 {
        assert!(Instant::now() < deadline, "no step came");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("--resume run"), "{}", text(&output));
    assert!(last_checkpoint(&bench.path("run")).step() >= 1);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_one_sentence_and_loses_nothing() {
    let bench = Workbench::new();
    succeed(&mut bench.new_run("run", &["--steps", "1"]));
    // A limit on the size of files stands for the disk: writes beyond it fail as they do when there is no room.
    let resume = format!(
        "trap '' XFSZ; ulimit -f 100; exec {} train-vae --device cpu --resume run --steps 2",
        env!("CARGO_BIN_EXE_vf-engine")
    );
    let error = fail(Command::new("sh").args(["-c", &resume]).current_dir(bench.folder.path()));
    assert!(error.contains("checkpoint_00000002") && error.contains("too large"), "{error}");
    assert_eq!(last_checkpoint(&bench.path("run")).step(), 1);
    succeed(&mut bench.train(&["--resume", "run", "--steps", "2"]));
}

#[test]
fn mistakes_are_one_sentence() {
    let bench = Workbench::new();
    let unknown_key = fail(&mut bench.new_run("a", &["--set", "loss.kl_wieght=1"]));
    assert!(unknown_key.contains("loss.kl_wieght") && unknown_key.contains("kl_weight"), "{unknown_key}");
    let no_run = fail(&mut bench.train(&["--resume", "nowhere"]));
    assert!(no_run.contains("nowhere"), "{no_run}");
    let bad_value = fail(&mut bench.new_run("b", &["--set", "model.ch=33"]));
    assert!(bad_value.contains("model.ch"), "{bad_value}");
    let other_size =
        fail(&mut bench.new_run("c", &["--set", "model.resolution=16", "--set", "model.attn_resolutions=[]"]));
    assert!(other_size.contains("features"), "{other_size}");

    fs::copy(bench.path("images/0.png"), bench.path("images/9.png")).unwrap();
    let other_images = fail(&mut bench.new_run("d", &[]));
    assert!(other_images.contains("features") && other_images.contains("9.png"), "{other_images}");
    assert!(!bench.path("a").exists() && !bench.path("b").exists(), "a refused run leaves nothing behind");
}

#[test]
fn unreadable_images_are_named_and_counted() {
    let bench = Workbench::new();
    let without_features = ["--steps", "1", "--set", "loss.vf_weight=0", "--set", "data.features=null"];
    let whole = fs::read(bench.path("images/1.png")).unwrap();
    fs::write(bench.path("images/1.png"), &whole[..whole.len() / 2]).unwrap();
    let output = bench.new_run("one", &without_features).args(["--set", "train.batch_size=10"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("1.png"), "{}", text(&output));
    for i in 0..5 {
        fs::write(bench.path(&format!("images/{i}.png")), &whole[..50]).unwrap();
    }
    let error = fail(bench.new_run("all", &without_features).args(["--set", "train.batch_size=10"]));
    assert!(error.contains("unreadable"), "{error}");
}

#[test]
fn a_non_finite_loss_names_the_tensor_or_is_skipped() {
    let bench = Workbench::new();
    // A learning rate this large throws the weights far out within a step or two.
    let explode = ["--steps", "6", "--set", "optim.lr=1e30", "--set", "optim.grad_clip=null"];
    let error = fail(&mut bench.new_run("stop", &explode));
    assert!(error.contains("is not finite") && error.contains("step "), "{error}");
    let output = bench.new_run("skip", &explode).args(["--set", "train.on_non_finite=skip"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("skipped"), "{}", text(&output));
}

#[test]
fn info_describes_the_binary_and_a_missing_gpu_is_one_sentence() {
    let bench = Workbench::new();
    let printed = succeed(Command::new(env!("CARGO_BIN_EXE_vf-engine")).args(["info", "--json"]));
    let info: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(info["cpu"]["threads"].as_u64().unwrap() >= 1);
    let names: Vec<_> = info["kernels"].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"rms_norm_fwd") && names.contains(&"conv2d_fwd"), "{names:?}");
    let listed = info["kernels"].as_array().unwrap().iter().flat_map(|kernel| kernel["cuda"].as_array().unwrap());
    let mut listed: Vec<_> = listed.map(|r| (r["kernel"].as_str().unwrap(), r["arch"].as_str().unwrap())).collect();
    let mut compiled: Vec<_> = vf_engine::kernels::RESOURCES.iter().map(|r| (r.kernel, r.arch)).collect();
    listed.sort_unstable();
    compiled.sort_unstable();
    assert_eq!(listed, compiled, "every entry on every architecture is listed under its kernel");
    if vf_engine::Device::cuda(0).is_err() {
        let mut command = bench.new_run("run", &["--steps", "1"]);
        let error = fail(command.args(["--device", "cuda"]));
        assert!(error.contains("--device cpu") || error.contains("cargo xtask provision"), "{error}");
    }
}

#[test]
fn the_software_gpu_counts_what_kernels_do() {
    if vf_engine::kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return;
    }
    let bench = Workbench::new();
    let engine = || Command::new(env!("CARGO_BIN_EXE_vf-engine"));
    let printed = succeed(engine().args(["info", "--device", "sim"]));
    assert!(printed.contains("on sim (NVIDIA") && printed.contains("(softgpu): sm_"), "{printed}");
    let file = bench.path("counts.json");
    let count = ["bench", "kernels", "--device", "sim", "--filter", "swiglu", "--check", "--json"];
    succeed(engine().args(count).arg(&file));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let first = &report["results"][0];
    assert!(first["kernel"] == "swiglu_fwd_f32" && first["dram_bytes"] == first["minimum_bytes"], "{first}");
}

/// As in `vf-engine info | head`.
#[test]
fn a_reader_that_leaves_ends_neither_a_command_nor_a_run() {
    let bench = Workbench::new();
    // Nobody holds the other end.
    let left = || Stdio::from(io::pipe().unwrap().1);
    let mut info = Command::new(env!("CARGO_BIN_EXE_vf-engine"));
    let output = info.args(["info", "--device", "cpu"]).stdout(left()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    let mut run = bench.new_run("run", &["--steps", "2", "--device", "cpu"]);
    assert!(run.stdout(left()).stderr(left()).status().unwrap().success());
    assert_eq!(last_checkpoint(&bench.path("run")).state()["step"], 2);
}
