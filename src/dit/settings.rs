//! From configuration to what runs.

use super::guidance::Guidance;
use super::sampler::{LastStep, Method, Sde};
use super::solver::{Dopri5, FixedMethod};
use super::times::{Density, Partial, TimeDistribution};
use super::transport::{DiffusionForm, LossWeight, Path, Prediction};
use super::{DitShape, Sampler, Transport};
use crate::config::{
    DiffusionType, DitConfig, LastStepType, PathType, PredictionType, SampleConfig, SamplingMethod, WeightType,
};
use crate::data::latents::LatentFolder;
use crate::error::{Error, Result};

/// Fills in what the configuration leaves to the data.
///
/// # Errors
/// [`Error::Config`] where the configuration and the data contradict each other.
pub fn resolve(config: &mut DitConfig, latents: &LatentFolder) -> Result<()> {
    let [channels, height, width] = latents.shape();
    if height != width {
        let path = latents.path().display();
        return Err(Error::Config(format!("{path}: latents of {height}×{width}, and the model takes square ones")));
    }
    let classes = latents.labels().iter().max().map_or(0, |&label| label as usize + 1);
    let model = &mut config.model;
    for (key, setting, found) in
        [("model.input_size", &mut model.input_size, height), ("model.in_channels", &mut model.in_channels, channels)]
    {
        let wanted = *setting.get_or_insert(found);
        if wanted != found {
            let path = latents.path().display();
            return Err(Error::Config(format!("{key} is {wanted}, and the latents in {path} have {found}")));
        }
    }
    let wanted = *model.num_classes.get_or_insert(classes);
    if wanted < classes {
        let path = latents.path().display();
        return Err(Error::Config(format!("model.num_classes is {wanted}, and {path} has class {}", classes - 1)));
    }
    config.validate()
}

/// The model's shape as configured.
///
/// # Errors
/// [`Error::Config`] where something is still left to the data ([`resolve`]).
pub fn shape(config: &DitConfig) -> Result<DitShape> {
    let m = &config.model;
    let (Some(input_size), Some(in_channels), Some(num_classes)) = (m.input_size, m.in_channels, m.num_classes) else {
        let keys = "model.input_size, model.in_channels and model.num_classes";
        return Err(Error::Config(format!("{keys} must be set where there are no latents to take them from")));
    };
    Ok(DitShape {
        input_size,
        patch_size: m.patch_size,
        in_channels,
        hidden_size: m.hidden_size,
        depth: m.depth,
        num_heads: m.num_heads,
        mlp_ratio: m.mlp_ratio,
        num_classes,
        class_dropout_prob: m.class_dropout_prob,
        learn_sigma: m.learn_sigma,
        use_qknorm: m.use_qknorm,
        use_swiglu: m.use_swiglu,
        use_rope: m.use_rope,
        use_rmsnorm: m.use_rmsnorm,
        wo_shift: m.wo_shift,
    })
}

/// The transport as configured.
pub fn transport(config: &DitConfig) -> Transport {
    let t = &config.transport;
    Transport {
        path: match t.path_type {
            PathType::Linear => Path::Linear,
            PathType::Gvp => Path::Gvp,
            PathType::Vp => Path::Vp,
        },
        prediction: match t.prediction {
            PredictionType::Velocity => Prediction::Velocity,
            PredictionType::Noise => Prediction::Noise,
            PredictionType::Score => Prediction::Score,
        },
        loss_weight: match t.loss_weight {
            None => LossWeight::None,
            Some(WeightType::Velocity) => LossWeight::Velocity,
            Some(WeightType::Likelihood) => LossWeight::Likelihood,
        },
        cosine_loss: t.use_cosine_loss,
        train_eps: t.train_eps,
        sample_eps: t.sample_eps,
        times: TimeDistribution {
            density: match t.use_lognorm {
                true => Density::LogitNormal { mu: t.lognorm_mu, sigma: t.lognorm_sigma },
                false => Density::Uniform,
            },
            partial: t.partial.map(|range| Partial { range, ratio: t.partial_ratio }),
        },
    }
}

/// The sampler as configured.
pub fn sampler(config: &DitConfig) -> Sampler {
    let s = &config.sample;
    Sampler {
        transport: transport(config),
        method: method(s),
        points: s.num_sampling_steps,
        shift: s.timestep_shift,
        guidance: (s.cfg_scale != 1.0).then_some(Guidance {
            scale: s.cfg_scale as f32,
            channels: s.cfg_channels,
            interval_start: s.cfg_interval_start as f32,
        }),
    }
}

fn method(s: &SampleConfig) -> Method {
    let sde = |heun| {
        Method::Sde(Sde {
            heun,
            form: match s.diffusion_form {
                DiffusionType::Constant => DiffusionForm::Constant,
                DiffusionType::Sbdm => DiffusionForm::Sbdm,
                DiffusionType::Sigma => DiffusionForm::Sigma,
                DiffusionType::Linear => DiffusionForm::Linear,
                DiffusionType::Decreasing => DiffusionForm::Decreasing,
                DiffusionType::IncreasingDecreasing => DiffusionForm::IncreasingDecreasing,
            },
            norm: s.diffusion_norm,
            last_step: match s.last_step {
                LastStepType::None => LastStep::None,
                LastStepType::Mean => LastStep::Mean,
                LastStepType::Tweedie => LastStep::Tweedie,
                LastStepType::Euler => LastStep::Euler,
            },
            last_step_size: s.last_step_size,
        })
    };
    match s.sampling_method {
        SamplingMethod::Euler => Method::Fixed(FixedMethod::Euler),
        SamplingMethod::Heun => Method::Fixed(FixedMethod::Heun),
        SamplingMethod::Midpoint => Method::Fixed(FixedMethod::Midpoint),
        SamplingMethod::Rk4 => Method::Fixed(FixedMethod::Rk4),
        SamplingMethod::Dopri5 => Method::Dopri5(Dopri5 { atol: s.atol, rtol: s.rtol }),
        SamplingMethod::SdeEuler => sde(false),
        SamplingMethod::SdeHeun => sde(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dit::SIZES;

    #[test]
    fn presets_are_the_references_sizes() {
        for (name, _) in SIZES {
            let set = ["input_size=16", "in_channels=32", "num_classes=1000"].map(|key| format!("model.{key}"));
            let config = DitConfig::load(Some(name), None, &set).unwrap();
            assert_eq!(shape(&config).unwrap(), DitShape::named(name, 16, 32).unwrap(), "{name}");
            assert_eq!(transport(&config), Transport::lightning());
            assert_eq!(Sampler { guidance: None, ..sampler(&config) }, Sampler::lightning());
        }
    }
}
