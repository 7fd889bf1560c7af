//! Images, batches and cached features, against PIL's numbers and against broken input.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vf_engine::data::ImageFolder;

mod features;
mod folder;
mod images;
mod loader;

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder with copies of bundled photographs under given names.
fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, photo) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(repository("assets/photos").join(photo), path).unwrap();
    }
    folder
}

/// Cuts a file down to its first half.
fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// The message of opening a folder of images, which must fail.
fn refusal(path: &Path) -> String {
    ImageFolder::open(path).map(|folder| folder.names().to_vec()).unwrap_err().to_string()
}
