//! Presets, layers and every message a wrong configuration gets.

use std::fs;
use std::path::Path;

use vf_engine::config::{Config, Crop, OnNonFinite, preset_names};

fn load(preset: Option<&str>, set: &[&str]) -> Result<Config, String> {
    let set: Vec<_> = set.iter().map(|&text| text.to_owned()).collect();
    Config::load(preset, None, &set).map_err(|error| error.to_string())
}

/// Loads `yaml` as the file `run.yaml`; messages name it without its folder.
fn load_file(yaml: &str, set: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.yaml");
    fs::write(&path, yaml).unwrap();
    let set: Vec<_> = set.iter().map(|&text| text.to_owned()).collect();
    let prefix = format!("{}/", folder.path().display());
    Config::load(Some("tiny"), Some(&path), &set).map_err(|error| error.to_string().replace(&prefix, ""))
}

#[test]
fn presets_are_valid_and_have_their_shapes() {
    for name in preset_names() {
        load(Some(name), &[]).unwrap();
    }
    for (name, z) in [("f16d16", 16), ("f16d32", 32), ("f16d64", 64)] {
        let model = load(Some(name), &[]).unwrap().model;
        assert_eq!((model.ch, model.resolution, model.num_res_blocks), (128, 256, 2));
        assert_eq!((model.ch_mult, model.attn_resolutions), (vec![1, 1, 2, 2, 4], vec![16]));
        assert_eq!((model.z_channels, model.embed_dim), (z, z));
    }
    let small = load(Some("small"), &[]).unwrap().model;
    assert_eq!((small.ch, small.resolution), (64, 128));
    let tiny = load(Some("tiny"), &[]).unwrap().model;
    assert_eq!((tiny.ch, tiny.resolution), (32, 64));
}

#[test]
fn defaults_are_the_reference_objective() {
    let config = load(None, &[]).unwrap();
    assert_eq!(config.loss.kl_weight, 1e-6);
    assert_eq!((config.loss.cos_margin, config.loss.distmat_margin), (0.5, 0.25));
    assert_eq!((config.optim.lr, config.optim.betas), (1e-4, [0.5, 0.9]));
    assert!(config.loss.adaptive_vf && config.loss.reverse_proj && !config.loss.pp_style);
}

#[test]
fn later_layers_win_key_by_key() {
    let yaml = "train:\n  steps: 7\n  batch_size: 3\noptim: # all defaults\n";
    let config =
        load_file(yaml, &["train.steps=9", "data.features=null", "data.crop=random", "data.foundation={model: mae}"])
            .unwrap();
    assert_eq!(config.train.steps, 9, "--set over file");
    assert_eq!(config.train.batch_size, 3, "file over preset");
    assert_eq!(config.model.ch, 32, "preset over defaults");
    assert_eq!(config.train.log_every, load(None, &[]).unwrap().train.log_every);
    assert_eq!(config.data.crop, Crop::Random);
}

#[test]
fn set_is_typed_by_yaml() {
    let set = ["optim.lr=1e-4", "optim.ema_decay=0.999", "train.keep_last=null", "model.ch_mult=[1, 2]"];
    let config =
        load(Some("f16d32"), &[&set[..], &["model.attn_resolutions=[]", "data.images=a b/c=d"]].concat()).unwrap();
    assert_eq!((config.optim.lr, config.optim.ema_decay, config.train.keep_last), (1e-4, Some(0.999), None));
    assert_eq!(config.model.ch_mult, [1, 2]);
    assert_eq!(config.data.images.as_deref(), Some(Path::new("a b/c=d")));
}

#[test]
fn the_saved_configuration_reads_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    for name in preset_names() {
        let mut config = load(Some(name), &["optim.lr=3.3e-7", "train.seed=18446744073709551615"]).unwrap();
        config.data.images = Some("photos: \"mine\" # and yours".into());
        config.optim.grad_clip = Some(0.1 + 0.2);
        config.train.on_non_finite = OnNonFinite::Skip;
        config.save(&path).unwrap();
        assert_eq!(Config::load(None, Some(&path), &[]).unwrap(), config);
    }
}

#[test]
fn training_says_what_it_lacks() {
    let lacking = |set: &[&str]| load(Some("f16d32"), set).unwrap().training_images().unwrap_err().to_string();
    assert_eq!(
        lacking(&["data.images=photos"]),
        "the VF loss needs foundation features: set data.features to a file written by `vf-engine features`, or \
         data.foundation.weights to a foundation model's weights, or loss.vf_weight to 0 to train without it"
    );
    assert_eq!(
        lacking(&["loss.vf_weight=0"]),
        "data.images is not set: give a folder of images, e.g. `--set data.images=photos`"
    );
    let config = load(Some("f16d32"), &["data.features=f", "data.images=photos"]).unwrap();
    assert_eq!(config.training_images().unwrap(), Path::new("photos"));
}

const TRAIN_KEYS: &str = "accumulate, batch_size, checkpoint_activations, checkpoint_every, cuda_graph, debug_non_finite, debug_sync, grid_every, grid_images, \
                          keep_last, log_every, on_non_finite, precision, seed, steps";

#[test]
fn wrong_files_get_one_sentence() {
    let cases = [
        (
            "train:\n  stepz: 3",
            &*format!(
                "run.yaml:2:3: unknown key train.stepz; did you mean train.steps? The keys of train are {TRAIN_KEYS}"
            ),
        ),
        (
            "trian:\n  steps: 3",
            "run.yaml:2:3: unknown key trian.steps; did you mean train.steps? The sections are data, loss, model, optim, train",
        ),
        (
            "lr: 1e-4",
            "run.yaml:1:1: unknown key lr; did you mean optim.lr? The sections are data, loss, model, optim, train",
        ),
        ("xyzzy: 1", "run.yaml:1:1: unknown key xyzzy; the sections are data, loss, model, optim, train"),
        (
            "model:\n  params:\n    ddconfig:\n      z_channels: 32",
            "run.yaml:4:7: unknown key model.params.ddconfig.z_channels; did you mean model.z_channels? The sections are data, loss, model, optim, train",
        ),
        (
            "data:\n  foundation:\n    weihgts: a",
            "run.yaml:3:5: unknown key data.foundation.weihgts; did you mean data.foundation.weights? The keys of data.foundation are model, weights",
        ),
        ("data:\n  foundation: null", "run.yaml:2:3: data.foundation is a section, with the keys model, weights"),
        ("train: 3", &*format!("run.yaml:1:1: train is a section, with the keys {TRAIN_KEYS}")),
        (
            "loss:\n  disc_start: 5001",
            "run.yaml:2:3: loss.disc_start cannot be set: the discriminator and its loss are not in this version yet, the objective is L1, KL and VF",
        ),
        (
            "loss:\n  perceptual_weight: 1",
            "run.yaml:2:3: loss.perceptual_weight cannot be set: the LPIPS loss is not in this version yet, the objective is L1, KL and VF",
        ),
        ("- 3", "run.yaml:1:1: expected sections such as `train:`, not [3]"),
        ("train:\n  steps: abc", "run.yaml:2:3: train.steps must be a whole number, 0 or more, not the text \"abc\""),
        ("train:\n  steps: 1.5", "run.yaml:2:3: train.steps must be a whole number, 0 or more, not 1.5"),
        ("train:\n  steps: -1", "run.yaml:2:3: train.steps must be a whole number, 0 or more, not -1"),
        ("train:\n  steps:", "run.yaml:2:3: train.steps must be a whole number, 0 or more, not null (nothing)"),
        ("optim:\n  ema_decay: yes", "run.yaml:2:3: optim.ema_decay must be a number or null, not true"),
        ("data:\n  flip: maybe", "run.yaml:2:3: data.flip must be true or false, not the text \"maybe\""),
        ("data:\n  images: 3", "run.yaml:2:3: data.images must be text or null, not 3"),
        ("data:\n  crop: centre", "run.yaml:2:3: data.crop must be `center` or `random`, not the text \"centre\""),
        ("train:\n  on_non_finite: no", "run.yaml:2:3: train.on_non_finite must be `stop` or `skip`, not false"),
        ("model:\n  ch_mult: 3", "run.yaml:2:3: model.ch_mult must be a list such as [1, 2], not 3"),
        (
            "model:\n  ch_mult: [1, a]",
            "run.yaml:2:3: model.ch_mult[1] must be a whole number, 0 or more, not the text \"a\"",
        ),
        ("optim:\n  betas: [0.5]", "run.yaml:2:3: optim.betas must be a list of two numbers, not [0.5]"),
        (
            "optim:\n  betas: [0.5, 0.9, 0.9]",
            "run.yaml:2:3: optim.betas must be a list of two numbers, not [0.5,0.9,0.9]",
        ),
        ("optim:\n  lr: .inf", "run.yaml:2:7: value `.inf` is not a finite number"),
        ("optim:\n  lr: 1e-4\n  lr: 2e-4", "run.yaml:3:3: duplicate mapping key `lr` is not allowed here"),
        ("optim:\n\tlr: 3", "run.yaml:2:2: tabs disallowed within this context (block indentation)"),
    ];
    for (yaml, message) in cases {
        assert_eq!(load_file(yaml, &[]).unwrap_err(), message, "for {yaml:?}");
    }
}

#[test]
fn impossible_values_get_one_sentence() {
    let cases = [
        ("model.in_channels=4", "must be 3 (images are RGB), not 4"),
        ("model.out_ch=1", "must be 3 (images are RGB), not 1"),
        ("model.ch=0", "must lie between 1 and 16384, not 0"),
        ("model.ch=48", "must be a multiple of 32, the groups of GroupNorm, not 48"),
        ("model.ch_mult=[]", "must have 1 to 12 levels, not 0"),
        ("model.ch_mult=[1, 0]", "must lie between 1 and 64, not 0"),
        ("model.num_res_blocks=0", "must lie between 1 and 64, not 0"),
        ("model.resolution=72", "must be a multiple of 16, since 5 levels halve it 4 times, not 72"),
        ("model.attn_resolutions=[4, 7]", "holds 7, but the levels have the resolutions [64, 32, 16, 8, 4]"),
        ("model.z_channels=0", "must lie between 1 and 16384, not 0"),
        ("model.embed_dim=0", "must lie between 1 and 16384, not 0"),
        ("model.double_z=false", "must be true: the KL loss needs a mean and a log variance"),
        ("loss.kl_weight=-1", "must be 0 or more and finite, not -1"),
        ("loss.vf_weight=-0.1", "must be 0 or more and finite, not -0.1"),
        ("loss.distmat_weight=-1", "must be 0 or more and finite, not -1"),
        ("loss.cos_weight=-1", "must be 0 or more and finite, not -1"),
        ("loss.distmat_margin=2.5", "must lie between 0 and 2, not 2.5"),
        ("loss.cos_margin=-0.5", "must lie between 0 and 2, not -0.5"),
        ("data.workers=0", "must lie between 1 and 1024, not 0"),
        ("optim.lr=0", "must be above 0 and finite, not 0"),
        ("optim.betas=[0.5, 1]", "must be at least 0 and below 1, not 1"),
        ("optim.eps=0", "must be above 0 and finite, not 0"),
        ("optim.weight_decay=-1", "must be 0 or more and finite, not -1"),
        ("optim.ema_decay=1", "must be above 0 and below 1, or null, not 1"),
        ("optim.grad_clip=0", "must be above 0 and finite, not 0"),
        ("train.steps=0", "must be 1 or more, not 0"),
        ("train.batch_size=0", "must lie between 1 and 65536, not 0"),
        ("train.accumulate=0", "must lie between 1 and 65536, not 0"),
        ("train.log_every=0", "must be 1 or more, not 0"),
        ("train.grid_images=0", "must lie between 1 and 256, not 0"),
        ("train.keep_last=0", "must be 1 or more, not 0"),
    ];
    for (set, message) in cases {
        let key = set.split('=').next().unwrap();
        assert_eq!(load(Some("tiny"), &[set]).unwrap_err(), format!("--set {set}: {key} {message}"));
    }
}

#[test]
fn contradictions_and_wrong_arguments_get_one_sentence() {
    let failing = |set: &[&str]| load(Some("tiny"), set).unwrap_err();
    assert_eq!(
        failing(&["data.features=f", "data.crop=random"]),
        "--set data.crop=random: data.crop must be center with data.features: cached features belong to one crop of each image"
    );
    assert_eq!(
        failing(&["data.features=f", "data.foundation.weights=w"]),
        "--set data.features=f: data.features and data.foundation.weights cannot both be set: features come from the file or from the model"
    );
    assert_eq!(failing(&["train.steps"]), "--set train.steps: expected section.key=value");
    assert_eq!(failing(&["=3"]), "--set =3: expected section.key=value");
    assert_eq!(failing(&["model.ch_mult=[1, 2"]), "--set model.ch_mult=[1, 2: unclosed bracket '['");
    assert_eq!(
        load(Some("huge"), &[]).unwrap_err(),
        "unknown preset `huge`; the presets are f16d16, f16d32, f16d64, small, tiny, demo"
    );
    let missing = Config::load(None, Some(Path::new("no/such.yaml")), &[]).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.yaml: "), "{missing}");
}

#[test]
fn validate_checks_a_configuration_made_in_code() {
    let mut config = load(Some("tiny"), &[]).unwrap();
    config.validate().unwrap();
    config.optim.lr = f64::NAN;
    assert_eq!(config.validate().unwrap_err().to_string(), "optim.lr must be above 0 and finite, not NaN");
}
