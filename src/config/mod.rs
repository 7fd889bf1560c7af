//! What a run does: one YAML tree of `section.key: value`.
//!
//! [`Config::load`] lays a preset, a file and `--set section.key=value` over `configs/default.yaml`, key by key. A key
//! that the defaults do not have and a value that cannot be are errors before anything starts, and name where they were
//! written. The effective configuration is saved with the run ([`Config::save`]) and can be loaded like any other file.

mod dit;
mod layers;
mod tree;
mod validate;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

pub use dit::{
    DiffusionType, DitConfig, DitData, DitModel, LastStepType, PathType, PredictionType, SampleConfig, SamplingMethod,
    TransportConfig, WeightType, dit_preset_names,
};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::training::RunConfig;
use tree::{Source, Tree};
use validate::Problem;

const DEFAULT: &str = include_str!("../../configs/default.yaml");

/// The presets by name, each a part of the tree laid over the defaults.
const PRESETS: [(&str, &str); 6] = [
    ("f16d16", include_str!("../../configs/f16d16.yaml")),
    ("f16d32", include_str!("../../configs/f16d32.yaml")),
    ("f16d64", include_str!("../../configs/f16d64.yaml")),
    ("small", include_str!("../../configs/small.yaml")),
    ("tiny", include_str!("../../configs/tiny.yaml")),
    ("demo", include_str!("../../configs/demo.yaml")),
];

/// The configuration of a VA-VAE run. Keys carry the reference implementation's names where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The VA-VAE's shape.
    pub model: Model,
    /// The objective.
    pub loss: Loss,
    /// Images and foundation features.
    pub data: Data,
    /// The optimizer.
    pub optim: Optim,
    /// The training loop.
    pub train: Train,
}

/// The VA-VAE's shape (the reference's `ddconfig` and `embed_dim`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Channels of the input; 3, for RGB.
    pub in_channels: usize,
    /// Channels of the output; 3, for RGB.
    pub out_ch: usize,
    /// Channels of the first level.
    pub ch: usize,
    /// Channels of each level as multiples of `ch`. Each level after the first halves the resolution.
    #[serde(serialize_with = "flow")]
    pub ch_mult: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub num_res_blocks: usize,
    /// Resolutions (pixels per side) of the levels that have attention.
    #[serde(serialize_with = "flow")]
    pub attn_resolutions: Vec<usize>,
    /// Pixels per side of a training image.
    pub resolution: usize,
    /// Channels of the encoder's mean and of the decoder's input.
    pub z_channels: usize,
    /// Channels of the latents.
    pub embed_dim: usize,
    /// The encoder gives mean and log variance; always true for this model.
    pub double_z: bool,
}

/// The objective (the reference's `lossconfig`): L1 + KL + VF.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Weight of the KL divergence.
    pub kl_weight: f64,
    /// Means instead of sums in L1 and KL.
    pub pp_style: bool,
    /// Weight of the VF loss; 0 trains without a foundation model.
    pub vf_weight: f64,
    /// Multiply `vf_weight` by ‖∇nll‖ / (‖∇vf‖ + 1e-4) at the encoder's last layer.
    pub adaptive_vf: bool,
    /// Weight of the marginal distance matrix similarity loss within the VF loss.
    pub distmat_weight: f64,
    /// Weight of the marginal cosine similarity loss within the VF loss.
    pub cos_weight: f64,
    /// Differences between cosines up to this cost nothing; in [0, 2].
    pub distmat_margin: f64,
    /// Cosines down to 1 − this cost nothing; in [0, 2].
    pub cos_margin: f64,
    /// Project latents to features (true) or features to latents (false).
    pub reverse_proj: bool,
    /// Keep the projection as initialised.
    pub proj_fix: bool,
}

/// Images and the foundation features they are aligned to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder of images, flat or one folder per class; relative to the working directory, as all paths.
    pub images: Option<PathBuf>,
    /// Which square of an image is used.
    pub crop: Crop,
    /// Mirror half of the images.
    pub flip: bool,
    /// Decoding threads.
    pub workers: usize,
    /// Decoded images kept in memory, MiB.
    pub cache_mb: usize,
    /// Foundation features computed beforehand.
    pub features: Option<PathBuf>,
    /// A frozen foundation model that computes features during training.
    pub foundation: Foundation,
}

/// A frozen foundation model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foundation {
    /// The kind of model; its size follows from the weights.
    pub model: FoundationModel,
    /// Its weights (safetensors, timm's names); none: no features are computed during training.
    pub weights: Option<PathBuf>,
}

/// Which square of an image is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// The middle one.
    Center,
    /// Another one every time.
    Random,
}

/// The kinds of foundation model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FoundationModel {
    /// DINOv2 ViTs: patches of 14 pixels, layer scale.
    Dinov2,
    /// MAE ViTs: patches of 16 pixels.
    Mae,
}

/// Adam with decoupled weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optim {
    /// Learning rate, used as it is: never scaled by the batch size.
    pub lr: f64,
    /// Decay of the first and second moment.
    #[serde(serialize_with = "flow")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the weights' exponential moving average; none keeps no average.
    pub ema_decay: Option<f64>,
    /// Largest global gradient norm; none does not clip.
    pub grad_clip: Option<f64>,
    /// Steps over which the learning rate rises to `lr`.
    pub warmup: u64,
    /// How the learning rate goes on after the warm-up.
    pub schedule: Schedule,
    /// The learning rate at the last step, where the schedule falls.
    pub min_lr: f64,
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls evenly.
    Linear,
    /// It falls along half a cosine.
    Cosine,
}

/// The training loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Seed of initialisation, data order and noise.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Images per batch.
    pub batch_size: usize,
    /// Batches per optimizer step.
    pub accumulate: usize,
    /// What the model computes in; parameters, their gradients and the optimizer are f32 in any case.
    pub precision: Precision,
    /// Record a step's launches once and run the recording, where the device is a GPU.
    pub cuda_graph: bool,
    /// Keep less of the forward pass for the backward pass, which computes it again.
    pub checkpoint_activations: bool,
    /// Steps between lines of metrics.
    pub log_every: u64,
    /// Steps between sample grids; 0 draws one at the end only.
    pub grid_every: u64,
    /// Images in a sample grid.
    pub grid_images: usize,
    /// Steps between checkpoints; 0 saves one at the end only.
    pub checkpoint_every: u64,
    /// Checkpoints kept; none keeps all.
    pub keep_last: Option<usize>,
    /// What to do when a loss or a gradient is not finite.
    pub on_non_finite: OnNonFinite,
    /// What to do when a loss or a gradient is far out of line.
    pub spike_guard: SpikeGuard,
    /// Settings that change during the run.
    pub stages: Vec<Stage>,
    /// Wait for the device after every kernel.
    pub debug_sync: bool,
    /// Name the first operation whose output is not finite.
    pub debug_non_finite: bool,
}

/// Looks out for steps out of line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeGuard {
    /// What to do about one.
    pub action: SpikeAction,
    /// How many times the median a loss or a norm must be to be out of line.
    pub factor: f64,
    /// The latest steps, of which the median is taken.
    pub window: usize,
}

/// What to do about a step out of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpikeAction {
    /// Nothing: no guard.
    #[serde(rename = "none")]
    Off,
    /// Leave the weights as they are and go on with the next batch.
    Skip,
    /// Go back to the last checkpoint, and on from there with the next batch.
    Rollback,
}

/// Settings from a step on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The number of steps that were made before.
    pub step: u64,
    /// `section.key=value`, each over what was.
    pub set: Vec<String>,
}

/// What a model computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 throughout.
    F32,
    /// f32 with products of matrices on the tensor cores, whose factors keep 11 bits.
    Tf32,
    /// bf16 activations and matrices, f32 sums.
    Bf16,
}

impl Precision {
    /// The dtype of activations and of the matrices that they meet.
    pub fn dtype(self) -> DType {
        if self == Precision::Bf16 { DType::Bf16 } else { DType::F32 }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// What to do when a loss or a gradient is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNonFinite {
    /// End the run with an error that names the first tensor that went wrong.
    Stop,
    /// Leave the weights as they are and go on with the next batch.
    Skip,
}

impl Tree for Config {
    const SOURCE: Source = Source { default: ("configs/default.yaml", DEFAULT), folder: "configs", presets: &PRESETS };
    const CHANGEABLE: &'static [&'static str] = &["loss.", "optim."];

    fn problem(&self) -> Option<Problem> {
        self.first_problem()
    }

    fn stages(&self) -> &[Stage] {
        &self.train.stages
    }
}

impl RunConfig for Config {
    fn optim(&self) -> &Optim {
        &self.optim
    }

    fn train(&self) -> &Train {
        &self.train
    }

    fn at(&self, step: u64) -> Result<Config> {
        tree::at(self, step)
    }

    fn save(&self, path: &Path) -> Result<()> {
        tree::save(self, path)
    }
}

impl Config {
    /// Lays `preset`, `file` and each `section.key=value` of `set` over the defaults, in this order.
    ///
    /// # Errors
    /// An unknown preset or key, a value of the wrong kind or out of range: [`Error::Config`] in one sentence that names
    /// where it was written, the key, and what is allowed. A file that cannot be read: [`Error::Io`].
    pub fn load(preset: Option<&str>, file: Option<&Path>, set: &[String]) -> Result<Config> {
        tree::load(preset, file, set)
    }

    /// Checks every range; [`Config::load`] has done so already.
    pub fn validate(&self) -> Result<()> {
        tree::validate(self)
    }

    /// The folder of training images, and whether there are features for the VF loss: what a preset cannot know.
    ///
    /// # Errors
    /// [`Error::Config`] that says which key is missing and how to give it.
    pub fn training_images(&self) -> Result<&Path> {
        if self.loss.vf_weight > 0.0 && self.data.features.is_none() && self.data.foundation.weights.is_none() {
            return Err(Error::Config(
                "the VF loss needs foundation features: set data.features to a file written by `vf-engine features`, or \
                 data.foundation.weights to a foundation model's weights, or loss.vf_weight to 0 to train without it"
                    .into(),
            ));
        }
        self.data.images.as_deref().ok_or_else(|| {
            Error::Config("data.images is not set: give a folder of images, e.g. `--set data.images=photos`".into())
        })
    }

    /// The whole tree as YAML; [`Config::load`] reads it back to an equal configuration.
    ///
    /// # Errors
    /// [`Error::Config`] if a path is not valid UTF-8.
    pub fn to_yaml(&self) -> Result<String> {
        tree::to_yaml(self)
    }

    /// Writes the effective configuration to `path`.
    pub fn save(&self, path: &Path) -> Result<()> {
        tree::save(self, path)
    }
}

/// The names of the presets.
pub fn preset_names() -> Vec<&'static str> {
    tree::preset_names::<Config>()
}

/// Writes lists of numbers on one line.
fn flow<T: Serialize, S: Serializer>(list: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serde_saphyr::FlowSeq(list).serialize(serializer)
}
