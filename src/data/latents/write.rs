//! Writing shards, image by image.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use super::{FORMAT, LatentSource, METADATA_KEY, ShardDocument};
use crate::checkpoint::atomic;
use crate::device::mmap::map_file;
use crate::error::{Error, Result};

/// The file name of a shard, the reference's.
pub fn shard_name(rank: usize, shard: usize) -> String {
    format!("latents_rank{rank:02}_shard{shard:03}.safetensors")
}

/// One shard to be written, or already there.
pub struct ShardWriter {
    path: PathBuf,
    document: ShardDocument,
    /// (C, h, w).
    shape: [usize; 3],
}

impl ShardWriter {
    /// The shard at `path` of the folder's images `first`, `first` + `stride`, …, `count` of them.
    pub fn new(
        path: PathBuf,
        source: &LatentSource,
        shape: [usize; 3],
        first: usize,
        stride: usize,
        count: usize,
    ) -> ShardWriter {
        let (kind, source) = ("latents".to_owned(), source.clone());
        let document = ShardDocument { kind, format: FORMAT, source, first, stride, count, left_out: vec![] };
        ShardWriter { path, document, shape }
    }

    /// The images that the shard is to hold.
    pub fn images(&self) -> Vec<usize> {
        let ShardDocument { first, stride, count, .. } = self.document;
        (first..).step_by(stride).take(count).filter(|image| !self.document.left_out.contains(image)).collect()
    }

    /// Leaves an image out, which cannot be read.
    pub fn leave_out(&mut self, image: usize) {
        self.document.left_out.push(image);
    }

    /// Whether the shard is there already, whole and made from the same images by the same tokenizer.
    ///
    /// # Errors
    /// A file that is there and was made from something else, or is damaged; both named.
    pub fn is_written(&self) -> Result<bool> {
        if !self.path.exists() {
            return Ok(false);
        }
        let wrong = |what: String| {
            let path = self.path.display();
            Error::data(format!("{path}: {what}: remove it, or choose another folder with --out"))
        };
        let map = map_file(&self.path)?;
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|e| wrong(format!("not a whole shard ({e})")))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let found: Option<ShardDocument> = text.and_then(|text| serde_json::from_str(text).ok());
        let Some(found) = found else {
            return Err(wrong("this shard does not say what it was made from".to_owned()));
        };
        let expected = ShardDocument { left_out: found.left_out.clone(), ..self.document.clone() };
        match difference(&found, &expected) {
            None => Ok(true),
            Some(what) => Err(wrong(format!("this shard has {what}"))),
        }
    }

    /// Writes the shard. `next` is called with numbers of images that follow each other, and gives for these their
    /// latents, the mirror images' latents, each (n, C, h, w), and their labels, until all are there.
    ///
    /// # Errors
    /// The first error of `next`, or one of the file; nothing is left behind then.
    pub fn write(&self, mut next: impl FnMut(&mut Vec<f32>, &mut Vec<f32>, &mut Vec<i64>) -> Result<()>) -> Result<()> {
        let count = self.images().len();
        let per_image: usize = self.shape.iter().product();
        // The writer's errors are those of files; another is kept aside.
        let mut failure = None;
        let written = atomic::write(&self.path, |file| {
            let start = self.write_header(file, count)?;
            let (mut latents, mut flips, mut labels) = (vec![], vec![], vec![]);
            let mut all_labels: Vec<i64> = Vec::with_capacity(count);
            while all_labels.len() < count {
                [&mut latents, &mut flips].into_iter().for_each(Vec::clear);
                labels.clear();
                if let Err(error) = next(&mut latents, &mut flips, &mut labels) {
                    failure = Some(error);
                    return Err(io::Error::other("the latents could not be made"));
                }
                assert!(!labels.is_empty() && latents.len() == labels.len() * per_image, "no latents, or too few");
                for (values, half) in [(&latents, 0), (&flips, count)] {
                    file.seek(SeekFrom::Start(start + ((half + all_labels.len()) * per_image * 4) as u64))?;
                    file.write_all(bytemuck::cast_slice(values))?;
                }
                all_labels.extend(&labels);
            }
            file.seek(SeekFrom::Start(start + (2 * count * per_image * 4) as u64))?;
            all_labels.iter().try_for_each(|label| file.write_all(&label.to_le_bytes()))
        });
        match failure {
            Some(error) => Err(error),
            None => written,
        }
    }

    /// The header; gives where the first tensor begins.
    fn write_header(&self, file: &mut BufWriter<File>, count: usize) -> io::Result<u64> {
        let [c, h, w] = self.shape;
        let shape = vec![count, c, h, w];
        let tensors = vec![
            ("latents", Dtype::F32, shape.clone()),
            ("latents_flip", Dtype::F32, shape),
            ("labels", Dtype::I64, vec![count]),
        ];
        // The first three keys are the reference's.
        let metadata = HashMap::from([
            ("total_size".to_owned(), count.to_string()),
            ("dtype".to_owned(), "torch.float32".to_owned()),
            ("device".to_owned(), "cpu".to_owned()),
            (METADATA_KEY.to_owned(), serde_json::to_string(&self.document)?),
        ]);
        write_header(file, tensors, metadata)
    }
}

/// A safetensors header of tensors that follow each other; gives where the first begins.
pub(super) fn write_header(
    file: &mut impl Write,
    tensors: Vec<(&str, Dtype, Vec<usize>)>,
    metadata: HashMap<String, String>,
) -> io::Result<u64> {
    let mut end = 0;
    let tensors = tensors.into_iter().map(|(name, dtype, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name.to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    });
    let header = Metadata::new(Some(metadata), tensors.collect()).map_err(io::Error::other)?;
    // Keys in order, so that the same shard has the same bytes.
    let ordered: BTreeMap<String, serde_json::Value> = serde_json::from_value(serde_json::to_value(&header)?)?;
    let mut header = serde_json::to_vec(&ordered)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    Ok(8 + header.len() as u64)
}

/// What of a shard is not as expected.
fn difference(found: &ShardDocument, expected: &ShardDocument) -> Option<String> {
    let fields = |document: &ShardDocument| -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(document) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    };
    let (found, expected) = (fields(found), fields(expected));
    let other = expected.iter().find(|(key, value)| found.get(*key) != Some(value));
    other.map(|(key, value)| format!("{key} {}, and {value} is wanted", found.get(key).unwrap_or(&().into())))
}
