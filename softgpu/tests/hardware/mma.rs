//! mma.sync on floating-point numbers, from its definition: fragments become matrices, and matrices are multiplied.
//!
//! PTX does not say how the sum is rounded. All answers of the H100 are explained, to the last bit, by this: the products and C are
//! exact, are cut off at 2^-25 of the power of two of the largest of them (a product has the sum of its factors' exponents), are
//! added, and the sum is cut off to f32; or rounded to nearest, if D is f16. softgpu adds in f32 in the order of k.

use half::{bf16, f16};

const M: usize = 16;
const N: usize = 8;

/// What the instruction's name says.
pub struct Shape {
    k: usize,
    /// The type of A and B.
    element: String,
    /// Whether C and D are f16.
    halves: bool,
}

impl Shape {
    /// Of `mma.m16n8kK.D.A.B.C`; `None` for what is not mma or is mma on integers.
    pub fn parse(name: &str) -> Option<Shape> {
        let parts: Vec<&str> = name.split('.').collect();
        let ["mma", shape, d, a, ..] = parts[..] else { return None };
        let k = shape.strip_prefix("m16n8k")?.parse().ok()?;
        (d != "s32").then(|| Shape { k, element: a.to_string(), halves: d == "f16" })
    }

    /// Elements of A or B in a register.
    fn per_word(&self) -> usize {
        if self.element == "tf32" { 1 } else { 2 }
    }

    fn element(&self, word: u32, n: usize) -> f64 {
        let half = (word >> (16 * n)) as u16;
        match self.element.as_str() {
            "tf32" => f32::from_bits(word & 0xffff_e000).into(),
            "bf16" => bf16::from_bits(half).into(),
            _ => f16::from_bits(half).into(),
        }
    }

    /// Element `n` of the four that a lane holds of C or D.
    fn accumulator(&self, words: &[u32], n: usize) -> f64 {
        match self.halves {
            true => f16::from_bits((words[n / 2] >> (16 * (n % 2))) as u16).into(),
            false => f32::from_bits(words[n]).into(),
        }
    }
}

/// Row and column in C and D of element `n` of a lane.
fn place(lane: usize, n: usize) -> (usize, usize) {
    (lane / 4 + 8 * (n / 2), 2 * (lane % 4) + n % 2)
}

/// The exponent of the power of two below, for a number that is not zero.
fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

fn cut(x: f64, last: i32) -> f64 {
    let unit = f64::from(last).exp2();
    (x / unit).trunc() * unit
}

/// The sum of products and C as an H100 makes it.
fn hardware_sum(factors: &[(f64, f64)], c: f64, halves: bool) -> f64 {
    let products = factors.iter().filter(|(a, b)| a * b != 0.0).map(|&(a, b)| (a * b, exponent(a) + exponent(b)));
    let terms: Vec<(f64, i32)> = products.chain((c != 0.0).then(|| (c, exponent(c)))).collect();
    let Some(largest) = terms.iter().map(|term| term.1).max() else { return 0.0 };
    let sum: f64 = terms.iter().map(|term| cut(term.0, largest - 25)).sum();
    match sum {
        0.0 => 0.0,
        _ if halves => f16::from_f64(sum).into(),
        _ => cut(sum, exponent(sum) - 23),
    }
}

/// Compares softgpu's and the hardware's D with the definition. Lanes lie one after the other, and of each lane A, B, C, or D and words
/// that are not written.
pub fn check(name: &str, shape: Shape, inputs: &[u32], ours: &[u32], theirs: &[u32]) {
    let (k, per_word) = (shape.k, shape.per_word());
    let (a_words, b_words, c_words) = (M * k / per_word / 32, N * k / per_word / 32, if shape.halves { 2 } else { 4 });
    let of_lane = a_words + b_words + c_words;
    let sets = inputs.chunks(32 * of_lane).zip(ours.chunks(128)).zip(theirs.chunks(128));
    for ((inputs, ours), theirs) in sets {
        let (mut a, mut b) = (vec![[0.0; M]; k], vec![[0.0; N]; k]);
        for (lane, words) in inputs.chunks(of_lane).enumerate() {
            let (group, in_group) = (lane / 4, lane % 4);
            for n in 0..per_word {
                for word in 0..a_words {
                    a[(in_group + 4 * (word / 2)) * per_word + n][group + 8 * (word % 2)] =
                        shape.element(words[word], n);
                }
                for word in 0..b_words {
                    b[(in_group + 4 * word) * per_word + n][group] = shape.element(words[a_words + word], n);
                }
            }
        }
        for lane in 0..32 {
            for n in 0..4 {
                let (row, column) = place(lane, n);
                let c = shape.accumulator(&inputs[lane * of_lane + a_words + b_words..], n);
                let [ours, theirs] = [ours, theirs].map(|d| shape.accumulator(&d[4 * lane..], n));
                let factors: Vec<(f64, f64)> = (0..k).map(|k| (a[k][row], b[k][column])).collect();
                let exact = factors.iter().map(|(a, b)| a * b).sum::<f64>() + c;
                let size = factors.iter().map(|(a, b)| (a * b).abs()).sum::<f64>() + c.abs();
                // A rounding to f32 for every product, and one to f16.
                let last = if shape.halves { exact.abs() * 2f64.powi(-11) + 2f64.powi(-25) } else { 0.0 };
                let bound = k as f64 * 2f64.powi(-24) * size + last;
                let at = format!("{name}: D[{row}, {column}]");
                assert!((ours - exact).abs() <= bound, "{at} is {ours:e}, not {exact:e}");
                let model = hardware_sum(&factors, c, shape.halves);
                assert_eq!(theirs, model, "{at} on hardware, which the model says is {model:e}");
            }
        }
    }
}
