//! The configuration of a LightningDiT run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::{self, Source, Tree};
use super::validate::{Problem, above_zero, check, count, not_negative, optim_problem, train_problem, within};
use super::{Optim, Stage, Train, flow};
use crate::error::{Error, Result};
use crate::training::RunConfig;

const DEFAULT: &str = include_str!("../../configs/dit/default.yaml");

/// One of the reference's sizes.
macro_rules! size {
    ($depth:literal, $hidden:literal, $heads:literal, $patch:literal) => {
        concat!(
            "model: {depth: ",
            $depth,
            ", hidden_size: ",
            $hidden,
            ", num_heads: ",
            $heads,
            ", patch_size: ",
            $patch,
            "}"
        )
    };
}

/// The reference's sizes, and three for a CPU.
const PRESETS: [(&str, &str); 11] = [
    ("XL/1", size!(28, 1152, 16, 1)),
    ("XL/2", size!(28, 1152, 16, 2)),
    ("L/2", size!(24, 1024, 16, 2)),
    ("B/1", size!(12, 768, 12, 1)),
    ("B/2", size!(12, 768, 12, 2)),
    ("1p0B/1", size!(24, 1536, 24, 1)),
    ("1p0B/2", size!(24, 1536, 24, 2)),
    ("1p6B/1", size!(28, 1792, 28, 1)),
    ("small", include_str!("../../configs/dit/small.yaml")),
    ("tiny", include_str!("../../configs/dit/tiny.yaml")),
    ("demo", include_str!("../../configs/dit/demo.yaml")),
];

/// The configuration of a LightningDiT run. Keys carry the reference implementation's names where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitConfig {
    /// The model's shape and switches.
    pub model: DitModel,
    /// The path from noise to data, and what is learnt on it.
    pub transport: TransportConfig,
    /// Latents.
    pub data: DitData,
    /// The optimizer.
    pub optim: Optim,
    /// How images are made.
    pub sample: SampleConfig,
    /// The training loop.
    pub train: Train,
}

/// LightningDiT's shape and switches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitModel {
    /// Side of the latents; that of the data where it is not given.
    pub input_size: Option<usize>,
    /// Channels of the latents; those of the data where they are not given.
    pub in_channels: Option<usize>,
    /// Classes; as many as the data has where they are not given.
    pub num_classes: Option<usize>,
    /// Latent pixels per side of a token.
    pub patch_size: usize,
    /// Channels of a token.
    pub hidden_size: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Channels inside an MLP over those of a token.
    pub mlp_ratio: f64,
    /// The share of labels that training drops.
    pub class_dropout_prob: f64,
    /// Predict a variance too.
    pub learn_sigma: bool,
    /// Normalise queries and keys.
    pub use_qknorm: bool,
    /// SwiGLU instead of GELU.
    pub use_swiglu: bool,
    /// Rotary position embedding.
    pub use_rope: bool,
    /// RMS norm instead of layer norm.
    pub use_rmsnorm: bool,
    /// Modulate without a shift.
    pub wo_shift: bool,
}

/// The path from noise to data, and what is learnt on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportConfig {
    /// The path.
    pub path_type: PathType,
    /// What the model predicts.
    pub prediction: PredictionType,
    /// How the error of a noise or score is weighed over time.
    pub loss_weight: Option<WeightType>,
    /// Add the direction of the velocity to the loss.
    pub use_cosine_loss: bool,
    /// Logit-normal times instead of uniform ones.
    pub use_lognorm: bool,
    /// Mean before the logistic function.
    pub lognorm_mu: f64,
    /// Standard deviation before the logistic function.
    pub lognorm_sigma: f64,
    /// Times of a share of the batches are from this range.
    #[serde(serialize_with = "optional_flow")]
    pub partial: Option<[f64; 2]>,
    /// That share.
    pub partial_ratio: f64,
    /// How far training stays away from ends of the path where its numbers are not finite.
    pub train_eps: Option<f64>,
    /// The same for sampling.
    pub sample_eps: Option<f64>,
}

/// The path from noise to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathType {
    /// Straight.
    Linear,
    /// Generalised variance preserving.
    #[serde(rename = "GVP")]
    Gvp,
    /// Variance preserving.
    #[serde(rename = "VP")]
    Vp,
}

/// What the model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PredictionType {
    /// The path's velocity.
    Velocity,
    /// The noise at its start.
    Noise,
    /// The gradient of the log density.
    Score,
}

/// How the error of a noise or score is weighed over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// As if the velocity were predicted.
    Velocity,
    /// For the likelihood's bound.
    Likelihood,
}

/// Latents to train on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitData {
    /// Folder of latents; relative to the working directory, as all paths.
    pub latents: Option<PathBuf>,
    /// Folder of latents that are not trained on.
    pub valid: Option<PathBuf>,
    /// Images of the validation loss.
    pub valid_images: usize,
    /// Normalise latents by the statistics beside them.
    pub latent_norm: bool,
    /// Multiplies normalised latents.
    pub latent_multiplier: f64,
    /// Take the mirror image's latents half of the time.
    pub flip: bool,
    /// Reading threads.
    pub workers: usize,
    /// The run of `train-vae` that made the latents.
    pub tokenizer: Option<PathBuf>,
}

/// How images are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// The solver.
    pub sampling_method: SamplingMethod,
    /// Points of the time grid.
    pub num_sampling_steps: usize,
    /// The shift of the time grid.
    pub timestep_shift: f64,
    /// Classifier-free guidance; 1: none.
    pub cfg_scale: f64,
    /// Guidance from this time on.
    pub cfg_interval_start: f64,
    /// How many channels are guided; all where it is not given.
    pub cfg_channels: Option<usize>,
    /// Absolute tolerance of dopri5.
    pub atol: f64,
    /// Relative tolerance of dopri5.
    pub rtol: f64,
    /// The diffusion of the stochastic methods.
    pub diffusion_form: DiffusionType,
    /// Multiplies it.
    pub diffusion_norm: f64,
    /// The last step of the stochastic methods.
    pub last_step: LastStepType,
    /// How long it is.
    pub last_step_size: f64,
}

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplingMethod {
    /// One evaluation a step.
    Euler,
    /// Two evaluations a step.
    Heun,
    /// Two evaluations a step.
    Midpoint,
    /// Four evaluations a step.
    Rk4,
    /// Steps of its own choice.
    Dopri5,
    /// Euler-Maruyama.
    SdeEuler,
    /// Heun's method for a stochastic equation.
    SdeHeun,
}

/// The diffusion of a stochastic equation over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffusionType {
    /// The same throughout.
    Constant,
    /// That of the path's forward process.
    Sbdm,
    /// As the path's noise.
    Sigma,
    /// 1 − t.
    Linear,
    /// From 1 to 0 along a squared cosine.
    Decreasing,
    /// A squared sine.
    IncreasingDecreasing,
}

/// The last step of a stochastic equation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastStepType {
    /// None.
    None,
    /// Of the drift.
    Mean,
    /// To the expected data.
    Tweedie,
    /// Of the flow.
    Euler,
}

impl DitConfig {
    /// Lays `preset`, `file` and each `section.key=value` of `set` over the defaults, in this order.
    ///
    /// # Errors
    /// As [`Config::load`](super::Config::load).
    pub fn load(preset: Option<&str>, file: Option<&Path>, set: &[String]) -> Result<DitConfig> {
        tree::load(preset, file, set)
    }

    /// Checks every range; [`DitConfig::load`] has done so already.
    pub fn validate(&self) -> Result<()> {
        tree::validate(self)
    }

    /// The folder of latents, which a preset cannot know.
    ///
    /// # Errors
    /// [`Error::Config`] that says how to give it.
    pub fn training_latents(&self) -> Result<&Path> {
        let advice = "give a folder written by `vf-engine extract`, e.g. `--latents latents`";
        self.data.latents.as_deref().ok_or_else(|| Error::Config(format!("data.latents is not set: {advice}")))
    }

    /// The whole tree as YAML; [`DitConfig::load`] reads it back to an equal configuration.
    ///
    /// # Errors
    /// [`Error::Config`] if a path is not valid UTF-8.
    pub fn to_yaml(&self) -> Result<String> {
        tree::to_yaml(self)
    }

    fn first_problem(&self) -> Option<Problem> {
        [self.model_problem(), self.transport_problem(), self.data_problem(), self.sample_problem()]
            .into_iter()
            .chain([optim_problem(&self.optim), train_problem(&self.train)])
            .find_map(Result::err)
    }

    fn model_problem(&self) -> Result<(), Problem> {
        let model = &self.model;
        for (key, size) in [("model.input_size", model.input_size), ("model.in_channels", model.in_channels)] {
            size.map_or(Ok(()), |size| count(key, size, 1 << 14))?;
        }
        model.num_classes.map_or(Ok(()), |classes| count("model.num_classes", classes, 1 << 24))?;
        count("model.patch_size", model.patch_size, 64)?;
        count("model.hidden_size", model.hidden_size, 1 << 16)?;
        count("model.depth", model.depth, 1 << 10)?;
        count("model.num_heads", model.num_heads, 1 << 10)?;
        let (hidden, heads, patch) = (model.hidden_size, model.num_heads, model.patch_size);
        check(hidden.is_multiple_of(heads), "model.hidden_size", || {
            format!("must be a multiple of model.num_heads, {heads}, not {hidden}")
        })?;
        // The position embedding needs a multiple of 4 as well, and rotary embedding one within each head.
        let step = if model.use_rope { 4 * heads } else { 4 };
        check(hidden.is_multiple_of(step), "model.hidden_size", || {
            format!("must be a multiple of {step} for the position embedding, not {hidden}")
        })?;
        check(model.input_size.is_none_or(|side| side.is_multiple_of(patch)), "model.input_size", || {
            format!("must be a multiple of model.patch_size, {patch}, not {}", model.input_size.unwrap_or_default())
        })?;
        within("model.mlp_ratio", model.mlp_ratio, 0.1, 64.0)?;
        check((0.0..1.0).contains(&model.class_dropout_prob), "model.class_dropout_prob", || {
            format!("must be at least 0 and below 1, not {}", model.class_dropout_prob)
        })
    }

    fn transport_problem(&self) -> Result<(), Problem> {
        let transport = &self.transport;
        check(transport.lognorm_mu.is_finite(), "transport.lognorm_mu", || "must be finite".into())?;
        not_negative("transport.lognorm_sigma", transport.lognorm_sigma)?;
        if let Some([from, to]) = transport.partial {
            check(0.0 <= from && from < to && to <= 1.0, "transport.partial", || {
                format!("must be a range within [0, 1], not [{from}, {to}]")
            })?;
        }
        within("transport.partial_ratio", transport.partial_ratio, 0.0, 1.0)?;
        for (key, eps) in [("transport.train_eps", transport.train_eps), ("transport.sample_eps", transport.sample_eps)]
        {
            eps.map_or(Ok(()), |eps| {
                check(eps > 0.0 && eps < 0.5, key, || format!("must be above 0 and below 0.5, or null, not {eps}"))
            })?;
        }
        let predicted = transport.prediction == PredictionType::Velocity;
        check(!predicted || transport.loss_weight.is_none(), "transport.loss_weight", || {
            "must be null where the velocity is predicted: its error is not weighed".into()
        })
    }

    fn data_problem(&self) -> Result<(), Problem> {
        let data = &self.data;
        count("data.valid_images", data.valid_images, 1 << 24)?;
        above_zero("data.latent_multiplier", data.latent_multiplier)?;
        count("data.workers", data.workers, 1024)
    }

    fn sample_problem(&self) -> Result<(), Problem> {
        let sample = &self.sample;
        check((2..=1 << 20).contains(&sample.num_sampling_steps), "sample.num_sampling_steps", || {
            format!("must be 2 or more, since it counts the ends of the steps, not {}", sample.num_sampling_steps)
        })?;
        not_negative("sample.timestep_shift", sample.timestep_shift)?;
        not_negative("sample.cfg_scale", sample.cfg_scale)?;
        within("sample.cfg_interval_start", sample.cfg_interval_start, 0.0, 1.0)?;
        sample.cfg_channels.map_or(Ok(()), |channels| count("sample.cfg_channels", channels, 1 << 14))?;
        above_zero("sample.atol", sample.atol)?;
        above_zero("sample.rtol", sample.rtol)?;
        not_negative("sample.diffusion_norm", sample.diffusion_norm)?;
        check(sample.last_step_size > 0.0 && sample.last_step_size < 1.0, "sample.last_step_size", || {
            format!("must be above 0 and below 1, not {}", sample.last_step_size)
        })
    }
}

impl Tree for DitConfig {
    const SOURCE: Source =
        Source { default: ("configs/dit/default.yaml", DEFAULT), folder: "configs/dit", presets: &PRESETS };
    const CHANGEABLE: &'static [&'static str] = &["transport.", "optim.", "sample."];

    fn problem(&self) -> Option<Problem> {
        self.first_problem()
    }

    fn stages(&self) -> &[Stage] {
        &self.train.stages
    }
}

impl RunConfig for DitConfig {
    fn optim(&self) -> &Optim {
        &self.optim
    }

    fn train(&self) -> &Train {
        &self.train
    }

    fn at(&self, step: u64) -> Result<DitConfig> {
        tree::at(self, step)
    }

    fn save(&self, path: &Path) -> Result<()> {
        tree::save(self, path)
    }
}

/// The names of the presets.
pub fn dit_preset_names() -> Vec<&'static str> {
    tree::preset_names::<DitConfig>()
}

fn optional_flow<S: serde::Serializer>(list: &Option<[f64; 2]>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match list {
        Some(list) => flow(list, serializer),
        None => serializer.serialize_none(),
    }
}
