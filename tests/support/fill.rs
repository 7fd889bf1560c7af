//! Weights that golden sets do not store: a hash, bit-exact in any language, and the index rule of sampled tensors.

/// 2⁶⁴ over the golden ratio: the increment of SplitMix64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// `n` values f32(f32(v·scale) + offset), v in [−1, 1): SplitMix64 keyed by the FNV-1a hash of `name` and by `seed`.
pub fn hash_fill(name: &str, seed: u64, n: usize, scale: f32, offset: f32) -> Vec<f32> {
    let key = fnv1a(name) ^ seed.wrapping_mul(GOLDEN);
    (1..=n as u64)
        .map(|i| {
            let mut z = key.wrapping_add(i.wrapping_mul(GOLDEN));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            // 2k − 2²⁴ has at most 24 significant bits: v is exact in f32.
            let v = (2.0 * (z >> 40) as f32 - 16_777_216.0) / 16_777_216.0;
            v * scale + offset
        })
        .collect()
}

fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// (scale, offset) of sets without a `fill` table: √(3/fan_in) for matrices and convolutions, 0.2 around 1 for
/// vectors named `weight`, 0.1 around 0 for other vectors. `None` for other ranks.
pub fn default_rule(name: &str, shape: &[usize]) -> Option<(f32, f32)> {
    match shape {
        [_] if name.ends_with("weight") => Some((0.2, 1.0)),
        [_] => Some((0.1, 0.0)),
        [_, i] => Some(((3.0 / *i as f64).sqrt() as f32, 0.0)),
        [_, i, kh, kw] => Some(((3.0 / (i * kh * kw) as f64).sqrt() as f32, 0.0)),
        _ => None,
    }
}

/// The flat indices of the `count` entries that a sampled tensor (`gsamp.X`, `adamsamp.X`) keeps of `numel`.
pub fn sample_indices(numel: usize, count: usize) -> Vec<usize> {
    (0..count as u64).map(|k| ((k * 2_654_435_761 + 12_345) % numel as u64) as usize).collect()
}
