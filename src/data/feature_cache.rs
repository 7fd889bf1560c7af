//! Features of a frozen foundation model, computed once for a folder of images and read through a memory map.
//!
//! The file is safetensors, so any tool of the field opens it:
//!
//! | tensor | dtype, shape | what |
//! |---|---|---|
//! | `features` | F16 (N, 2, h, w, Cf) | of the centre crops, then of their mirror images |
//! | `readable` | U8 (N) | 0 where an image could not be read; its features are zeros |
//! | `sha256` | U8 (N, 32) | of each image file's content |
//! | `names` | U8 (bytes) | the images' names relative to their folder, in order, each ended by a 0 byte |
//!
//! and the metadata's `vf_engine` is a JSON document that says what they were made by and from.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView};
use serde::{Deserialize, Serialize};

use crate::checkpoint::atomic;
use crate::config::Crop;
use crate::device::mmap::map_file;
use crate::error::{Error, Result};

use super::image_folder::{ImageFolder, sha256};

/// The metadata key under which the document stands, as in checkpoints.
const METADATA_KEY: &str = "vf_engine";

/// Version of the file; a reader refuses others.
const FORMAT: u32 = 1;

/// What features come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureSource {
    /// The foundation model, for a person to read.
    pub model: String,
    /// SHA-256 of its weights' file, hexadecimal.
    pub weights_sha256: String,
    /// Side of the centre crops in pixels.
    pub size: usize,
    /// Side in pixels of the same crops as the foundation model saw them; where larger than `size`, its features were
    /// averaged down to `grid`.
    pub feature_size: usize,
    /// Rows and columns of the grid of features, h and w.
    pub grid: [usize; 2],
    /// Channels of a feature, Cf.
    pub channels: usize,
}

impl FeatureSource {
    /// Numbers for one image: h·w·Cf.
    pub fn features_per_image(&self) -> usize {
        self.grid[0] * self.grid[1] * self.channels
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    kind: String,
    format: u32,
    #[serde(flatten)]
    source: FeatureSource,
}

/// Cached features, memory-mapped.
pub struct FeatureCache {
    path: PathBuf,
    map: Mmap,
    /// Where in the map the f16 begin.
    start: usize,
    source: FeatureSource,
    names: Vec<String>,
    hashes: Vec<[u8; 32]>,
    readable: Vec<bool>,
}

impl FeatureCache {
    /// Writes the features of all images of `folder` to `path`, as one whole file or not at all.
    ///
    /// `features` gives for each image, in the folder's order, the features (h, w, Cf) of its centre crop and of the
    /// mirror image, or `None` if the image cannot be read. It may compute as it goes: nothing is held back.
    ///
    /// # Errors
    /// [`Error::Io`] naming an image file that could not be read, or else `path` and why it could not be written: the
    /// first error of `features`, too few or too many images, another number of values, values that f16 cannot hold.
    pub fn write(
        path: impl AsRef<Path>,
        folder: &ImageFolder,
        source: &FeatureSource,
        features: impl IntoIterator<Item = Result<Option<[Vec<f32>; 2]>>>,
    ) -> Result<()> {
        let hashes = hash_all(folder)?;
        atomic::write(path.as_ref(), |file| {
            write_header(file, folder, source)?;
            let readable = write_features(file, folder, source, features)?;
            file.write_all(&readable)?;
            file.write_all(hashes.as_flattened())?;
            file.write_all(&packed_names(folder))
        })
    }

    /// Opens features and checks that the file is whole.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] in one sentence naming the file.
    pub fn open(path: impl AsRef<Path>) -> Result<FeatureCache> {
        let path = path.as_ref();
        let map = map_file(path)?;
        let again =
            |what: &str| Error::data(format!("{}: {what}: write it again with `vf-engine features`", path.display()));
        let (header, _) = SafeTensors::read_metadata(&map)
            .map_err(|error| again(&format!("this is not a whole file of features ({error})")))?;
        let file = SafeTensors::deserialize(&map).map_err(|error| again(&format!("unreadable ({error})")))?;
        let contents = Contents::read(&map, &file).map_err(|what| again(&what))?;
        let Contents { source, names, hashes, readable, offset } = contents;
        // The 8 bytes that hold the header's length, and the header.
        let start = 8 + header + offset;
        Ok(FeatureCache { path: path.to_path_buf(), start, source, names, hashes, readable, map })
    }

    /// What the features come from.
    pub fn source(&self) -> &FeatureSource {
        &self.source
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are features of no image at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Makes sure that these are features of the images of `folder`, cut by `crop` to `size` pixels. Reads every image
    /// file once, in parallel.
    ///
    /// # Errors
    /// [`Error::Data`] saying which image is missing, new or changed, or which setting differs.
    pub fn check(&self, folder: &ImageFolder, size: usize, crop: Crop) -> Result<()> {
        if crop != Crop::Center {
            return Err(self.misfit("these are features of centre crops: set data.crop to center"));
        }
        if self.source.size != size {
            let have = self.source.size;
            let what = format!("these are features of {have}-pixel crops, and the model takes {size} pixels");
            return Err(self.misfit(&what));
        }
        self.check_names(folder)?;
        let hashes = hash_all(folder)?;
        if let Some(changed) = (0..self.len()).find(|&i| hashes[i] != self.hashes[i]) {
            let image = folder.path(changed);
            return Err(self.misfit(&format!("{} has changed since these features were written", image.display())));
        }
        Ok(())
    }

    /// The features (h, w, Cf) of an image's centre crop or of its mirror image, straight from the file.
    ///
    /// # Errors
    /// [`Error::Data`] for an image that could not be read when the features were written, or that is none of them.
    pub fn features(&self, index: usize, mirrored: bool) -> Result<&[f16]> {
        let (count, name) = (self.source.features_per_image(), self.names.get(index));
        let name = name.ok_or_else(|| self.misfit(&format!("there is no image {index} among its {}", self.len())))?;
        if !self.readable[index] {
            return Err(self.misfit(&format!("{name} could not be read when these features were written")));
        }
        let start = self.start + (2 * index + usize::from(mirrored)) * count * 2;
        Ok(bytemuck::cast_slice(&self.map[start..start + count * 2]))
    }

    fn check_names(&self, folder: &ImageFolder) -> Result<()> {
        let root = folder.root().display();
        let known: HashSet<&String> = self.names.iter().collect();
        if let Some(new) = folder.names().iter().find(|&name| !known.contains(name)) {
            return Err(self.misfit(&format!("there are no features of {root}/{new}")));
        }
        let present: HashSet<&String> = folder.names().iter().collect();
        if let Some(gone) = self.names.iter().find(|&name| !present.contains(name)) {
            return Err(self.misfit(&format!("there are features of {gone}, which is not in {root}")));
        }
        if let Some(moved) = (0..self.len()).find(|&i| self.names[i] != folder.names()[i]) {
            return Err(self.misfit(&format!("{} stands at another place than in {root}", self.names[moved])));
        }
        Ok(())
    }

    fn misfit(&self, what: &str) -> Error {
        let path = self.path.display();
        Error::data(format!("{path} does not fit: {what}; write it again with `vf-engine features`"))
    }
}

fn hash_all(folder: &ImageFolder) -> Result<Vec<[u8; 32]>> {
    (0..folder.len()).into_par_iter().map(|index| sha256(&folder.path(index))).collect()
}

fn packed_names(folder: &ImageFolder) -> Vec<u8> {
    folder.names().iter().flat_map(|name| name.bytes().chain([0])).collect()
}

fn write_header(file: &mut impl Write, folder: &ImageFolder, source: &FeatureSource) -> io::Result<()> {
    let count = folder.len();
    let [h, w] = source.grid;
    let mut end = 0;
    let tensors = [
        ("features", Dtype::F16, vec![count, 2, h, w, source.channels]),
        ("readable", Dtype::U8, vec![count]),
        ("sha256", Dtype::U8, vec![count, 32]),
        ("names", Dtype::U8, vec![packed_names(folder).len()]),
    ];
    let tensors = tensors.map(|(name, dtype, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name.to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    });
    let document = Document { kind: "features".into(), format: FORMAT, source: source.clone() };
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&document)?)]);
    let header = Metadata::new(Some(metadata), tensors.into()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' '); // so that the f16 are aligned
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)
}

/// Writes the features and returns the tensor `readable`.
fn write_features(
    file: &mut impl Write,
    folder: &ImageFolder,
    source: &FeatureSource,
    features: impl IntoIterator<Item = Result<Option<[Vec<f32>; 2]>>>,
) -> io::Result<Vec<u8>> {
    let count = source.features_per_image();
    let mut readable = Vec::with_capacity(folder.len());
    let mut halves = vec![f16::ZERO; count];
    for image in features {
        let Some(name) = folder.names().get(readable.len()) else {
            return Err(io::Error::other(format!("features of more than {} images were given", folder.len())));
        };
        let image = image.map_err(io::Error::other)?;
        readable.push(u8::from(image.is_some()));
        for values in image.unwrap_or_else(|| [vec![0.0; count], vec![0.0; count]]) {
            if values.len() != count {
                let message = format!("{name}: {} features were computed where {count} are wanted", values.len());
                return Err(io::Error::other(message));
            }
            halves.convert_from_f32_slice(&values);
            if let Some(at) = halves.iter().position(|half| !half.is_finite()) {
                let message = format!("{name}: feature {at} is {}, which f16 cannot hold", values[at]);
                return Err(io::Error::other(message));
            }
            file.write_all(bytemuck::cast_slice(&halves))?;
        }
    }
    if readable.len() != folder.len() {
        let message = format!("features of {} images were given where there are {}", readable.len(), folder.len());
        return Err(io::Error::other(message));
    }
    Ok(readable)
}

/// What a file of features holds, checked.
struct Contents {
    source: FeatureSource,
    names: Vec<String>,
    hashes: Vec<[u8; 32]>,
    readable: Vec<bool>,
    /// Of the f16 from the first tensor's first byte.
    offset: usize,
}

impl Contents {
    fn read(map: &Mmap, file: &SafeTensors) -> Result<Contents, String> {
        let (_, header) = SafeTensors::read_metadata(map).map_err(|error| error.to_string())?;
        let document = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let document = document.ok_or("this is a safetensors file, but not one of features")?;
        let document: Document =
            serde_json::from_str(document).map_err(|error| format!("its description is damaged ({error})"))?;
        if document.kind != "features" || document.format != FORMAT {
            let Document { kind, format, .. } = document;
            return Err(format!("it holds {kind} of format {format}, not features of format {FORMAT}"));
        }
        let source = document.source;
        let packed = tensor(file, "names", Dtype::U8)?.data();
        let packed = packed.strip_suffix(&[0]).ok_or("its list of images is damaged")?;
        let names = packed.split(|&byte| byte == 0).map(|name| String::from_utf8(name.to_vec()));
        let names: Vec<String> = names.collect::<Result<_, _>>().map_err(|_| "its list of images is damaged")?;
        let hashes = shaped(file, "sha256", Dtype::U8, &[names.len(), 32])?;
        let readable = shaped(file, "readable", Dtype::U8, &[names.len()])?;
        let [h, w] = source.grid;
        let features = shaped(file, "features", Dtype::F16, &[names.len(), 2, h, w, source.channels])?;
        let info = header.info("features").ok_or("it has no tensor features")?;
        if bytemuck::try_cast_slice::<u8, f16>(features).is_err() {
            return Err("its features are not aligned".to_owned());
        }
        Ok(Contents {
            hashes: hashes.as_chunks().0.to_vec(),
            readable: readable.iter().map(|&byte| byte != 0).collect(),
            offset: info.data_offsets.0,
            source,
            names,
        })
    }
}

fn tensor<'data>(file: &SafeTensors<'data>, name: &str, dtype: Dtype) -> Result<TensorView<'data>, String> {
    let view = file.tensor(name).map_err(|_| format!("it has no tensor {name}"))?;
    if view.dtype() != dtype {
        return Err(format!("{name} holds {:?} where {dtype:?} is wanted", view.dtype()));
    }
    Ok(view)
}

fn shaped<'data>(file: &SafeTensors<'data>, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'data [u8], String> {
    let view = tensor(file, name, dtype)?;
    if view.shape() != shape {
        return Err(format!("{name} has shape {:?} where {shape:?} is wanted", view.shape()));
    }
    Ok(view.data())
}
