//! A run's state as a checkpoint: `model.*`, `optim.exp_avg.*`, `optim.exp_avg_sq.*` and `ema.*` under the reference's
//! names and layouts, and the run's counters.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Checkpoint, Entry, Snapshot};
use crate::error::{Error, Result};
use crate::nn::{ParamId, Parameters};
use crate::optim::{Adam, Slot};
use crate::tensor::Tensor;

use super::step::Evaluation;

/// What a run has to remember beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunState {
    /// Steps done, skipped ones included.
    pub step: u64,
    /// Batches drawn from the data; also the number of noise tensors drawn.
    pub batches: u64,
    /// Updates the optimizer made.
    pub updates: u64,
    /// How good the model was before the first step.
    pub first: Evaluation,
}

/// Writes the checkpoint of `state.step` into `folder`, keeping the newest `keep_last`.
pub(super) fn save(
    folder: &Path,
    params: &Parameters,
    adam: &Adam,
    state: &RunState,
    keep_last: Option<usize>,
) -> Result<PathBuf> {
    let mut tensors: Vec<Entry> = params.ids().map(|id| entry(params, "model", id, params.value(id))).collect();
    for slot in adam.slots() {
        tensors.extend(saved(slot).map(|(kind, tensor)| entry(params, kind, slot.id, tensor)));
    }
    let state_json = serde_json::to_value(state).map_err(|e| Error::Checkpoint(format!("the run's state: {e}")))?;
    checkpoint::save(folder, &Snapshot { step: state.step, tensors, state: state_json }, keep_last)
}

/// Restores parameters and optimizer from the checkpoint at `path` and returns the run's counters.
///
/// # Errors
/// A checkpoint of another model, named by its first tensor that does not fit.
pub(super) fn restore(path: &Path, params: &mut Parameters, adam: &mut Adam) -> Result<RunState> {
    let checkpoint = Checkpoint::open(path)?;
    let state: RunState = serde_json::from_value(checkpoint.state().clone())
        .map_err(|e| Error::Checkpoint(format!("{}: not a VA-VAE run's state: {e}", path.display())))?;
    let expected: Vec<(String, Vec<usize>)> = (params.ids().map(|id| ("model", id)))
        .chain(adam.slots().iter().flat_map(|slot| saved(slot).map(|(kind, _)| (kind, slot.id))))
        .map(|(kind, id)| (key(params, kind, id), params.export_shape(id)))
        .collect();
    checkpoint.expect(expected.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))?;
    let read = |params: &Parameters, kind, id| {
        let (shape, values) = checkpoint.tensor(&key(params, kind, id))?;
        params.import(id, &shape, &values)
    };
    for id in params.ids() {
        params.set(id, read(params, "model", id)?)?;
    }
    for slot in adam.slots_mut() {
        slot.exp_avg = read(params, EXP_AVG, slot.id)?;
        slot.exp_avg_sq = read(params, EXP_AVG_SQ, slot.id)?;
        if !slot.ema.is_absent() {
            slot.ema = read(params, EMA, slot.id)?;
        }
    }
    adam.restore(state.updates)?;
    Ok(state)
}

const EXP_AVG: &str = "optim.exp_avg";
const EXP_AVG_SQ: &str = "optim.exp_avg_sq";
const EMA: &str = "ema";

fn saved(slot: &Slot) -> impl Iterator<Item = (&'static str, &Tensor)> {
    let all = [(EXP_AVG, &slot.exp_avg), (EXP_AVG_SQ, &slot.exp_avg_sq), (EMA, &slot.ema)];
    all.into_iter().filter(|(_, tensor)| !tensor.is_absent())
}

fn key(params: &Parameters, kind: &str, id: ParamId) -> String {
    format!("{kind}.{}", params.name(id))
}

fn entry<'a>(params: &'a Parameters, kind: &str, id: ParamId, tensor: &'a Tensor) -> Entry<'a> {
    let shape = params.export_shape(id);
    Entry::lazy(key(params, kind, id), &shape, move || params.export(id, tensor))
}
