//! Decoding and cropping against PIL; the numbers and the script that made them are in tests/golden.

use std::fs;

use sha2::{Digest, Sha256};
use vf_engine::data::Rgb;

use crate::{folder_of, repository, truncate};

fn sha256(pixels: &[u8]) -> String {
    Sha256::digest(pixels).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a table of golden numbers, split into words.
fn table(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(repository("tests/golden/images").join(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn centre_crops_equal_pils_to_the_bit() {
    let lines = table("crops.txt");
    assert_eq!(lines.len(), 23 * 5 + 2);
    for line in lines {
        let [path, size, expected] = &line[..] else { panic!("{line:?}") };
        let image = Rgb::open(repository(path)).unwrap();
        let size = size.parse().unwrap();
        let crop = image.center_crop(size).unwrap();
        assert_eq!((crop.width, crop.height), (size, size));
        assert_eq!(&sha256(&crop.pixels), expected, "{path} at {size}");
    }
}

#[test]
fn centre_crops_are_within_a_level_of_pils() {
    // The same as above at 64 pixels, with the pixels at hand: when a crop is wrong, this says by how much.
    let lines = table("crops.txt").into_iter().filter(|line| line[1] == "64");
    let strip = Rgb::open(repository("tests/golden/images/crops_64.png")).unwrap();
    for (n, line) in lines.enumerate() {
        let photo = &line[0];
        let crop = Rgb::open(repository(photo)).unwrap().center_crop(64).unwrap();
        let golden = strip.square(n * 64, 0, 64);
        let off = crop.pixels.iter().zip(&golden.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off <= 1, "{photo} is off by up to {off} levels");
    }
}

#[test]
fn every_format_equals_pils_rgb() {
    let lines = table("formats.txt");
    assert_eq!(lines.len(), 29);
    for line in lines {
        let [file, width, height, expected] = &line[..] else { panic!("{line:?}") };
        let image = Rgb::open(repository("tests/golden/images/formats").join(file)).unwrap();
        assert_eq!(format!("{} {}", image.width, image.height), format!("{width} {height}"), "{file}");
        assert_eq!(&sha256(&image.pixels), expected, "{file}");
    }
}

#[test]
fn images_are_appended_as_they_are_and_mirrored() {
    let image = Rgb { width: 2, height: 2, pixels: (0..12).collect() };
    let mut bytes = vec![99];
    image.append_to(&mut bytes, false);
    image.append_to(&mut bytes, true);
    assert_eq!(bytes[1..13], image.pixels);
    assert_eq!((bytes[0], &bytes[13..]), (99, &[3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8][..]));
}

#[test]
fn broken_files_give_one_sentence_with_their_name() {
    let folder = folder_of(&[("cut.jpg", "flower.jpg"), ("png.jpg", "flower.jpg")]);
    let path = |name: &str| folder.path().join(name);
    truncate(&path("cut.jpg"));
    fs::write(path("empty.png"), b"").unwrap();
    fs::write(path("text.webp"), b"no image at all").unwrap();
    for format in ["rgb8.png", "lossy.webp"] {
        fs::copy(repository("tests/golden/images/formats").join(format), path(format)).unwrap();
        truncate(&path(format));
    }
    for (name, reason) in [
        ("cut.jpg", "not a whole JPEG"),
        ("rgb8.png", "not a whole PNG"),
        ("lossy.webp", "not a whole WebP"),
        ("empty.png", "is empty"),
        ("text.webp", "not a JPEG, PNG or WebP"),
        ("missing.jpg", "No such file"),
    ] {
        let message = Rgb::open(path(name)).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(reason) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn the_content_counts_not_the_extension() {
    let folder = folder_of(&[]);
    let path = folder.path().join("really_a_png.jpg");
    let png = repository("tests/golden/images/formats/rgb8.png");
    fs::copy(&png, &path).unwrap();
    assert_eq!(Rgb::open(&path).unwrap(), Rgb::open(&png).unwrap());
}

#[test]
fn no_damage_to_a_file_is_a_panic() {
    // Every third byte of small images overwritten in turn, and every third length: an image or an error.
    let folder = folder_of(&[]);
    let path = folder.path().join("damaged");
    for name in ["420.jpg", "progressive.jpg", "palette4.png", "lossy.webp"] {
        let whole = fs::read(repository("tests/golden/images/formats").join(name)).unwrap();
        let mut broken = 0;
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            fs::write(&path, &bytes).unwrap();
            broken += u32::from(Rgb::open(&path).is_err());
            fs::write(&path, &whole[..at]).unwrap();
            broken += u32::from(Rgb::open(&path).is_err());
        }
        assert!(broken > 0, "{name} can be damaged");
    }
}

#[test]
fn a_sliver_is_refused_before_it_fills_the_memory() {
    let sliver = Rgb { width: 1, height: 100_000, pixels: vec![7; 300_000] };
    let message = sliver.center_crop(256).unwrap_err().to_string();
    assert!(message.contains("1x100000"), "{message}");
}
