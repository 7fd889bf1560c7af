//! Random sequences from Philox4x32-10, for the host: `kernels/philox.h` compiled by the C compiler.
//!
//! Element `i` of the sequence `(seed, stream)` is a pure function of the three, with the same bits on every device.

use rayon::prelude::*;

mod ffi {
    unsafe extern "C" {
        pub fn vf_philox_u32(seed: u64, stream: u64, first: u64, out: *mut u32, count: usize);
        pub fn vf_philox_uniform(seed: u64, stream: u64, first: u64, out: *mut f32, count: usize);
        pub fn vf_philox_normal(seed: u64, stream: u64, first: u64, out: *mut f32, count: usize);
        #[cfg(test)]
        pub fn vf_philox4x32_10(counter: *const u32, key: *const u32, out: *mut u32);
    }
}

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

/// Fills `out` with the sequence's elements 0, 1, …: words.
pub fn words(seed: u64, stream: u64, out: &mut [u32]) {
    // SAFETY: it writes as many elements as it is told, from the start of the slice.
    fill(out, |first, out| unsafe { ffi::vf_philox_u32(seed, stream, first, out.as_mut_ptr(), out.len()) });
}

/// The sequence's elements 4·index to 4·index + 3: one counter's words.
pub fn block(seed: u64, stream: u64, index: u64) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: it writes as many elements as it is told, into the array.
    unsafe { ffi::vf_philox_u32(seed, stream, 4 * index, words.as_mut_ptr(), words.len()) };
    words
}

/// Fills `out` with the sequence's elements 0, 1, …: uniform in [0, 1), in steps of 2⁻²⁴.
pub fn uniform(seed: u64, stream: u64, out: &mut [f32]) {
    // SAFETY: it writes as many elements as it is told, from the start of the slice.
    fill(out, |first, out| unsafe { ffi::vf_philox_uniform(seed, stream, first, out.as_mut_ptr(), out.len()) });
}

/// Fills `out` with the sequence's elements 0, 1, …: standard normal (Box-Muller), none beyond ±6.8.
pub fn normal(seed: u64, stream: u64, out: &mut [f32]) {
    // SAFETY: it writes as many elements as it is told, from the start of the slice.
    fill(out, |first, out| unsafe { ffi::vf_philox_normal(seed, stream, first, out.as_mut_ptr(), out.len()) });
}

fn fill<T: Send>(out: &mut [T], part: impl Fn(u64, &mut [T]) + Sync) {
    out.par_chunks_mut(GRAIN).enumerate().for_each(|(i, out)| part((i * GRAIN) as u64, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers for philox4x32-10 published with Random123: counter, key, result.
    #[test]
    fn the_bijection_gives_the_published_answers() {
        let vectors = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([!0; 4], [!0; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in vectors {
            let (counter, key): ([u32; 4], [u32; 2]) = (counter, key);
            let mut out = [0; 4];
            // SAFETY: the three arrays are as long as the C declaration says.
            unsafe { ffi::vf_philox4x32_10(counter.as_ptr(), key.as_ptr(), out.as_mut_ptr()) };
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_sequence_does_not_depend_on_how_it_is_cut() {
        let mut whole = vec![0.0; 2 * GRAIN + 3];
        normal(7, 9, &mut whole);
        let mut part = [0.0; 10];
        let first = 2 * GRAIN - 7;
        // SAFETY: ten elements are asked for and the array holds ten.
        unsafe { ffi::vf_philox_normal(7, 9, first as u64, part.as_mut_ptr(), part.len()) };
        assert_eq!(part, whole[first..first + 10]);
    }

    /// Every value against Box-Muller in f64 over the same words: f32 rounding of the angle and the logarithm, 4e-7 of |z| ≤ 6.8.
    #[test]
    fn normal_is_box_muller() {
        let (seed, stream) = (0x0123_4567_89ab_cdef, 42);
        let mut words_of = vec![0; 1 << 16];
        let mut values = vec![0.0; 1 << 16];
        words(seed, stream, &mut words_of);
        normal(seed, stream, &mut values);
        for (word, value) in words_of.chunks_exact(2).zip(values.chunks_exact(2)) {
            let scale = 0.5_f64.powi(32);
            let radius = (-2.0 * ((f64::from(word[0]) + 0.5) * scale).ln()).sqrt();
            let angle = std::f64::consts::TAU * (f64::from(word[1]) * scale - 0.125);
            let expected = [radius * angle.cos(), radius * angle.sin()];
            for (value, expected) in value.iter().zip(expected) {
                // Near u = 1 the radius is √(2(1 − u)), and u itself is known to 2⁻²⁵ only.
                let rounding = if radius < 0.01 { 1e-3 } else { 3e-6 };
                assert!((f64::from(*value) - expected).abs() < rounding, "{value} for {expected} from {word:x?}");
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut values = vec![0.0; 1 << 20];
        let moment = |values: &[f32], power: i32| {
            values.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / values.len() as f64
        };
        normal(1, 2, &mut values);
        // Five standard errors of n = 2²⁰ samples: √(Var zᵏ / n) is 0.00098, 0.0014, 0.0038, 0.0096 for k = 1 … 4.
        for (power, expected, error) in [(1, 0.0, 0.00098), (2, 1.0, 0.0014), (3, 0.0, 0.0038), (4, 3.0, 0.0096)] {
            assert!((moment(&values, power) - expected).abs() < 5.0 * error, "moment {power}");
        }
        uniform(1, 2, &mut values);
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        // √(1/12 / n) is 0.00028; √(4/45 / n) is 0.00029.
        assert!((moment(&values, 1) - 0.5).abs() < 5.0 * 0.00028);
        assert!((moment(&values, 2) - 1.0 / 3.0).abs() < 5.0 * 0.00029);
    }
}
