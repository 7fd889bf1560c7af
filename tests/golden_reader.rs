//! The golden reader itself: its hash, its layouts, its tolerances, and that it refuses what it does not know.

mod support;

use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use support::compare::{FLOOR, NOISE_MULTIPLE, Noise, Tolerance, compare};
use support::fill::{default_rule, hash_fill, sample_indices};
use support::golden::Golden;
use support::kind::{Kind, files, identify};
use support::tensor::Tensor;

#[test]
fn hash_fill_has_the_published_values() {
    let abc = [0.958_617_2_f32, -0.768_325_1, -0.393_241_76, -0.603_211_16];
    assert_eq!(hash_fill("abc", 7, 4, 1.0, 0.0), abc);
    let conv_in = [-0.344_290_14_f32, 0.046_155_69, -0.633_410_2];
    assert_eq!(hash_fill("encoder.conv_in.weight", 2203, 3, 1.0, 0.0), conv_in);
    // Scaled and offset with a rounding to f32 after each.
    assert_eq!(hash_fill("abc", 7, 1, 0.2, 1.0), [abc[0] * 0.2 + 1.0]);
}

#[test]
fn default_fill_depends_on_the_rank() {
    assert_eq!(default_rule("norm1.weight", &[64]), Some((0.2, 1.0)));
    assert_eq!(default_rule("norm1.bias", &[64]), Some((0.1, 0.0)));
    assert_eq!(default_rule("fc.weight", &[7, 3]), Some((1.0, 0.0)));
    assert_eq!(default_rule("conv.weight", &[7, 3, 2, 2]), Some((0.5, 0.0)));
    assert_eq!(default_rule("odd.weight", &[7, 3, 2]), None);
}

#[test]
fn sampled_entries_follow_the_index_rule() {
    assert_eq!(sample_indices(1000, 3), [345, (2_654_435_761_u64 + 12_345) as usize % 1000, 867]);
}

#[test]
fn axes_move_there_and_back() {
    let image = Tensor { shape: vec![1, 2, 1, 3], data: vec![0.0, 1.0, 2.0, 10.0, 11.0, 12.0] };
    let last = image.channels_last();
    assert_eq!(last.shape, [1, 1, 3, 2]);
    assert_eq!(last.data, [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
    assert_eq!(last.channels_first(), image);
}

#[test]
fn sets_are_known_by_name_or_by_metadata() {
    let nothing = Value::Null;
    let by_name = |name: &str| identify(Path::new(name), &nothing);
    assert_eq!(by_name("vae_seed7.safetensors"), Some(Kind::Vae));
    assert_eq!(by_name("vae_gan.safetensors"), Some(Kind::VaeGan));
    assert_eq!(by_name("full_vavae_2.safetensors"), Some(Kind::FullVaVae));
    assert_eq!(by_name("dit_hd72.safetensors"), Some(Kind::Dit));
    assert_eq!(by_name("uniformity.json"), Some(Kind::Uniformity));
    assert_eq!(by_name("weights.safetensors"), None);

    let by_metadata = |metadata: Value| identify(Path::new("a.safetensors"), &metadata);
    let vae = json!({"ch": 32, "ch_mult": [1, 2]});
    assert_eq!(by_metadata(json!({"config": vae})), Some(Kind::Vae));
    assert_eq!(by_metadata(json!({"config": vae, "disc_weight": 0.5})), Some(Kind::VaeGan));
    assert_eq!(by_metadata(json!({"config": vae, "sample_index": ""})), Some(Kind::FullVaVae));
    assert_eq!(by_metadata(json!({"kind": "mae", "config": {}})), Some(Kind::VitMae));
    assert_eq!(by_metadata(json!({"cases": [{"cos_margin": 0.5}]})), Some(Kind::VfLoss));
    assert_eq!(by_metadata(json!({"config": "LightningDiT-B/1"})), Some(Kind::FullDit));
    assert_eq!(by_metadata(json!({"something": 1})), None);
}

/// Metadata decides alone: every set there is would be recognised under another name, too.
#[test]
fn every_set_is_known_under_any_name() -> Result<()> {
    for path in files()? {
        let golden = Golden::open(&path)?;
        if golden.kind != Kind::Uniformity {
            let renamed = identify(Path::new("renamed.safetensors"), &golden.metadata);
            assert_eq!(renamed, Some(golden.kind), "{}", path.display());
        }
    }
    Ok(())
}

#[test]
fn files_of_no_known_kind_are_errors() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let open = |name: &str, bytes: &[u8]| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(format!("{:#}", Golden::open(&path).expect_err("must be refused")))
    };
    let metadata = br#"{"__metadata__":{"json":"{}"}}"#;
    let bytes = [&(metadata.len() as u64).to_le_bytes()[..], metadata].concat();
    assert!(open("mystery.safetensors", &bytes)?.contains("unknown kind"));
    assert!(open("ops.safetensors", b"not safetensors")?.contains("ops.safetensors"));
    assert!(open("ops.bin", b"")?.contains("neither .safetensors nor .json"));
    Ok(())
}

/// Where a set stores a parameter that its table fills, or the beginning of one, both must agree to the bit.
#[test]
fn stored_parameters_equal_their_fill() -> Result<()> {
    let mut compared = 0;
    for path in files()? {
        let golden = Golden::open(&path)?;
        let Some(seed) = golden.metadata["fill_seed"].as_u64() else {
            continue;
        };
        for name in golden.param_names() {
            let rule = &golden.metadata["fill"][&name];
            let (Some(scale), Some(offset)) = (rule[0].as_f64(), rule[1].as_f64()) else {
                continue;
            };
            for kept in [format!("param.{name}"), format!("fillcheck.{name}")] {
                let Ok(stored) = golden.stored(&kept) else {
                    continue;
                };
                let filled = hash_fill(&name, seed, stored.data.len(), scale as f32, offset as f32);
                assert_eq!(filled, stored.data, "{} {kept}", path.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no set stores a filled parameter");
    Ok(())
}

/// A gradient in the engine's layout, compared by the samples and the norm that the trimmed set keeps.
#[test]
fn sampled_gradients_are_compared_in_the_references_layout() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vae.safetensors");
    let golden = Golden::open(&path)?;
    let name = "decoder.mid.block_1.conv1.weight";
    let shape = golden.shape(&format!("grad.{name}")).expect("described");
    let numel = shape.iter().product();
    // A gradient that has the samples where they belong and, elsewhere, what the norm leaves over.
    let samples = golden.stored(&format!("gsamp.{name}"))?;
    let norm = f64::from(golden.scalar(&format!("gnorm.{name}"))?);
    let mut reference = Tensor { shape, data: vec![0.0; numel] };
    let indices = sample_indices(numel, samples.data.len());
    for (&i, &value) in indices.iter().zip(&samples.data) {
        reference.data[i] = value;
    }
    let kept: f64 = reference.data.iter().map(|&v| f64::from(v).powi(2)).sum();
    let elsewhere = (0..numel).find(|i| !indices.contains(i)).expect("64 of many");
    reference.data[elsewhere] = (norm * norm - kept).sqrt() as f32;

    let ours = reference.channels_last();
    assert!(golden.check_gradient(name, &ours.shape, &ours.data)? <= 1.0);
    let wrong = Tensor { shape: ours.shape.clone(), data: reference.data };
    assert!(golden.check_gradient(name, &wrong.shape, &wrong.data).is_err());
    let halved: Vec<f32> = ours.data.iter().map(|v| 0.5 * v).collect();
    assert!(golden.check_gradient(name, &ours.shape, &halved).is_err());
    assert!(golden.check_gradient("no.such.weight", &[1], &[0.0]).is_err());
    Ok(())
}

/// An attention's key bias has no gradient: what rounding leaves is judged against the other gradients.
#[test]
fn vanishing_gradients_are_judged_by_the_largest() -> Result<()> {
    let open = |name: &str| Golden::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name));
    let (ops, vae) = (open("ops.safetensors")?, open("vae.safetensors")?);
    let largest = ops.stored("attnblock.grad_p.v.weight")?.largest();
    assert!(ops.tolerance("attnblock.grad_p.k.bias")?.absolute > FLOOR * largest);
    let global = vae.metadata["grad_global_max"].as_f64().expect("given");
    assert!(vae.tolerance("grad.encoder.mid.attn_1.k.bias")?.absolute > FLOOR * global);
    assert!(vae.tolerance("grad.decoder.conv_out.bias")?.absolute <= FLOOR * global);
    Ok(())
}

#[test]
fn parameters_come_with_their_shape_or_not_at_all() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vit_mae.safetensors");
    let golden = Golden::open(&path)?;
    assert_eq!(golden.param("norm.weight", &[64])?.data.len(), 64);
    assert!(golden.param("norm.weight", &[63]).is_err());
    assert!(golden.param("no.such.weight", &[64]).is_err());
    Ok(())
}

#[test]
fn comparison_refuses_what_is_off() {
    let tolerance = Tolerance::new(Some(Noise { absolute: 1e-6, relative: 1e-6 }), 2.0);
    assert_eq!(tolerance.absolute, NOISE_MULTIPLE * 1e-6 + FLOOR * 2.0);
    let expected = [1.0, 2.0];
    assert_eq!(compare(&expected, &expected, tolerance).unwrap(), 0.0);
    assert!(compare(&[1.0, 2.000_005], &expected, tolerance).unwrap() < 1.0);
    let off = compare(&[1.0, 2.0001], &expected, tolerance).unwrap_err();
    assert!(off.to_string().contains("entry 1"));
    assert!(compare(&[1.0, f32::NAN], &expected, tolerance).is_err());
    assert!(compare(&[1.0], &expected, tolerance).is_err());
}
