//! Reading shards, ours or the reference's: memory-mapped, any image at any time.

use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors};

use super::stats::LatentStats;
use super::{METADATA_KEY, STATS_FILE, ShardDocument};
use crate::device::mmap::map_file;
use crate::error::{Error, Result};

/// A folder of latents.
pub struct LatentFolder {
    path: PathBuf,
    shards: Vec<Shard>,
    /// (C, h, w).
    shape: [usize; 3],
    labels: Vec<u32>,
    tokenizer_sha256: Option<String>,
}

struct Shard {
    map: Mmap,
    /// The number of the shard's first image among all.
    first: usize,
    count: usize,
    /// Where the latents begin in the file, and those of the mirror images.
    starts: [usize; 2],
}

impl LatentFolder {
    /// Opens all shards of a folder, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Data`] or [`Error::Io`], naming the file: no shard, one that is damaged or laid out otherwise, shapes or
    /// tokenizers that differ from one to another, a label that is no class.
    pub fn open(path: impl AsRef<Path>) -> Result<LatentFolder> {
        let path = path.as_ref();
        let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
        let mut files = entries.map(|e| Ok(e.map_err(|e| Error::io(path, e))?.path())).collect::<Result<Vec<_>>>()?;
        files.retain(|file| file.extension().is_some_and(|e| e == "safetensors") && !file.ends_with(STATS_FILE));
        files.sort();
        let Some(first) = files.first() else {
            let advice = "make them with `vf-engine extract`, or give the folder that the reference wrote";
            return Err(Error::data(format!("{} holds no latents (*.safetensors): {advice}", path.display())));
        };
        let first = Contents::read(first)?;
        let mut folder = LatentFolder {
            path: path.to_path_buf(),
            shards: vec![],
            shape: first.shape,
            labels: vec![],
            tokenizer_sha256: first.tokenizer_sha256,
        };
        for file in &files {
            folder.add(file, Contents::read(file)?)?;
        }
        if folder.is_empty() {
            return Err(Error::data(format!("the shards in {} hold no image", path.display())));
        }
        Ok(folder)
    }

    fn add(&mut self, file: &Path, contents: Contents) -> Result<()> {
        let Contents { map, shape, labels, starts, tokenizer_sha256 } = contents;
        let differs = |what: String| Err(Error::data(format!("{}: {what} than in the first shard", file.display())));
        if shape != self.shape {
            return differs(format!("latents of shape {shape:?}, others ({:?})", self.shape));
        }
        if tokenizer_sha256 != self.tokenizer_sha256 {
            return differs("latents of another tokenizer".to_owned());
        }
        self.shards.push(Shard { map, first: self.labels.len(), count: labels.len(), starts });
        self.labels.extend(labels);
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images; never true of an open folder.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, rows and columns of a latent image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The images' classes.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The tokenizer that made them, where the shards say it.
    pub fn tokenizer_sha256(&self) -> Option<&str> {
        self.tokenizer_sha256.as_deref()
    }

    /// The values (C, h, w) of an image, or of its mirror image, as they are stored.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn stored(&self, index: usize, mirrored: bool) -> impl Iterator<Item = f32> + '_ {
        let shard = &self.shards[self.shards.partition_point(|shard| shard.first + shard.count <= index)];
        let bytes = 4 * self.shape.iter().product::<usize>();
        let start = shard.starts[usize::from(mirrored)] + (index - shard.first) * bytes;
        shard.map[start..start + bytes].as_chunks().0.iter().map(|&value| f32::from_le_bytes(value))
    }

    /// Writes an image, normalised, to `out` (h, w, C).
    pub fn read(&self, index: usize, mirrored: bool, stats: &LatentStats, out: &mut [f32]) {
        let [c, h, w] = self.shape;
        for (at, value) in self.stored(index, mirrored).enumerate() {
            let (channel, pixel) = (at / (h * w), at % (h * w));
            out[pixel * c + channel] = stats.normalise(channel, value);
        }
    }
}

/// A shard's contents, checked.
struct Contents {
    map: Mmap,
    shape: [usize; 3],
    labels: Vec<u32>,
    starts: [usize; 2],
    tokenizer_sha256: Option<String>,
}

impl Contents {
    fn read(file: &Path) -> Result<Contents> {
        let map = map_file(file)?;
        let wrong = |what: String| Error::data(format!("{}: {what}", file.display()));
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| wrong(format!("this is not a whole safetensors file ({error})")))?;
        let find = |name: &str, dtype: Dtype| {
            let info = metadata.info(name).ok_or_else(|| wrong(format!("this shard has no tensor {name}")))?;
            let found = info.dtype;
            if found != dtype {
                return Err(wrong(format!("{name} holds {found:?} where {dtype:?} is wanted")));
            }
            Ok((info.shape.clone(), 8 + header + info.data_offsets.0))
        };
        let (shape, latents) = find("latents", Dtype::F32)?;
        let (flip_shape, flips) = find("latents_flip", Dtype::F32)?;
        let (label_shape, labels) = find("labels", Dtype::I64)?;
        let [count, c, h, w] = shape[..] else {
            return Err(wrong(format!("latents have shape {shape:?}, not (N, C, h, w)")));
        };
        if flip_shape != shape || label_shape != [count] {
            return Err(wrong(format!(
                "latents {shape:?}, latents_flip {flip_shape:?} and labels {label_shape:?} are not of the same images"
            )));
        }
        let labels = map[labels..labels + 8 * count].as_chunks().0.iter().map(|&label| i64::from_le_bytes(label));
        let labels: Vec<u32> = labels
            .map(|label| u32::try_from(label).map_err(|_| wrong(format!("label {label} is no class"))))
            .collect::<Result<_>>()?;
        let document = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let document: Option<ShardDocument> = document.and_then(|text| serde_json::from_str(text).ok());
        let tokenizer_sha256 = document.map(|document| document.source.tokenizer_sha256);
        Ok(Contents { shape: [c, h, w], labels, starts: [latents, flips], tokenizer_sha256, map })
    }
}
