//! How good images are, through the command line: reconstructions beside their originals, and distances between folders.

mod support;

use std::fs;
use std::path::Path;

use support::cli::{fail, succeed};
use support::second_stage::{IMAGES, bench};
use vf_engine::checkpoint;
use vf_engine::data::{ImageFolder, Rgb};

#[test]
fn distances_between_images() {
    let bench = bench();
    let weights = vit_weights(&bench.path("vit.safetensors"));
    let frechet = |arguments: &[&str]| {
        let mut command = bench.engine(&["eval", "frechet"]);
        command.args(arguments).args(["--weights", &weights, "--size", "32", "--heads", "1"]);
        command
    };
    let same = succeed(frechet(&["images", "images"]).arg("--json"));
    let report: serde_json::Value = serde_json::from_str(&same).unwrap();
    assert!(report["distance"].as_f64().unwrap() < 1e-6, "{same}");
    assert_eq!(report["images"], serde_json::json!([IMAGES, IMAGES]));
    assert!(report["name"].as_str().unwrap().starts_with("FD-"), "{same}");

    fs::create_dir(bench.path("dark")).unwrap();
    for i in 0..4u8 {
        image::RgbImage::from_pixel(40, 40, image::Rgb([i * 5, 9, 2]))
            .save(bench.path("dark").join(format!("{i}.png")))
            .unwrap();
    }
    succeed(&mut frechet(&["images", "--save", "images.stats"]));
    let from_folder = succeed(&mut frechet(&["images", "dark"]));
    let from_stats = succeed(&mut frechet(&["images.stats", "dark"]));
    assert!(from_folder == from_stats && from_folder.contains("between 7 and 4 images"), "{from_folder}");
    let unlike = fail(bench.engine(&["eval", "frechet", "images.stats", "dark"]).args([
        "--weights",
        &weights,
        "--heads",
        "1",
        "--size",
        "16",
    ]));
    assert!(unlike.contains("cannot be compared"), "{unlike}");
}

#[test]
fn a_tokenizer_gives_images_back() {
    let bench = bench();
    let reconstruct = |arguments: &[&str]| {
        let mut command = bench.engine(&["eval", "reconstruction", "images", "--tokenizer", "vae"]);
        command.args(arguments);
        command
    };
    let printed = succeed(&mut reconstruct(&["--batch", "3", "--out", "back"]));
    assert!(printed.contains("over 7 images of 32×32"), "{printed}");
    let report: serde_json::Value = serde_json::from_str(&succeed(&mut reconstruct(&["--json"]))).unwrap();
    let psnr = report["psnr"].as_f64().unwrap();
    assert!(printed.contains(&format!("{psnr:.2} dB")), "{printed}");

    // The mean again, from what was written: as good but for its rounding to 8 bits.
    let folder = ImageFolder::open(bench.path("images")).unwrap();
    let again = (0..IMAGES).map(|i| {
        let back = Rgb::open(bench.path("back").join(format!("{i:06}.png"))).unwrap();
        let crop = folder.center_crop(i, 32).unwrap();
        let squares = crop.pixels.iter().zip(&back.pixels).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
        10.0 * (255f64.powi(2) / (squares.sum::<f64>() / crop.pixels.len() as f64)).log10()
    });
    assert!((again.sum::<f64>() / IMAGES as f64 - psnr).abs() < 0.1, "{psnr}");
    assert!(fail(&mut reconstruct(&["--size", "30"])).contains("30"));
    assert!(fail(&mut reconstruct(&["--out", "back"])).contains("not empty"));
}

/// A ViT of one block in MAE style, its weights arbitrary.
fn vit_weights(path: &Path) -> String {
    let (dim, patch, hidden) = (16, 16, 32);
    let shapes: Vec<(String, Vec<usize>)> = [
        ("patch_embed.proj.weight", vec![dim, 3, patch, patch]),
        ("patch_embed.proj.bias", vec![dim]),
        ("cls_token", vec![1, 1, dim]),
        ("pos_embed", vec![1, 5, dim]),
        ("blocks.0.norm1.weight", vec![dim]),
        ("blocks.0.norm1.bias", vec![dim]),
        ("blocks.0.attn.qkv.weight", vec![3 * dim, dim]),
        ("blocks.0.attn.qkv.bias", vec![3 * dim]),
        ("blocks.0.attn.proj.weight", vec![dim, dim]),
        ("blocks.0.attn.proj.bias", vec![dim]),
        ("blocks.0.norm2.weight", vec![dim]),
        ("blocks.0.norm2.bias", vec![dim]),
        ("blocks.0.mlp.fc1.weight", vec![hidden, dim]),
        ("blocks.0.mlp.fc1.bias", vec![hidden]),
        ("blocks.0.mlp.fc2.weight", vec![dim, hidden]),
        ("blocks.0.mlp.fc2.bias", vec![dim]),
        ("norm.weight", vec![dim]),
        ("norm.bias", vec![dim]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .into();
    let values: Vec<Vec<f32>> = shapes
        .iter()
        .map(|(_, shape)| (0..shape.iter().product()).map(|i: usize| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect())
        .collect();
    let entries: Vec<checkpoint::Entry> = shapes
        .iter()
        .zip(&values)
        .map(|((name, shape), values)| checkpoint::Entry::new(name.clone(), shape, values))
        .collect();
    checkpoint::export(path, &entries).unwrap();
    path.display().to_string()
}
