//! Cached features: exact, whole or not there, and only for the images they were made of.

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::SafeTensors;
use tempfile::TempDir;
use vf_engine::config::Crop;
use vf_engine::data::{FeatureCache, FeatureSource, ImageFolder};
use vf_engine::error::{Error, Result};

use crate::{folder_of, truncate};

const SIZE: usize = 64;

fn source() -> FeatureSource {
    FeatureSource {
        model: "toy".into(),
        weights_sha256: "ab".repeat(32),
        size: SIZE,
        feature_size: SIZE,
        grid: [2, 3],
        channels: 5,
    }
}

/// Features that tell image, mirror and place apart, all exact in f16.
fn value(image: usize, mirrored: usize, at: usize) -> f32 {
    (image * 100 + mirrored * 50 + at) as f32 - 0.5
}

fn values(image: usize) -> Result<Option<[Vec<f32>; 2]>> {
    Ok(Some([0, 1].map(|mirrored| (0..30).map(|at| value(image, mirrored, at)).collect())))
}

struct Fixture {
    images: TempDir,
    _features: TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let images = folder_of(&[("a/1.jpg", "dogs.jpg"), ("a/2.jpg", "coffee.jpg"), ("b/1.jpg", "rocket.jpg")]);
        let features = tempfile::tempdir().unwrap();
        let path = features.path().join("features.safetensors");
        let fixture = Fixture { images, _features: features, path };
        FeatureCache::write(&fixture.path, &fixture.folder(), &source(), (0..3).map(values)).unwrap();
        fixture
    }

    fn folder(&self) -> ImageFolder {
        ImageFolder::open(self.images.path()).unwrap()
    }

    fn open(&self) -> FeatureCache {
        FeatureCache::open(&self.path).unwrap()
    }

    fn misfit(&self) -> String {
        self.open().check(&self.folder(), SIZE, Crop::Center).unwrap_err().to_string()
    }

    fn image(&self, name: &str) -> PathBuf {
        self.images.path().join(name)
    }
}

#[test]
fn what_is_written_is_read() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    cache.check(&fixture.folder(), SIZE, Crop::Center).unwrap();
    assert_eq!((cache.source(), cache.len()), (&source(), 3));
    for image in 0..3 {
        for mirrored in [false, true] {
            let expected: Vec<f16> = (0..30).map(|at| f16::from_f32(value(image, mirrored.into(), at))).collect();
            assert_eq!(cache.features(image, mirrored).unwrap(), expected);
        }
    }
    assert!(cache.features(3, false).unwrap_err().to_string().contains("no image 3 among its 3"));
}

#[test]
fn any_safetensors_reader_opens_it() {
    let bytes = fs::read(Fixture::new().path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("features").unwrap().shape(), [3, 2, 2, 3, 5]);
    assert_eq!(file.tensor("names").unwrap().data(), b"a/1.jpg\0a/2.jpg\0b/1.jpg\0");
    assert_eq!(file.tensor("sha256").unwrap().shape(), [3, 32]);
}

#[test]
fn the_same_features_are_the_same_bytes() {
    let fixture = Fixture::new();
    let first = fs::read(&fixture.path).unwrap();
    FeatureCache::write(&fixture.path, &fixture.folder(), &source(), (0..3).map(values)).unwrap();
    assert_eq!(fs::read(&fixture.path).unwrap(), first);
}

#[test]
fn other_images_are_refused_by_name() {
    let fixture = Fixture::new();
    fs::copy(fixture.image("a/1.jpg"), fixture.image("a/3.jpg")).unwrap();
    let message = fixture.misfit();
    assert!(message.contains("there are no features of") && message.contains("a/3.jpg"), "{message}");

    fs::remove_file(fixture.image("a/3.jpg")).unwrap();
    fs::rename(fixture.image("a/2.jpg"), fixture.image("2.jpg.away")).unwrap();
    let message = fixture.misfit();
    assert!(message.contains("features of a/2.jpg, which is not in"), "{message}");

    fs::copy(fixture.image("b/1.jpg"), fixture.image("a/2.jpg")).unwrap();
    let message = fixture.misfit();
    assert!(message.contains("a/2.jpg has changed") && message.contains("features.safetensors"), "{message}");
    assert!(message.contains("vf-engine features"), "the way out: {message}");

    fs::rename(fixture.image("2.jpg.away"), fixture.image("a/2.jpg")).unwrap();
    fixture.open().check(&fixture.folder(), SIZE, Crop::Center).unwrap();
}

#[test]
fn other_settings_are_refused() {
    let fixture = Fixture::new();
    let check = |size, crop| fixture.open().check(&fixture.folder(), size, crop).unwrap_err().to_string();
    assert!(check(SIZE, Crop::Random).contains("set data.crop to center"));
    assert!(check(128, Crop::Center).contains("64-pixel crops, and the model takes 128"));
}

#[test]
fn an_unreadable_image_has_no_features() {
    let fixture = Fixture::new();
    let without = (0..3).map(|image| if image == 1 { Ok(None) } else { values(image) });
    FeatureCache::write(&fixture.path, &fixture.folder(), &source(), without).unwrap();
    let cache = fixture.open();
    cache.check(&fixture.folder(), SIZE, Crop::Center).unwrap();
    assert!(cache.features(0, true).is_ok() && cache.features(2, false).is_ok());
    let message = cache.features(1, false).unwrap_err().to_string();
    assert!(message.contains("a/2.jpg could not be read"), "{message}");
}

#[test]
fn damaged_files_are_refused_in_one_sentence() {
    let fixture = Fixture::new();
    let whole = fs::read(&fixture.path).unwrap();
    let refuse = |bytes: &[u8], why: &str| {
        fs::write(&fixture.path, bytes).unwrap();
        let message = FeatureCache::open(&fixture.path).err().expect(why).to_string();
        assert!(message.contains("features.safetensors") && !message.contains('\n'), "{why}: {message}");
        message
    };
    for length in 0..whole.len() {
        refuse(&whole[..length], "truncated");
    }
    refuse(&[&whole[..], b"more"].concat(), "too long");
    refuse(b"not a safetensors file, but a sentence", "other file");
    let other = safetensors::serialize::<String, safetensors::tensor::TensorView, _>([], None).unwrap();
    assert!(refuse(&other, "no features").contains("but not one of features"));
    let damaged = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&whole[..at], to.as_bytes(), &whole[at + to.len()..]].concat()
    };
    assert!(refuse(&damaged(r#"format\":1"#, r#"format\":9"#), "newer").contains("format 9"));
    assert!(refuse(&damaged(r#"grid\":[2,3]"#, r#"grid\":[3,3]"#), "other grid").contains("has shape [3, 2, 2, 3, 5]"));
    assert!(refuse(&damaged(r#""names""#, r#""gnome""#), "no names").contains("no tensor names"));
    fs::remove_file(&fixture.path).unwrap();
    assert!(FeatureCache::open(&fixture.path).err().unwrap().to_string().contains("No such file"));
}

#[test]
fn a_writer_that_fails_leaves_what_was_there() {
    let fixture = Fixture::new();
    let before = fs::read(&fixture.path).unwrap();
    let write = |features: Vec<Result<Option<[Vec<f32>; 2]>>>| {
        let error = FeatureCache::write(&fixture.path, &fixture.folder(), &source(), features).unwrap_err();
        assert_eq!(files_beside(&fixture.path), 1, "no temporary file is left");
        assert_eq!(fs::read(&fixture.path).unwrap(), before);
        error.to_string()
    };
    assert!(write(vec![values(0), Err(Error::data("the model broke"))]).contains("the model broke"));
    assert!(write(vec![values(0)]).contains("of 1 images were given where there are 3"));
    assert!(write((0..4).map(values).collect()).contains("more than 3 images"));
    assert!(write(vec![Ok(Some([vec![0.0; 30], vec![0.0; 29]]))]).contains("a/1.jpg: 29 features"));
    let huge = |value: f32| vec![values(0), Ok(Some([vec![value; 30], vec![0.0; 30]]))];
    assert!(write(huge(1e5)).contains("a/2.jpg: feature 0 is 100000, which f16 cannot hold"));
    assert!(write(huge(f32::NAN)).contains("feature 0 is NaN"));
}

#[test]
fn what_a_killed_writer_leaves_is_ignored_and_overwritten() {
    let fixture = Fixture::new();
    let mut name = fixture.path.clone().into_os_string();
    name.push(".tmp");
    fs::copy(&fixture.path, &name).unwrap();
    truncate(Path::new(&name));
    fixture.open().check(&fixture.folder(), SIZE, Crop::Center).unwrap();
    FeatureCache::write(&fixture.path, &fixture.folder(), &source(), (0..3).map(values)).unwrap();
    assert_eq!(files_beside(&fixture.path), 1);
    fixture.open().check(&fixture.folder(), SIZE, Crop::Center).unwrap();
}

#[test]
fn an_open_cache_survives_its_replacement() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let before = open.features(1, true).unwrap().to_vec();
    FeatureCache::write(&fixture.path, &fixture.folder(), &source(), (0..3).map(|image| values(image + 7))).unwrap();
    assert_eq!(open.features(1, true).unwrap(), before);
    assert_ne!(fixture.open().features(1, true).unwrap(), before);
}

fn files_beside(path: &Path) -> usize {
    fs::read_dir(path.parent().unwrap()).unwrap().count()
}
