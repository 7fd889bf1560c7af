//! Golden sets: numbers that PyTorch running the reference implementation produced, one `.safetensors` file a set.
//!
//! A set describes itself in its metadata under the key `json` (tests/golden/README.md). [`Golden::open`] reads one,
//! `kind` says which kinds there are and where the files lie. Tensors come as stored ([`Golden::stored`]) or in the
//! engine's layout ([`Golden::tensor`]); parameters that a set leaves to the hash come from [`Golden::param`];
//! [`Golden::check`] compares a result with the tolerance that `compare` derives from the reference's own rounding.

use super::compare::{Noise, Tolerance, compare};
use super::fill;
use super::kind::{Kind, NAMES, identify};
use super::tensor::Tensor;
use anyhow::{Context, Result, anyhow, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use vf_engine::device::{Device, DeviceSpec};

/// What the sets run on: the device that `VF_GOLDEN_DEVICE` names (cpu, cuda, cuda:N or sim); without it the CPU, with memory that
/// nobody wrote full of NaN.
///
/// # Errors
/// An unknown name, or a device that is not there.
pub fn device() -> Result<Device> {
    match std::env::var("VF_GOLDEN_DEVICE") {
        Ok(name) => {
            Ok(Device::open(name.parse::<DeviceSpec>().map_err(|problem| anyhow!("VF_GOLDEN_DEVICE: {problem}"))?)?)
        }
        Err(_) => Ok(Device::cpu_poisoned()),
    }
}

/// One golden set.
#[derive(Debug)]
pub struct Golden {
    pub path: PathBuf,
    pub kind: Kind,
    /// The set's description of itself.
    pub metadata: Value,
    tensors: BTreeMap<String, Tensor>,
    integers: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
}

impl Golden {
    /// Reads a set whole.
    ///
    /// # Errors
    /// Unreadable files, files that are not a golden set, and sets of no known kind; each names the file.
    pub fn open(path: &Path) -> Result<Golden> {
        Golden::read(path).with_context(|| format!("golden set {}", path.display()))
    }

    fn read(path: &Path) -> Result<Golden> {
        let bytes = fs::read(path)?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        let mut golden = Golden {
            path: path.to_owned(),
            kind: Kind::Uniformity,
            metadata: Value::Null,
            tensors: BTreeMap::new(),
            integers: BTreeMap::new(),
        };
        match extension {
            Some("safetensors") => golden.read_safetensors(&bytes)?,
            Some("json") => golden.metadata = serde_json::from_slice(&bytes)?,
            _ => bail!("neither .safetensors nor .json"),
        }
        golden.kind = identify(path, &golden.metadata).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|&(name, _)| name).collect();
            anyhow!("unknown kind: neither metadata nor name is that of {}", known.join(", "))
        })?;
        Ok(golden)
    }

    fn read_safetensors(&mut self, bytes: &[u8]) -> Result<()> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let json = header.metadata().as_ref().and_then(|metadata| metadata.get("json"));
        self.metadata = serde_json::from_str(json.context("no metadata key `json`")?)?;
        for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
            let (shape, data) = (view.shape().to_vec(), view.data());
            match view.dtype() {
                Dtype::F32 => {
                    let data = data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
                    self.tensors.insert(name.to_owned(), Tensor { shape, data });
                }
                Dtype::I64 => {
                    let data = data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect();
                    self.integers.insert(name.to_owned(), (shape, data));
                }
                Dtype::U8 => {
                    let data = data.iter().map(|&b| i64::from(b)).collect();
                    self.integers.insert(name.to_owned(), (shape, data));
                }
                other => bail!("tensor {name}: unexpected dtype {other:?}"),
            }
        }
        Ok(())
    }

    /// The names of all stored f32 tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A stored tensor in the reference's layout.
    pub fn stored(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| anyhow!("{}: no tensor `{name}`", self.path.display()))
    }

    /// A stored tensor in the engine's layout: images and convolution weights channels-last, heads (B, N, heads, d).
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let stored = self.stored(name)?;
        Ok(match self.layout(name, stored.shape.len()) {
            Layout::Same => stored.clone(),
            Layout::ChannelsSecond => stored.channels_last(),
            Layout::HeadsSecond => stored.move_axis(1, 2),
        })
    }

    fn layout(&self, name: &str, axes: usize) -> Layout {
        let op = if self.kind == Kind::Ops { name.split('.').next().unwrap_or("") } else { "" };
        let heads = op == "rope2d" || op.starts_with("sdpa");
        match axes {
            4 if heads => Layout::HeadsSecond,
            4 => Layout::ChannelsSecond,
            3 if op == "l2_normalize" => Layout::ChannelsSecond,
            _ => Layout::Same,
        }
    }

    /// A stored i64 or u8 tensor, in the reference's layout: (shape, values).
    pub fn integers(&self, name: &str) -> Result<(&[usize], &[i64])> {
        let found = self.integers.get(name);
        let (shape, data) = found.ok_or_else(|| anyhow!("{}: no integer tensor `{name}`", self.path.display()))?;
        Ok((shape, data))
    }

    /// The one value of a stored scalar.
    pub fn scalar(&self, name: &str) -> Result<f32> {
        match self.stored(name)?.data[..] {
            [value] => Ok(value),
            _ => bail!("{}: `{name}` is no scalar", self.path.display()),
        }
    }

    /// Parameter `name` (the reference's name, no `param.`) of `shape`, both layout and values the reference's:
    /// stored, or else filled from the hash.
    ///
    /// # Errors
    /// Where the set has no such parameter, or has it in another shape.
    pub fn param(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let key = format!("param.{name}");
        let place = || format!("{}: parameter `{name}`", self.path.display());
        if let Some(stored) = self.tensors.get(&key) {
            ensure!(stored.shape == shape, "{}: {:?}, not {shape:?}", place(), stored.shape);
            return Ok(stored.clone());
        }
        if let Some(described) = self.shape(&key) {
            ensure!(described == shape, "{}: {described:?}, not {shape:?}", place());
        }
        let seed = self.metadata["fill_seed"].as_u64();
        let seed = seed.with_context(|| format!("{}: neither stored nor filled", place()))?;
        let rule = match &self.metadata["fill"] {
            Value::Null => fill::default_rule(name, shape),
            rules => rules.get(name).and_then(|rule| {
                let entry = |i: usize| rule[i].as_f64().map(|v| v as f32);
                Some((entry(0)?, entry(1)?))
            }),
        };
        let (scale, offset) = rule.with_context(|| format!("{}: no fill rule", place()))?;
        Ok(Tensor { shape: shape.to_vec(), data: fill::hash_fill(name, seed, shape.iter().product(), scale, offset) })
    }

    /// The names of all parameters, stored or filled; empty where the set leaves even the names to the model.
    pub fn param_names(&self) -> BTreeSet<String> {
        let stored = self.tensors.keys().filter_map(|name| name.strip_prefix("param."));
        let filled = self.metadata["fill"].as_object().into_iter().flat_map(|rules| rules.keys());
        stored.map(str::to_owned).chain(filled.cloned()).collect()
    }

    /// The shape that the metadata gives for a tensor, stored or not, in the reference's layout.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let sizes = self.metadata["shapes"].get(name)?.as_array()?;
        sizes.iter().map(|size| size.as_u64().map(|size| size as usize)).collect()
    }

    /// The reference's own rounding noise in a tensor; `None` where the set gives none.
    pub fn noise(&self, name: &str) -> Option<Noise> {
        let entry = self.metadata["err_f32_vs_f64"].get(name)?;
        Some(Noise { absolute: entry[0].as_f64()?, relative: entry[1].as_f64()? })
    }

    /// The tolerance for a tensor: see `compare` for the rule and its reasons.
    pub fn tolerance(&self, name: &str) -> Result<Tolerance> {
        let noise = self.noise(name);
        let largest = if self.vanishes(name) { self.largest_gradient(name) } else { self.stored(name)?.largest() };
        Ok(Tolerance::new(noise, largest))
    }

    /// Whether a gradient is zero but for rounding, by the set's list or because its noise exceeds its values.
    fn vanishes(&self, name: &str) -> bool {
        let listed = self.metadata["zero_grad_params"].as_array().is_some_and(|zeros| {
            let parameter = name.split_once('.').map(|(_, parameter)| parameter);
            zeros.iter().any(|zero| zero.as_str() == parameter)
        });
        let gradient = name.starts_with('g') || name.contains(".grad_");
        gradient && (listed || self.noise(name).is_some_and(|noise| noise.relative >= 1.0))
    }

    /// The largest entry of all gradients that `name` belongs with: its model's, or its operation's.
    fn largest_gradient(&self, name: &str) -> f64 {
        if let Some(largest) = self.metadata["grad_global_max"].as_f64() {
            return largest;
        }
        let op = name.split('.').next().unwrap_or("");
        let gradients = self
            .tensors
            .iter()
            .filter(|(other, _)| other.strip_prefix(op).is_some_and(|rest| rest.starts_with(".grad_")));
        gradients.map(|(_, gradient)| gradient.largest()).fold(0.0, f64::max)
    }

    /// Compares `actual`, in the engine's layout, with the stored tensor; returns the largest error as a share of
    /// the tolerance.
    ///
    /// # Errors
    /// Where the shape differs or an entry is off by more than [`Golden::tolerance`]; names set, tensor and entry.
    pub fn check(&self, name: &str, shape: &[usize], actual: &[f32]) -> Result<f64> {
        let expected = self.tensor(name)?;
        // The files store scalars with shape [1].
        let scalars = expected.data.len() == 1 && shape.is_empty();
        ensure!(
            scalars || expected.shape == shape,
            "{} {name}: shape {shape:?}, golden {:?}",
            self.path.display(),
            expected.shape
        );
        compare(actual, &expected.data, self.tolerance(name)?)
            .with_context(|| format!("{} {name}", self.path.display()))
    }

    /// As [`Golden::check`], for the gradient of parameter `name` (the reference's name): compared whole where the
    /// set has it whole (`grad.X`), else by its samples and its norm (`gsamp.X`, `gnorm.X`).
    ///
    /// # Errors
    /// As [`Golden::check`], and where the set has no gradient of this parameter.
    pub fn check_gradient(&self, name: &str, shape: &[usize], actual: &[f32]) -> Result<f64> {
        let whole = format!("grad.{name}");
        if self.tensors.contains_key(&whole) {
            return self.check(&whole, shape, actual);
        }
        let gradient = Tensor { shape: shape.to_vec(), data: actual.to_vec() };
        let reference = if shape.len() == 4 { gradient.channels_first() } else { gradient };
        let sampled = format!("gsamp.{name}");
        let count = self.stored(&sampled)?.data.len();
        let picked: Vec<f32> =
            fill::sample_indices(reference.data.len(), count).into_iter().map(|i| reference.data[i]).collect();
        let norm = reference.data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let samples = self.check(&sampled, &[count], &picked)?;
        Ok(samples.max(self.check(&format!("gnorm.{name}"), &[1], &[norm as f32])?))
    }
}

enum Layout {
    Same,
    ChannelsSecond,
    HeadsSecond,
}
