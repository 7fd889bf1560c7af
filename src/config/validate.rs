//! The range of every key.

use super::{Config, Crop, Optim, Train};

/// A key and what is wrong with its value, worded to follow the key.
pub(super) type Problem = (&'static str, String);

/// Groups of every GroupNorm of the model.
const NORM_GROUPS: usize = 32;

impl Config {
    /// The first value that cannot be.
    pub(super) fn first_problem(&self) -> Option<Problem> {
        [
            self.model_problem(),
            self.loss_problem(),
            self.data_problem(),
            optim_problem(&self.optim),
            train_problem(&self.train),
        ]
        .into_iter()
        .find_map(Result::err)
    }

    fn model_problem(&self) -> Result<(), Problem> {
        let model = &self.model;
        check(model.in_channels == 3, "model.in_channels", || {
            format!("must be 3 (images are RGB), not {}", model.in_channels)
        })?;
        check(model.out_ch == 3, "model.out_ch", || format!("must be 3 (images are RGB), not {}", model.out_ch))?;
        count("model.ch", model.ch, 1 << 14)?;
        check((1..=12).contains(&model.ch_mult.len()), "model.ch_mult", || {
            format!("must have 1 to 12 levels, not {}", model.ch_mult.len())
        })?;
        model.ch_mult.iter().try_for_each(|&mult| count("model.ch_mult", mult, 64))?;
        check(model.ch.is_multiple_of(NORM_GROUPS), "model.ch", || {
            format!("must be a multiple of {NORM_GROUPS}, the groups of GroupNorm, not {}", model.ch)
        })?;
        count("model.num_res_blocks", model.num_res_blocks, 64)?;
        count("model.resolution", model.resolution, 1 << 14)?;
        let shrink = 1 << (model.ch_mult.len() - 1);
        check(model.resolution.is_multiple_of(shrink), "model.resolution", || {
            format!(
                "must be a multiple of {shrink}, since {} levels halve it {} times, not {}",
                model.ch_mult.len(),
                model.ch_mult.len() - 1,
                model.resolution
            )
        })?;
        let levels: Vec<_> = (0..model.ch_mult.len()).map(|level| model.resolution >> level).collect();
        if let Some(stray) = model.attn_resolutions.iter().find(|resolution| !levels.contains(resolution)) {
            return Err((
                "model.attn_resolutions",
                format!("holds {stray}, but the levels have the resolutions {levels:?}"),
            ));
        }
        count("model.z_channels", model.z_channels, 1 << 14)?;
        count("model.embed_dim", model.embed_dim, 1 << 14)?;
        check(model.double_z, "model.double_z", || "must be true: the KL loss needs a mean and a log variance".into())
    }

    fn loss_problem(&self) -> Result<(), Problem> {
        let loss = &self.loss;
        not_negative("loss.kl_weight", loss.kl_weight)?;
        not_negative("loss.vf_weight", loss.vf_weight)?;
        not_negative("loss.distmat_weight", loss.distmat_weight)?;
        not_negative("loss.cos_weight", loss.cos_weight)?;
        // Cosines lie in [-1, 1], so they differ by 2 at most.
        within("loss.distmat_margin", loss.distmat_margin, 0.0, 2.0)?;
        within("loss.cos_margin", loss.cos_margin, 0.0, 2.0)
    }

    fn data_problem(&self) -> Result<(), Problem> {
        let data = &self.data;
        count("data.workers", data.workers, 1024)?;
        check(data.features.is_none() || data.crop == Crop::Center, "data.crop", || {
            "must be center with data.features: cached features belong to one crop of each image".into()
        })?;
        check(data.features.is_none() || data.foundation.weights.is_none(), "data.features", || {
            "and data.foundation.weights cannot both be set: features come from the file or from the model".into()
        })
    }
}

pub(super) fn optim_problem(optim: &Optim) -> Result<(), Problem> {
    above_zero("optim.lr", optim.lr)?;
    for beta in optim.betas {
        check((0.0..1.0).contains(&beta), "optim.betas", || format!("must be at least 0 and below 1, not {beta}"))?;
    }
    above_zero("optim.eps", optim.eps)?;
    not_negative("optim.weight_decay", optim.weight_decay)?;
    if let Some(decay) = optim.ema_decay {
        check(decay > 0.0 && decay < 1.0, "optim.ema_decay", || {
            format!("must be above 0 and below 1, or null, not {decay}")
        })?;
    }
    optim.grad_clip.map_or(Ok(()), |norm| above_zero("optim.grad_clip", norm))?;
    within("optim.min_lr", optim.min_lr, 0.0, optim.lr)
}

pub(super) fn train_problem(train: &Train) -> Result<(), Problem> {
    at_least_one("train.steps", train.steps)?;
    count("train.batch_size", train.batch_size, 1 << 16)?;
    count("train.accumulate", train.accumulate, 1 << 16)?;
    at_least_one("train.log_every", train.log_every)?;
    count("train.grid_images", train.grid_images, 256)?;
    train.keep_last.map_or(Ok(()), |count| at_least_one("train.keep_last", count as u64))?;
    let guard = &train.spike_guard;
    check(guard.factor > 1.0 && guard.factor.is_finite(), "train.spike_guard.factor", || {
        format!("must be above 1 and finite, not {}", guard.factor)
    })?;
    count("train.spike_guard.window", guard.window, 1 << 16)
}

pub(super) fn check(holds: bool, key: &'static str, message: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err((key, message())) }
}

/// A count from 1 to `most`; the limit keeps products of sizes far from overflow.
pub(super) fn count(key: &'static str, value: usize, most: usize) -> Result<(), Problem> {
    check((1..=most).contains(&value), key, || format!("must lie between 1 and {most}, not {value}"))
}

pub(super) fn at_least_one(key: &'static str, value: u64) -> Result<(), Problem> {
    check(value > 0, key, || "must be 1 or more, not 0".into())
}

pub(super) fn above_zero(key: &'static str, value: f64) -> Result<(), Problem> {
    check(value > 0.0 && value.is_finite(), key, || format!("must be above 0 and finite, not {value}"))
}

pub(super) fn not_negative(key: &'static str, value: f64) -> Result<(), Problem> {
    check(value >= 0.0 && value.is_finite(), key, || format!("must be 0 or more and finite, not {value}"))
}

pub(super) fn within(key: &'static str, value: f64, low: f64, high: f64) -> Result<(), Problem> {
    check((low..=high).contains(&value), key, || format!("must lie between {low} and {high}, not {value}"))
}
