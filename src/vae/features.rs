//! Where a run's foundation features come from.

use crate::config::{Config, FoundationModel};
use crate::data::{FeatureCache, ImageFolder};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::vision::{Options, Style, Vit, Weights};

/// The source of features (B, h·w, Cf) for images of a run.
pub(super) enum Features {
    /// The VF loss is off.
    None,
    /// Computed beforehand for centre crops and their mirror images.
    Cached(FeatureCache),
    /// Computed by a frozen ViT as training goes.
    Online(Vit),
}
