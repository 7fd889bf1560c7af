//! The library's one error type: every message names what failed, where, and the way out.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in the engine. Messages are whole sentences for a person to act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A configuration file, preset or `--set` is wrong; names the file and the key.
    #[error("{0}")]
    Config(String),
    /// A checkpoint or weight file does not hold what is needed.
    #[error("{0}")]
    Checkpoint(String),
    /// Images or cached features are missing, broken or do not match.
    #[error("{0}")]
    Data(String),
    /// Tensors do not fit together.
    #[error("{op}: {message}")]
    Shape {
        /// The op that refused them.
        op: &'static str,
        /// What does not fit.
        message: String,
    },
    /// A device is missing or refused to work.
    #[error("{0}")]
    Device(String),
    /// A kernel launch failed.
    #[error("launch of {kernel} failed: {message}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// Its geometry, parameters and the device's error.
        message: String,
    },
    /// The tape found a gradient missing, or one too many.
    #[error("{0}")]
    Gradient(String),
    /// A value stopped being finite; names the first tensor that went wrong.
    #[error("{0}")]
    NonFinite(String),
    /// A training run left its course, and the guard against spikes did not bring it back.
    #[error("{0}")]
    Diverged(String),
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An I/O error on `path`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Tensors that do not fit `op`.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Error {
        Error::Shape { op, message: message.into() }
    }

    /// Data that cannot be used.
    pub fn data(message: impl Into<String>) -> Error {
        Error::Data(message.into())
    }
}
