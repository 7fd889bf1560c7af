//! Random sequences from Philox4x32-10, for the host: `kernels/philox.h` compiled by the C compiler.
//!
//! Element `i` of the sequence `(seed, stream)` is a pure function of the three, and has the same bits on every device.

mod ffi {
    unsafe extern "C" {
        pub fn vf_philox_u32(seed: u64, stream: u64, first: u64, out: *mut u32, count: usize);
        pub fn vf_philox_uniform(seed: u64, stream: u64, first: u64, out: *mut f32, count: usize);
        pub fn vf_philox_normal(seed: u64, stream: u64, first: u64, out: *mut f32, count: usize);
    }
}

/// Fills `out` with the words `first`, `first + 1`, … of the sequence.
pub fn philox_u32(seed: u64, stream: u64, first: u64, out: &mut [u32]) {
    // SAFETY: the function writes `out.len()` elements to `out` and nothing else.
    unsafe { ffi::vf_philox_u32(seed, stream, first, out.as_mut_ptr(), out.len()) }
}

/// Fills `out` with the elements `first`, `first + 1`, … of the sequence, uniform in [0, 1) in steps of 2⁻²⁴.
pub fn uniform(seed: u64, stream: u64, first: u64, out: &mut [f32]) {
    // SAFETY: the function writes `out.len()` elements to `out` and nothing else.
    unsafe { ffi::vf_philox_uniform(seed, stream, first, out.as_mut_ptr(), out.len()) }
}

/// Fills `out` with the elements `first`, `first + 1`, … of the sequence, standard normal (Box-Muller), at most 6.8 in size.
pub fn normal(seed: u64, stream: u64, first: u64, out: &mut [f32]) {
    // SAFETY: the function writes `out.len()` elements to `out` and nothing else.
    unsafe { ffi::vf_philox_normal(seed, stream, first, out.as_mut_ptr(), out.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of philox4x32-10 that Random123 publishes (its `kat_vectors`): counter, key, result.
    #[test]
    fn philox_matches_the_published_vectors() {
        let vectors: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([!0; 4], [!0; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in vectors {
            let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
            let block = join(counter[0], counter[1]);
            let mut out = [0; 4];
            // Elements are numbered by four times the counter, modulo 2⁶⁴.
            if block < 1 << 62 {
                philox_u32(join(key[0], key[1]), join(counter[2], counter[3]), 4 * block, &mut out);
                assert_eq!(out, expected);
            }
        }
    }
}
