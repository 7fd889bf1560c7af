//! The kinds of golden sets, how one is recognised, and where the files lie.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a golden set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single operations with their gradients.
    Ops,
    /// Cases of the VF loss.
    VfLoss,
    /// A small VA-VAE: forward, losses, every gradient.
    Vae,
    /// A small frozen DINOv2 ViT.
    VitDinov2,
    /// A small frozen MAE ViT.
    VitMae,
    /// A VA-VAE step with LPIPS and discriminator.
    VaeGan,
    /// The adaptive weights of such a step.
    Adaptive,
    /// The f16d32 VA-VAE at full width.
    FullVaVae,
    /// A small LightningDiT: forward, loss, gradients, optimizer steps.
    Dit,
    /// A LightningDiT at full size.
    FullDit,
    /// Sampling trajectories.
    Sampler,
    /// Paths, conversions, losses and time grids.
    Transport,
    /// Metrics of latent distributions (a `.json` file).
    Uniformity,
}

/// By how a file's name may begin; longer names before those that they begin with.
pub const NAMES: [(&str, Kind); 13] = [
    ("ops", Kind::Ops),
    ("vf_loss", Kind::VfLoss),
    ("vit_dinov2", Kind::VitDinov2),
    ("vit_mae", Kind::VitMae),
    ("vae_gan", Kind::VaeGan),
    ("vae", Kind::Vae),
    ("adaptive", Kind::Adaptive),
    ("full_vavae", Kind::FullVaVae),
    ("full_dit", Kind::FullDit),
    ("dit", Kind::Dit),
    ("sampler", Kind::Sampler),
    ("transport", Kind::Transport),
    ("uniformity", Kind::Uniformity),
];

/// The kind of the set at `path` with this `json` metadata; `None` for a set nobody knows.
///
/// The metadata decides where it can, for a set may have any name; the name's beginning decides the rest.
pub fn identify(path: &Path, metadata: &Value) -> Option<Kind> {
    by_metadata(metadata).or_else(|| {
        let stem = path.file_stem()?.to_str()?;
        NAMES.iter().find(|(name, _)| stem.starts_with(name)).map(|&(_, kind)| kind)
    })
}

fn by_metadata(metadata: &Value) -> Option<Kind> {
    let has = |key: &str| metadata.get(key).is_some();
    let config_has = |key: &str| metadata["config"].get(key).is_some();
    match metadata["kind"].as_str() {
        Some("dinov2") => return Some(Kind::VitDinov2),
        Some("mae") => return Some(Kind::VitMae),
        _ => {}
    }
    if has("ops") {
        Some(Kind::Ops)
    } else if metadata["cases"].get(0).is_some_and(|case| case.get("cos_margin").is_some()) {
        Some(Kind::VfLoss)
    } else if has("syn_disc_weight") {
        Some(Kind::Adaptive)
    } else if has("logit_normal") {
        Some(Kind::Transport)
    } else if has("runs") && has("cfg_scale") {
        Some(Kind::Sampler)
    } else if config_has("ch_mult") {
        // Both larger sets sample their gradients; the one with a discriminator weighs it.
        Some(match (has("disc_weight"), has("sample_index")) {
            (true, _) => Kind::VaeGan,
            (false, true) => Kind::FullVaVae,
            (false, false) => Kind::Vae,
        })
    } else if metadata["config"].as_str().is_some_and(|text| text.starts_with("LightningDiT")) {
        Some(Kind::FullDit)
    } else if config_has("hidden_size") {
        Some(Kind::Dit)
    } else {
        None
    }
}

/// Every golden file: those in tests/golden itself, and those of the directory that `VF_GOLDEN_DIR` names, folders
/// in it included. READMEs are passed over; whatever else lies there is listed, so that an unknown set is an error.
pub fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    // Folders in tests/golden are other tests' own.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    list(&own, false, &mut found)?;
    if let Some(extra) = std::env::var_os("VF_GOLDEN_DIR") {
        list(Path::new(&extra), true, &mut found).context("VF_GOLDEN_DIR")?;
    }
    Ok(found)
}

fn list(directory: &Path, folders: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(directory)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .with_context(|| format!("cannot list {}", directory.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            if folders {
                list(&path, folders, found)?;
            }
        } else if path.extension().is_none_or(|extension| extension != "md") {
            found.push(path);
        }
    }
    Ok(())
}
