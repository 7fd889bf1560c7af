//! Frozen ViTs from files: what a broken or foreign weights file says, and which image sizes work.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use safetensors::tensor::{Dtype, TensorView};
use support::fill::hash_fill;
use vf_engine::config::Crop;
use vf_engine::data::{FeatureCache, ImageFolder};
use vf_engine::device::Device;
use vf_engine::dtype::DType;
use vf_engine::ops::image::from_bytes;
use vf_engine::tensor::Tensor;
use vf_engine::vision::{Extraction, Options, Style, Vit, VitShape, Weights};

/// One for all: a model and its images must live on the same device. Fresh memory is NaN, so that what a kernel leaves
/// unwritten is seen.
static DEVICE: LazyLock<Device> = LazyLock::new(Device::cpu_poisoned);

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A one-block ViT of 64 channels with layer scale and a 3×3 grid of positions.
fn tiny(patch: usize) -> Tensors {
    let d = 64;
    let shapes: [(&str, Vec<usize>); 20] = [
        ("cls_token", vec![1, 1, d]),
        ("pos_embed", vec![1, 10, d]),
        ("patch_embed.proj.weight", vec![d, 3, patch, patch]),
        ("patch_embed.proj.bias", vec![d]),
        ("blocks.0.norm1.weight", vec![d]),
        ("blocks.0.norm1.bias", vec![d]),
        ("blocks.0.attn.qkv.weight", vec![3 * d, d]),
        ("blocks.0.attn.qkv.bias", vec![3 * d]),
        ("blocks.0.attn.proj.weight", vec![d, d]),
        ("blocks.0.attn.proj.bias", vec![d]),
        ("blocks.0.ls1.gamma", vec![d]),
        ("blocks.0.norm2.weight", vec![d]),
        ("blocks.0.norm2.bias", vec![d]),
        ("blocks.0.mlp.fc1.weight", vec![2 * d, d]),
        ("blocks.0.mlp.fc1.bias", vec![2 * d]),
        ("blocks.0.mlp.fc2.weight", vec![d, 2 * d]),
        ("blocks.0.mlp.fc2.bias", vec![d]),
        ("blocks.0.ls2.gamma", vec![d]),
        ("norm.weight", vec![d]),
        ("norm.bias", vec![d]),
    ];
    let fill = |name: &str, shape: &[usize]| hash_fill(name, 7, shape.iter().product(), 0.2, 0.1);
    shapes.into_iter().map(|(name, shape)| (name.to_owned(), (shape.clone(), fill(name, &shape)))).collect()
}

fn load(tensors: Tensors, options: Options) -> Result<Vit, String> {
    let tensors = tensors.into_iter().map(|(name, (shape, values))| (name, shape, values));
    let weights = Weights::from_tensors("tiny.safetensors", tensors);
    Vit::new(&DEVICE, weights, options).map_err(|error| error.to_string())
}

fn refusal(tensors: Tensors, options: Options) -> String {
    load(tensors, options).err().expect("these weights must be refused")
}

fn images(shape: [usize; 4]) -> Tensor {
    let values = hash_fill("images", 11, shape.iter().product(), 1.0, 0.0);
    Tensor::from_slice(&DEVICE, &shape, &values).expect("shape and values fit")
}

/// A file in a folder of this test's own.
fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vision");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder.join(name)
}

/// Writes `tensors` as `dtype`, whose encoding of a value is `encode`.
fn save(path: &Path, tensors: &Tensors, dtype: Dtype, encode: impl Fn(f32) -> Vec<u8>, metadata: &[(&str, &str)]) {
    let bytes: Vec<(&String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape.clone(), values.iter().flat_map(|&v| encode(v)).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).expect("bytes fill the shape"))
    });
    let metadata = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    safetensors::serialize_to_file(views, Some(metadata), path).expect("the file can be written");
}

#[test]
fn sizes_are_read_off_the_tensors() {
    let vit = load(tiny(14), Options::default()).expect("a whole ViT");
    assert_eq!(*vit.shape(), VitShape { patch: 14, dim: 64, depth: 1, heads: 1, mlp: 128, position_grid: 3 });
    assert_eq!(vit.style(), Style::DinoV2);
    let vit = load(tiny(16), Options { style: None, heads: Some(4) }).expect("a whole ViT");
    assert_eq!((vit.style(), vit.shape().heads), (Style::Mae, 4));
}

#[test]
fn missing_foreign_and_misshapen_tensors_are_named() {
    let mut missing = tiny(14);
    missing.remove("blocks.0.mlp.fc2.bias");
    let message = refusal(missing, Options::default());
    assert!(message.contains("tiny.safetensors: blocks.0.mlp.fc2.bias is missing"), "{message}");

    let mut foreign = tiny(14);
    foreign.insert("blocks.0.attn.q_norm.weight".into(), (vec![64], vec![1.0; 64]));
    let message = refusal(foreign, Options::default());
    assert!(message.contains("tiny.safetensors: blocks.0.attn.q_norm.weight has no place"), "{message}");

    let mut misshapen = tiny(14);
    misshapen.insert("blocks.0.attn.qkv.weight".into(), (vec![64, 192], vec![0.0; 64 * 192]));
    let message = refusal(misshapen, Options::default());
    assert!(message.contains("blocks.0.attn.qkv.weight has shape [64, 192]"), "{message}");
    assert!(message.contains("[192, 64]"), "{message}");

    let mut registers = tiny(14);
    registers.insert("reg_token".into(), (vec![1, 4, 64], vec![0.0; 256]));
    let message = refusal(registers, Options::default());
    assert!(message.contains("register tokens"), "{message}");

    let mut oblong = tiny(14);
    oblong.insert("pos_embed".into(), (vec![1, 12, 64], vec![0.0; 768]));
    let message = refusal(oblong, Options::default());
    assert!(message.contains("pos_embed has 12 positions"), "{message}");
}

#[test]
fn a_style_or_head_count_that_cannot_be_is_refused() {
    let message = refusal(tiny(14), Options { style: Some(Style::Mae), heads: None });
    assert!(message.contains("14 pixels"), "{message}");
    let message = refusal(tiny(8), Options::default());
    assert!(message.contains("8 pixels"), "{message}");
    for heads in [0, 5] {
        let message = refusal(tiny(14), Options { style: None, heads: Some(heads) });
        assert!(message.contains(&format!("do not make {heads} heads")), "{message}");
    }
}

#[test]
fn leftovers_of_pretraining_change_nothing() {
    let x = images([1, 32, 32, 3]);
    let plain = load(tiny(16), Options::default()).expect("a whole ViT");
    let mut checkpoint = tiny(16);
    checkpoint.insert("mask_token".into(), (vec![1, 64], vec![3.0; 64]));
    checkpoint.insert("decoder_embed.weight".into(), (vec![32, 64], vec![3.0; 2048]));
    checkpoint.insert("head.bias".into(), (vec![1000], vec![3.0; 1000]));
    let checkpoint = load(checkpoint, Options::default()).expect("a ViT with leftovers");
    let features = |vit: &Vit| vit.features(&x).and_then(|f| f.to_vec()).expect("features");
    assert_eq!(features(&plain), features(&checkpoint));
}

#[test]
fn files_are_read_whole_in_three_dtypes_or_refused() {
    // Values that all three formats hold exactly.
    let mut tensors = tiny(14);
    tensors.values_mut().flat_map(|(_, values)| values).for_each(|v| *v = (*v * 64.0).round() / 64.0);
    let x = images([1, 32, 32, 3]);
    let features = |path: &Path| {
        let weights = Weights::open(path).expect("a whole file");
        assert_eq!(weights.metadata("num_heads"), Some("2"));
        let vit = Vit::new(&DEVICE, weights, Options::default()).expect("a whole ViT");
        assert_eq!(vit.shape().heads, 2);
        vit.features(&x).and_then(|f| f.to_vec()).expect("features")
    };
    let heads = [("num_heads", "2")];
    let (f32s, f16s, bf16s) = (file("f32.safetensors"), file("f16.safetensors"), file("bf16.safetensors"));
    save(&f32s, &tensors, Dtype::F32, |v| v.to_le_bytes().to_vec(), &heads);
    save(&f16s, &tensors, Dtype::F16, |v| half::f16::from_f32(v).to_le_bytes().to_vec(), &heads);
    save(&bf16s, &tensors, Dtype::BF16, |v| half::bf16::from_f32(v).to_le_bytes().to_vec(), &heads);
    let expected = features(&f32s);
    assert_eq!(features(&f16s), expected);
    assert_eq!(features(&bf16s), expected);

    let whole = std::fs::read(&f32s).expect("just written");
    let cut = file("cut.safetensors");
    for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&cut, &whole[..length]).expect("the target folder can be written");
        let message = Weights::open(&cut).err().expect("a truncated file").to_string();
        assert!(message.contains("cut.safetensors"), "{message}");
    }

    let doubles = file("f64.safetensors");
    save(&doubles, &tensors, Dtype::F64, |v| f64::from(v).to_le_bytes().to_vec(), &[]);
    let message = Weights::open(&doubles).err().expect("f64 is not read").to_string();
    assert!(message.contains("f64.safetensors") && message.contains("F64"), "{message}");

    let message = Weights::open(file("nowhere.safetensors")).err().expect("no such file").to_string();
    assert!(message.contains("nowhere.safetensors"), "{message}");
}

#[test]
fn any_image_of_a_cell_or_more_works_for_dinov2_and_whole_cells_for_mae() {
    let dinov2 = load(tiny(14), Options::default()).expect("a whole ViT");
    for ([height, width], grid) in [([50, 35], [3, 2]), ([16, 16], [1, 1]), ([48, 48], [3, 3]), ([64, 97], [4, 6])] {
        let features = dinov2.features(&images([2, height, width, 3])).expect("features");
        assert_eq!(features.shape(), [2, grid[0], grid[1], 64]);
        assert!(features.to_vec().expect("values").iter().all(|v| v.is_finite()));
    }
    let message = dinov2.features(&images([1, 15, 64, 3])).expect_err("less than a cell").to_string();
    assert!(message.contains("15×64"), "{message}");

    let mae = load(tiny(16), Options::default()).expect("a whole ViT");
    assert_eq!(mae.features(&images([1, 48, 32, 3])).expect("features").shape(), [1, 3, 2, 64]);
    let message = mae.features(&images([1, 50, 32, 3])).expect_err("half a patch").to_string();
    assert!(message.contains("50×32") && message.contains("multiples of 16"), "{message}");
}

#[test]
fn images_of_a_batch_do_not_mix() {
    let vit = load(tiny(14), Options::default()).expect("a whole ViT");
    let batch = images([3, 32, 48, 3]);
    let together = vit.features(&batch).and_then(|f| f.to_vec()).expect("features");
    for (i, image) in batch.to_vec().expect("values").chunks_exact(32 * 48 * 3).enumerate() {
        let image = Tensor::from_slice(batch.device(), &[1, 32, 48, 3], image).expect("one image");
        let alone = vit.features(&image).and_then(|f| f.to_vec()).expect("features");
        let share = &together[i * alone.len()..(i + 1) * alone.len()];
        // Matrix products may cut a larger batch into other blocks: f32 sums in another order.
        let worst = alone.iter().zip(share).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "image {i} differs by {worst} from itself alone");
    }
}

/// A folder with `count` images of 40×52 pixels.
fn photos(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for i in 0..count {
        let noise = hash_fill(&format!("photo {i}"), 3, 40 * 52 * 3, 127.5, 127.5);
        let pixels = noise.into_iter().map(|v| v as u8).collect();
        let image = image::RgbImage::from_raw(40, 52, pixels).expect("pixels fill the image");
        image.save(folder.path().join(format!("{i}.png"))).expect("the folder can be written");
    }
    folder
}

/// Extracts to `out` with the tiny DINOv2 ViT, whose file is `weights`.
fn extract(folder: &Path, settings: Extraction, weights: &Path, out: &Path) -> Result<(usize, Vec<String>), String> {
    save(weights, &tiny(14), Dtype::F32, |v| v.to_le_bytes().to_vec(), &[]);
    let folder = ImageFolder::open(folder).map_err(|error| error.to_string())?;
    let vit = load(tiny(14), Options::default())?;
    let mut reported = 0;
    let extracted = vit.extract(&DEVICE, &folder, settings, weights, out, |done| reported = done);
    extracted.map(|e| (reported, e.unreadable)).map_err(|error| error.to_string())
}

#[test]
fn a_cache_holds_the_features_of_crops_and_mirror_images_averaged_to_the_grid() {
    let photos = photos(3);
    let (weights, out) = (file("extract.safetensors"), file("extract.features"));
    let settings = Extraction { size: 32, feature_size: 64, batch: 2 };
    assert_eq!(extract(photos.path(), settings, &weights, &out), Ok((3, vec![])));

    let folder = ImageFolder::open(photos.path()).expect("three images");
    let cache = FeatureCache::open(&out).expect("a whole cache");
    cache.check(&folder, 32, Crop::Center).expect("features of these images");
    let source = cache.source();
    assert_eq!((source.size, source.feature_size, source.grid, source.channels), (32, 64, [2, 2], 64));

    let vit = load(tiny(14), Options::default()).expect("a whole ViT");
    for (index, mirrored) in [(0, false), (1, true), (2, false), (2, true)] {
        let mut crop = vec![];
        folder.center_crop(index, 64).expect("a whole image").append_to(&mut crop, mirrored);
        let crop = from_bytes(&DEVICE, &[1, 64, 64, 3], DType::F32, &crop).expect("one crop");
        let all = vit.features(&crop).and_then(|f| f.to_vec()).expect("features");
        let cached = cache.features(index, mirrored).expect("features");
        for (i, value) in cached.iter().enumerate() {
            let (row, column, c) = (i / 128, i / 64 % 2, i % 64);
            let cell = |r: usize, k: usize| all[((2 * row + r) * 4 + 2 * column + k) * 64 + c];
            let mean = (cell(0, 0) + cell(0, 1) + cell(1, 0) + cell(1, 1)) / 4.0;
            // f16 rounds by 2⁻¹¹ of the value; the rest is f32 sums in another order.
            let allowed = mean.abs() / 2048.0 + 1e-4;
            assert!((value.to_f32() - mean).abs() <= allowed, "image {index}, feature {i}: {value}, not {mean}");
        }
    }
}

#[test]
fn one_unreadable_image_is_named_and_more_are_an_error() {
    let photos = photos(3);
    let (weights, out) = (file("unreadable.safetensors"), file("unreadable.features"));
    let settings = Extraction { size: 32, feature_size: 32, batch: 4 };
    let truncate = |name: &str| {
        let path = photos.path().join(name);
        let bytes = std::fs::read(&path).expect("just written");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("the folder can be written");
    };
    truncate("1.png");
    let (_, unreadable) = extract(photos.path(), settings, &weights, &out).expect("one may be unreadable");
    assert!(unreadable.len() == 1 && unreadable[0].contains("1.png"), "{unreadable:?}");
    let cache = FeatureCache::open(&out).expect("a whole cache");
    let message = cache.features(1, false).expect_err("no features").to_string();
    assert!(message.contains("1.png"), "{message}");
    assert!(cache.features(2, true).is_ok());

    truncate("2.png");
    std::fs::remove_file(&out).expect("the cache is there");
    let message = extract(photos.path(), settings, &weights, &out).expect_err("two may not");
    assert!(message.contains("2 of the 3 images") && message.contains("1.png"), "{message}");
    assert!(!out.exists(), "a failed extraction leaves no file");
}
