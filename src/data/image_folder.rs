//! A folder of images, flat or with one folder per class.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};

use super::decode::Rgb;

/// File name extensions of images, in any case.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// The images of a folder and of the folders in it, in an order that depends on their names alone.
///
/// Images directly in the folder make it flat: no labels. Otherwise its folders are classes, numbered by sorted name,
/// as in torchvision's `ImageFolder`; the order (by folder, then by name) is torchvision's too. Hidden files and
/// folders, and files with other extensions, do not count. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    names: Vec<String>,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
}

impl ImageFolder {
    /// Lists a folder; no image is opened.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`], naming the folder: it cannot be read, holds no image, or one of its classes
    /// holds none (which would shift the labels of all that follow).
    pub fn open(root: impl AsRef<Path>) -> Result<ImageFolder> {
        let root = root.as_ref().to_path_buf();
        if !root.metadata().map_err(|source| Error::io(&root, source))?.is_dir() {
            return Err(Error::data(format!("{} is a file: give the folder that holds the images", root.display())));
        }
        let mut names = Vec::new();
        let mut folders = BTreeSet::new();
        for entry in WalkDir::new(&root).follow_links(true).into_iter().filter_entry(|entry| !hidden(entry)) {
            let entry = entry.map_err(|error| walk_error(&root, error))?;
            if is_image(&entry) {
                names.push(relative_name(&root, entry.path())?);
            } else if entry.depth() == 1 && entry.file_type().is_dir() {
                folders.insert(relative_name(&root, entry.path())?);
            }
        }
        if names.is_empty() {
            let wanted = "put .jpg, .jpeg, .png or .webp files there, or one folder of them per class";
            return Err(Error::data(format!("{} holds no images: {wanted}", root.display())));
        }
        names.sort_unstable_by(|a, b| folder_and_file(a).cmp(&folder_and_file(b)));
        let flat = names.iter().any(|name| !name.contains('/'));
        let classes = if flat { Vec::new() } else { folders.into_iter().collect() };
        let labels = if flat { None } else { Some(labels(&root, &names, &classes)?) };
        Ok(ImageFolder { inner: Arc::new(Inner { root, names, labels, classes }) })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.inner.names.len()
    }

    /// Whether there are no images; never true, since [`open`](ImageFolder::open) refuses such a folder.
    pub fn is_empty(&self) -> bool {
        self.inner.names.is_empty()
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The images' names relative to the folder, with `/` between folders, in order.
    pub fn names(&self) -> &[String] {
        &self.inner.names
    }

    /// SHA-256 of the images' names in order, each ended by a 0 byte; hexadecimal.
    pub fn names_sha256(&self) -> String {
        let mut hash = Sha256::new();
        self.inner.names.iter().for_each(|name| hash.update([name.as_bytes(), &[0]].concat()));
        hexadecimal(hash.finalize().into())
    }

    /// Where image `index` is.
    pub fn path(&self, index: usize) -> PathBuf {
        self.inner.root.join(&self.inner.names[index])
    }

    /// The classes' names by label; none in a flat folder.
    pub fn classes(&self) -> &[String] {
        &self.inner.classes
    }

    /// The class of every image; `None` in a flat folder.
    pub fn labels(&self) -> Option<&[u32]> {
        self.inner.labels.as_deref()
    }

    /// The centre crop of image `index`: (size, size, 3).
    ///
    /// # Errors
    /// Names the file that cannot be read, or is not a whole image.
    pub fn center_crop(&self, index: usize, size: usize) -> Result<Rgb> {
        self.with_path(index, Rgb::open(self.path(index))?.center_crop(size))
    }

    /// Image `index` with its shorter side at `size`.
    pub(super) fn scaled(&self, index: usize, size: usize) -> Result<Rgb> {
        self.with_path(index, Rgb::open(self.path(index))?.scale_shorter_side(size))
    }

    fn with_path(&self, index: usize, image: Result<Rgb>) -> Result<Rgb> {
        image.map_err(|error| Error::data(format!("{}: {error}", self.path(index).display())))
    }
}

/// The SHA-256 of a file's content, in hexadecimal as `sha256sum` prints it.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn sha256_of_file(path: impl AsRef<Path>) -> Result<String> {
    Ok(hexadecimal(sha256(path.as_ref())?))
}

fn hexadecimal(hash: [u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn sha256(path: &Path) -> Result<[u8; 32]> {
    let hash = || -> io::Result<[u8; 32]> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut hash = Sha256::new();
        loop {
            let bytes = file.fill_buf()?;
            if bytes.is_empty() {
                return Ok(hash.finalize().into());
            }
            hash.update(bytes);
            let count = bytes.len();
            file.consume(count);
        }
    };
    hash().map_err(|source| Error::io(path, source))
}

fn hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_image(entry: &DirEntry) -> bool {
    let extension = entry.path().extension().unwrap_or_default().to_ascii_lowercase();
    entry.file_type().is_file() && EXTENSIONS.iter().any(|known| extension == *known)
}

fn relative_name(root: &Path, path: &Path) -> Result<String> {
    let parts = path.strip_prefix(root).unwrap_or(path).iter().map(|part| part.to_str());
    let parts: Option<Vec<&str>> = parts.collect();
    let parts = parts.ok_or_else(|| Error::data(format!("{}: the name is not UTF-8: rename it", path.display())))?;
    Ok(parts.join("/"))
}

fn folder_and_file(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

fn labels(root: &Path, names: &[String], classes: &[String]) -> Result<Vec<u32>> {
    let class_of = |name: &String| {
        let class = name.split('/').next().unwrap_or_default();
        classes.binary_search_by(|known| known.as_str().cmp(class)).map(|label| label as u32)
    };
    // Every image in a folder has the folder as its class, so none is lost here.
    let labels: Vec<u32> = names.iter().flat_map(class_of).collect();
    let used: BTreeSet<u32> = labels.iter().copied().collect();
    if let Some(empty) = (0..classes.len()).find(|&label| !used.contains(&(label as u32))) {
        let folder = root.join(&classes[empty]);
        let message = format!("{}: this class holds no images: remove the folder or fill it", folder.display());
        return Err(Error::data(message));
    }
    Ok(labels)
}

fn walk_error(root: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(root).to_path_buf();
    let message = error.to_string();
    match error.into_io_error() {
        Some(source) => Error::io(path, source),
        None => Error::data(message), // a link that leads back to a folder above it; the message names both
    }
}
