//! What every kind of configuration does: presets, files and assignments laid over defaults, saving, stages.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Stage;
use super::layers::Layers;
use super::validate::Problem;
use crate::checkpoint::atomic;
use crate::error::{Error, Result};

/// Where a configuration's values come from.
pub(super) struct Source {
    /// The file that defines which keys there are, by name and text.
    pub default: (&'static str, &'static str),
    /// The folder that presets are said to be in.
    pub folder: &'static str,
    /// The presets by name, each a part of the tree.
    pub presets: &'static [(&'static str, &'static str)],
}

/// A kind of configuration.
pub(super) trait Tree: Serialize + DeserializeOwned + Clone {
    /// Where its values come from.
    const SOURCE: Source;
    /// The sections whose settings a stage may change.
    const CHANGEABLE: &'static [&'static str];

    /// The first value that cannot be.
    fn problem(&self) -> Option<Problem>;

    /// Settings that change during the run.
    fn stages(&self) -> &[Stage];
}

pub(super) fn load<T: Tree>(preset: Option<&str>, file: Option<&Path>, set: &[String]) -> Result<T> {
    let Source { default: (default, text), folder, presets } = T::SOURCE;
    let mut layers = Layers::new(text, default)?;
    if let Some(name) = preset {
        let Some((_, text)) = presets.iter().find(|(known, _)| *known == name) else {
            let names = preset_names::<T>().join(", ");
            return Err(Error::Config(format!("unknown preset `{name}`; the presets are {names}")));
        };
        layers.add(text, &format!("{folder}/{name}.yaml"))?;
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        layers.add(&text, &path.display().to_string())?;
    }
    for assignment in set {
        layers.set(assignment)?;
    }
    let config: T = layers.deserialize()?;
    if let Some((key, message)) = config.problem() {
        return Err(layers.error_at(key, &message));
    }
    for stage in config.stages() {
        at(&config, stage.step).map_err(|error| layers.error_at("train.stages", &format!("cannot be: {error}")))?;
    }
    Ok(config)
}

pub(super) fn validate<T: Tree>(config: &T) -> Result<()> {
    config.problem().map_or(Ok(()), |(key, message)| Err(Error::Config(format!("{key} {message}"))))
}

/// The configuration in force after `step` steps: every stage that has begun, in order, over the run's own.
pub(super) fn at<T: Tree>(config: &T, step: u64) -> Result<T> {
    let mut begun: Vec<&Stage> = config.stages().iter().filter(|stage| stage.step <= step).collect();
    if begun.is_empty() {
        return Ok(config.clone());
    }
    begun.sort_by_key(|stage| stage.step);
    let (default, text) = T::SOURCE.default;
    let mut layers = Layers::new(text, default)?;
    layers.add(&to_yaml(config)?, "the run's configuration")?;
    for assignment in begun.iter().flat_map(|stage| &stage.set) {
        if !T::CHANGEABLE.iter().any(|section| assignment.starts_with(section)) {
            let sections = T::CHANGEABLE.join(", ");
            return Err(Error::Config(format!("{assignment}: only {sections} can change during a run")));
        }
        layers.set(assignment)?;
    }
    let config: T = layers.deserialize()?;
    match config.problem() {
        Some((key, message)) => Err(layers.error_at(key, &message)),
        None => Ok(config),
    }
}

pub(super) fn to_yaml<T: Tree>(config: &T) -> Result<String> {
    serde_saphyr::to_string(config)
        .map_err(|error| Error::Config(format!("the configuration cannot be written: {error}")))
}

pub(super) fn save<T: Tree>(config: &T, path: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("# The effective configuration of this run, by vf-engine {version}.\n{}", to_yaml(config)?);
    atomic::write(path, |file| file.write_all(text.as_bytes()))
}

pub(super) fn preset_names<T: Tree>() -> Vec<&'static str> {
    T::SOURCE.presets.iter().map(|(name, _)| *name).collect()
}
