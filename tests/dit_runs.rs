//! The second stage through the command line: images to latents, a LightningDiT on them, and images again.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::cli::{assert_same_state, fail, last_checkpoint, succeed, text};
use support::second_stage::{IMAGES, bench};
use vf_engine::data::latents::{LatentFolder, LatentStats};
use vf_engine::metrics;

/// A step's losses by name, of every step that logged some.
fn losses(run: &Path) -> Vec<(u64, BTreeMap<String, Option<f64>>)> {
    let records = metrics::read(run).unwrap().into_iter().filter(|record| record.values.contains_key("mse"));
    let without_speed = records.map(|mut record| {
        record.values.remove("images_per_second");
        (record.step, record.values)
    });
    without_speed.collect()
}

fn shards(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.filter(|path| name(path).contains("shard")).map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

#[test]
fn latents_are_laid_out_as_the_reference_does() {
    let bench = bench();
    let written = shards(&bench.path("latents"));
    let names: Vec<&str> = written.keys().map(String::as_str).collect();
    let expected = [0, 1, 2].map(|i| format!("latents_rank00_shard{i:03}.safetensors"));
    assert_eq!(names, expected);
    let first = safetensors::SafeTensors::deserialize(&written[&expected[0]]).unwrap();
    assert_eq!(first.tensor("latents").unwrap().shape(), [3, 16, 4, 4]);
    assert_eq!(first.tensor("latents_flip").unwrap().shape(), [3, 16, 4, 4]);
    assert_eq!(first.tensor("labels").unwrap().dtype(), safetensors::Dtype::I64);
    let (_, header) = safetensors::SafeTensors::read_metadata(&written[&expected[0]]).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!((&*metadata["total_size"], &*metadata["dtype"], &*metadata["device"]), ("3", "torch.float32", "cpu"));

    let folder = LatentFolder::open(bench.path("latents")).unwrap();
    assert_eq!((folder.len(), folder.shape()), (IMAGES, [16, 4, 4]));
    // Images 0, 3, 6 are apples, 1, 4 berries, 2, 5 cherries; the folder's order is by class.
    assert_eq!(folder.labels(), [0, 0, 0, 1, 1, 2, 2]);
    assert_ne!(folder.stored(1, false).collect::<Vec<_>>(), folder.stored(1, true).collect::<Vec<_>>());

    // Normalised by the statistics beside them, every channel has mean 0 and standard deviation 1.
    let stats = LatentStats::of(&folder).unwrap();
    let batch = folder.batch(&stats, (0..IMAGES).collect());
    for channel in 0..16 {
        let values: Vec<f64> = batch.latents.iter().skip(channel).step_by(16).map(|&v| f64::from(v)).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "channel {channel}: {mean} {variance}");
    }
    // The reference takes every safetensors file for a shard: that of the statistics is one without images.
    let stats_file = fs::read(bench.path("latents/latents_stats.safetensors")).unwrap();
    let stats_file = safetensors::SafeTensors::deserialize(&stats_file).unwrap();
    assert_eq!(stats_file.tensor("labels").unwrap().shape(), [0]);
    assert_eq!(stats_file.tensor("std").unwrap().shape(), [1, 16, 1, 1]);
}

#[test]
fn extraction_goes_on_where_it_stopped_and_can_be_shared() {
    let bench = bench();
    succeed(&mut bench.extract("again", &["--batch", "3", "--workers", "1"]));
    let whole = shards(&bench.path("again"));
    assert!(whole == shards(&bench.path("latents")), "latents do not depend on the batch");
    fs::remove_file(bench.path("again/latents_rank00_shard001.safetensors")).unwrap();
    fs::write(bench.path("again/latents_rank00_shard001.safetensors.tmp"), "half").unwrap();
    let printed = succeed(&mut bench.extract("again", &[]));
    assert!(printed.contains("1 shards written") && printed.contains("2 were there"), "{printed}");
    assert!(shards(&bench.path("again")).into_iter().filter(|(name, _)| !name.ends_with("tmp")).eq(whole));

    let other = fail(&mut bench.extract("again", &["--seed", "7"]));
    assert!(other.contains("seed 42, and 7 is wanted"), "{other}");
    let mean = fail(&mut bench.extract("again", &["--posterior", "mean"]));
    assert!(mean.contains("posterior"), "{mean}");

    let share = |rank: &str| succeed(&mut bench.extract("shared", &["--rank", rank, "--world-size", "2"]));
    assert!(share("1").contains("no statistics yet"));
    assert!(share("0").contains("statistics of 7 images"));
    let (alone, shared) =
        (LatentFolder::open(bench.path("latents")).unwrap(), LatentFolder::open(bench.path("shared")).unwrap());
    // Rank 0 has images 0, 2, 4, 6, rank 1 has 1, 3, 5; each latent is what it was.
    for (place, image) in [0, 2, 4, 6, 1, 3, 5].into_iter().enumerate() {
        for mirrored in [false, true] {
            assert!(alone.stored(image, mirrored).eq(shared.stored(place, mirrored)), "image {image}");
        }
        assert_eq!(alone.labels()[image], shared.labels()[place]);
    }
}

#[test]
fn a_resumed_run_equals_an_unbroken_one_bit_for_bit() {
    let bench = bench();
    let keep = ["--set", "train.keep_last=null", "--set", "train.accumulate=2"];
    let schedule = ["--set", "optim.warmup=2", "--set", "optim.schedule=cosine"];
    let stage = ["--set", "train.stages=[{step: 3, set: [transport.use_lognorm=false, optim.lr=1e-3]}]"];
    let guard = ["--set", "train.spike_guard.action=skip", "--set", "train.spike_guard.window=4"];
    // 130 channels inside the MLPs, in memory 136.
    let odd = ["--set", "model.mlp_ratio=4.1"];
    for run in ["unbroken", "resumed"] {
        let mut command = bench.train(run, &["--steps", "5"]);
        succeed(command.args(keep).args(schedule).args(stage).args(guard).args(odd));
    }
    for step in 3..=5 {
        fs::remove_file(bench.path(&format!("resumed/checkpoints/checkpoint_{step:08}.safetensors"))).unwrap();
    }
    assert_eq!(last_checkpoint(&bench.path("resumed")).step(), 2);
    succeed(&mut bench.engine(&["train-dit", "--resume", "resumed"]));
    assert_same_state(&bench.path("unbroken"), &bench.path("resumed"));
    assert_eq!(losses(&bench.path("unbroken")), losses(&bench.path("resumed")));
    assert_eq!(losses(&bench.path("unbroken")).len(), 5);
    let rates: Vec<f64> = losses(&bench.path("resumed")).iter().map(|(_, values)| values["lr"].unwrap()).collect();
    assert!(rates[0] < rates[1] && rates[3] > 2e-4, "warm-up, then the stage's: {rates:?}");
    let names = last_checkpoint(&bench.path("resumed")).names();
    for kind in ["model.pos_embed", "ema.blocks.0.attn.qkv.weight", "optim.exp_avg.blocks.1.mlp.w12.bias"] {
        assert!(names.iter().any(|name| name == kind), "{kind}");
    }
    assert!(!names.iter().any(|name| name == "ema.pos_embed" || name == "optim.exp_avg.pos_embed"));

    // Without a schedule a run may be planned longer afterwards.
    succeed(&mut bench.train("longer", &["--steps", "2"]));
    succeed(&mut bench.engine(&["train-dit", "--resume", "longer", "--steps", "4"]));
    succeed(&mut bench.train("at-once", &["--steps", "4"]));
    assert_same_state(&bench.path("longer"), &bench.path("at-once"));
    // With one it may, too, but its learning rates were planned for fewer.
    succeed(&mut bench.train("falling", &["--steps", "2", "--set", "optim.schedule=cosine"]));
    let moved = bench.engine(&["train-dit", "--resume", "falling", "--steps", "3"]).output().unwrap();
    let moved = text(&moved);
    assert!(moved.contains("the cosine schedule of the learning rate now ends at step 3 instead of 2"), "{moved}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_says_how_to_go_on() {
    let bench = bench();
    let mut command = bench.train("stopped", &["--steps", "100000", "--set", "train.checkpoint_every=0"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while fs::read_to_string(bench.path("stopped/metrics.jsonl")).map_or(0, |text| text.lines().count()) < 2 {
        assert!(Instant::now() < deadline, "no step came");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("train-dit --resume stopped"), "{}", text(&output));
    assert!(last_checkpoint(&bench.path("stopped")).step() >= 1);
}

#[test]
fn a_model_learns() {
    let bench = bench();
    let learn = ["--steps", "400", "--set", "optim.lr=3e-3", "--set", "optim.ema_decay=0.9"];
    succeed(bench.train("learnt", &learn).args(["--set", "train.checkpoint_every=0", "--set", "data.flip=false"]));
    let fixed: Vec<f64> =
        metrics::read(&bench.path("learnt")).unwrap().iter().filter_map(|r| *r.values.get("fixed_mse")?).collect();
    // A new model predicts 0, of which the error is the variance of noise and data together: 2.
    assert!(fixed[0] > 1.5 && *fixed.last().unwrap() < 0.75 * fixed[0], "{fixed:?}");
}

#[test]
fn a_spike_is_skipped_or_undone() {
    let bench = bench();
    // One image of seven whose latents are a thousand times too large, under the statistics of all.
    fs::create_dir(bench.path("spiked")).unwrap();
    for (name, mut bytes) in shards(&bench.path("latents")) {
        if name.ends_with("shard000.safetensors") {
            let shard = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let start = shard.tensor("latents").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
            for value in bytes[start..start + 4 * 4 * 4 * 16].chunks_exact_mut(4) {
                let large = 1e3 * f32::from_le_bytes(value.try_into().unwrap());
                value.copy_from_slice(&large.to_le_bytes());
            }
        }
        fs::write(bench.path("spiked").join(name), bytes).unwrap();
    }
    let stats = "latents_stats.safetensors";
    fs::copy(bench.path("latents").join(stats), bench.path("spiked").join(stats)).unwrap();
    let run = |latents: &str, out: &str, settings: &[&str]| {
        let mut command = bench.engine(&["train-dit", "--preset", "tiny", "--latents", latents, "--out", out]);
        command.args(["--steps", "30", "--set", "train.spike_guard.factor=20"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command
    };
    let data = ["train.batch_size=1", "data.flip=false", "train.checkpoint_every=4"];
    let printed = |out: &str, action: &str| {
        let output = run("spiked", out, &[&data[..], &[action]].concat()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let records = metrics::read(&bench.path(out)).unwrap();
        let recorded = ["skipped", "rolled_back"].map(|what| records.iter().any(|r| r.values.contains_key(what)));
        (text(&output), recorded, last_checkpoint(&bench.path(out)))
    };
    let (skipped, recorded, last) = printed("skipping", "train.spike_guard.action=skip");
    assert!(skipped.contains("skipped step") && skipped.contains("times the median"), "{skipped}");
    assert_eq!((recorded, last.step()), ([true, false], 30));
    // 30 places of 7 images: the image comes once in each of the second to fourth epochs, and before its tenth step the guard sleeps.
    let left_out = 30 - last.state()["updates"].as_u64().unwrap();
    assert!((2..=3).contains(&left_out), "{left_out} steps left out");
    let (undone, recorded, last) = printed("undoing", "train.spike_guard.action=rollback");
    assert!(undone.contains("went back to step"), "{undone}");
    assert_eq!((recorded, last.step()), ([false, true], 30));
    assert!(last.state()["batches"].as_u64().unwrap() > 30, "the data goes on");

    // Weights that are damaged for good end the run.
    let damage = "train.stages=[{step: 14, set: [optim.lr=3.0]}, {step: 15, set: [optim.lr=1e-4]}]";
    for action in ["skip", "rollback"] {
        let settings = [damage, &format!("train.spike_guard.action={action}"), "train.checkpoint_every=5"];
        let error = fail(&mut run("latents", &format!("damaged-{action}"), &settings));
        assert!(error.contains("did not help past step 15"), "{error}");
    }
}

#[test]
fn samples_do_not_depend_on_batches_and_go_on() {
    let bench = bench();
    // Labels count from the third step on: what they modulate by begins at zero, and so does the layer behind it.
    let train = ["--steps", "6", "--tokenizer", "vae", "--set", "train.grid_every=3", "--set", "optim.lr=1e-2"];
    let printed = succeed(&mut bench.train("drawing", &train));
    assert!(bench.path("drawing/grids/step_00000003.png").is_file());
    assert!(printed.contains("sample grid") && bench.path("drawing/grids/step_00000006.png").is_file(), "{printed}");

    let printed = succeed(&mut bench.sample("drawing", "ten", &["--count", "10", "--batch", "10", "--npz"]));
    assert!(printed.contains("10 images made, 0 were there"), "{printed}");
    // 5 points make 4 steps at 0, 0.09…, 0.23, 0.47: guidance is off for the first two, which begin before 0.11.
    assert!(printed.contains("4 with labels, 2 without (25.0 %"), "{printed}");
    let pixels = |out: &str, i: usize| fs::read(bench.path(out).join(format!("images/{i:06}.png"))).unwrap();
    succeed(&mut bench.sample("drawing", "fives", &["--count", "4", "--batch", "3"]));
    let printed = succeed(&mut bench.sample("drawing", "fives", &["--count", "10", "--batch", "5"]));
    assert!(printed.contains("6 images made, 4 were there"), "{printed}");
    for i in 0..10 {
        assert!(pixels("ten", i) == pixels("fives", i), "image {i}");
    }
    assert!(pixels("ten", 0) != pixels("ten", 3), "one class, two seeds");
    assert!(bench.path("ten/grid.png").is_file());

    // The array holds the images' pixels.
    let npz = fs::read(bench.path("ten/samples.npz")).unwrap();
    let start = npz.windows(6).position(|w| w == b"\x93NUMPY").unwrap();
    let header = String::from_utf8_lossy(&npz[start + 10..start + 128]).into_owned();
    assert!(header.contains("'shape': (10, 32, 32, 3)"), "{header}");
    let image = image::open(bench.path("ten/images/000001.png")).unwrap().into_rgb8();
    let at = start + 128 + 32 * 32 * 3;
    assert_eq!(&npz[at..at + 32 * 32 * 3], image.as_raw().as_slice());

    let all = succeed(&mut bench.sample("drawing", "all", &["--count", "2", "--cfg-channels", "all"]));
    assert!(all.contains("2 images made"));
    assert!(pixels("all", 0) != pixels("ten", 0), "guidance of all channels is another");
    let other = fail(&mut bench.sample("drawing", "ten", &["--count", "10", "--cfg", "3"]));
    assert!(other.contains("samples.json") && other.contains("another --out"), "{other}");
    let unknown = fail(&mut bench.sample("drawing", "x", &["--classes", "0,3"]));
    assert!(unknown.contains("class 3 of a model of 3 classes"), "{unknown}");
    for method in ["heun", "dopri5", "sde-euler", "sde-heun"] {
        succeed(&mut bench.sample("drawing", method, &["--count", "1", "--method", method]));
    }
}

/// The software GPU, on which a step's launches are recorded once and run as a graph, or launched one by one: the same bits; and the CPU's
/// losses, but for roundings.
#[test]
fn the_software_gpu_trains_and_samples() {
    if vf_engine::kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return;
    }
    let bench = bench();
    let train = |out: &str, device: &str, graph: &str| {
        let settings = ["--steps", "3", "--device", device, "--set", graph];
        succeed(&mut bench.train(out, &settings));
    };
    train("graph", "sim", "train.cuda_graph=true");
    train("launches", "sim", "train.cuda_graph=false");
    assert_same_state(&bench.path("graph"), &bench.path("launches"));
    train("cpu", "cpu", "train.cuda_graph=true");
    let totals = |run: &str| losses(&bench.path(run)).iter().map(|(_, row)| row["total"].unwrap()).collect::<Vec<_>>();
    for (got, want) in totals("graph").into_iter().zip(totals("cpu")) {
        // Three steps of sums in another order.
        assert!((got - want).abs() < 1e-4 * want, "{got}, and {want} on the CPU");
    }
    let printed =
        succeed(&mut bench.sample("graph", "simulated", &["--tokenizer", "vae", "--count", "2", "--device", "sim"]));
    assert!(printed.contains("2 images made"), "{printed}");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let bench = bench();
    let settings = ["--set", "loss.vf_weight=0", "--set", "model.ch_mult=[1, 1, 1, 1]", "--set", "model.resolution=32"];
    let mut other =
        bench.engine(&["train-vae", "--preset", "tiny", "--images", "images", "--out", "vae2", "--steps", "1"]);
    other.args(settings).args(["--set", "model.attn_resolutions=[4]", "--set", "data.features=null"]);
    succeed(other.args(["--set", "train.seed=9"]));
    let refused = fail(&mut bench.train("refused", &["--tokenizer", "vae2"]));
    assert!(refused.contains("did not make the latents"), "{refused}");
    assert!(!bench.path("refused").exists(), "a refused run leaves nothing behind");

    let size = fail(&mut bench.train("refused", &["--set", "model.input_size=8"]));
    assert!(size.contains("model.input_size is 8") && size.contains("have 4"), "{size}");
    let classes = fail(&mut bench.train("refused", &["--set", "model.num_classes=2"]));
    assert!(classes.contains("model.num_classes is 2") && classes.contains("class 2"), "{classes}");
    let key = fail(&mut bench.train("refused", &["--set", "transport.path_typ=GVP"]));
    assert!(key.contains("did you mean transport.path_type?"), "{key}");
    let weight = fail(&mut bench.train("refused", &["--set", "transport.loss_weight=velocity"]));
    assert!(weight.contains("transport.loss_weight must be null"), "{weight}");
    let nothing = fail(&mut bench.engine(&["train-dit", "--preset", "tiny"]));
    assert!(nothing.contains("data.latents is not set"), "{nothing}");

    fs::create_dir(bench.path("bare")).unwrap();
    for (name, bytes) in shards(&bench.path("latents")) {
        fs::write(bench.path("bare").join(name), bytes).unwrap();
    }
    let no_stats = fail(&mut bench.engine(&["train-dit", "--preset", "tiny", "--latents", "bare", "--out", "refused"]));
    assert!(no_stats.contains("vf-engine extract --stats"), "{no_stats}");
    succeed(&mut bench.engine(&["extract", "--stats", "bare"]));
    let stats = |folder: &str| fs::read(bench.path(folder).join("latents_stats.safetensors")).unwrap();
    assert!(stats("bare") == stats("latents"));
    fs::write(bench.path("bare/latents_rank00_shard002.safetensors"), "no shard").unwrap();
    let broken = fail(&mut bench.engine(&["train-dit", "--preset", "tiny", "--latents", "bare", "--out", "refused"]));
    assert!(broken.contains("shard002"), "{broken}");
}

/// Other predictions and paths train, and are sampled.
#[test]
fn every_path_trains_and_samples() {
    let bench = bench();
    for (i, settings) in [
        ["transport.path_type=VP", "transport.prediction=noise", "sample.sampling_method=sde-euler"],
        ["transport.path_type=GVP", "transport.prediction=score", "sample.sampling_method=heun"],
        ["transport.path_type=VP", "transport.prediction=velocity", "sample.sampling_method=euler"],
    ]
    .iter()
    .enumerate()
    {
        let out = format!("path{i}");
        let mut command = bench.train(&out, &["--steps", "1", "--tokenizer", "vae"]);
        settings.iter().for_each(|s| {
            command.args(["--set", s]);
        });
        succeed(&mut command);
        succeed(&mut bench.sample(&out, &format!("of-{out}"), &["--count", "1"]));
    }
}
