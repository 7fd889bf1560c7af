//! cvt: between all types, in all roundings.

use super::exact::{BF16, F16, F32, F64, Format, MODES, TF32};
use super::harness::Result::{Bits, Float};
use super::harness::{Bench, Inputs, Numbers, inputs, special};
use super::{FORMATS, saturated, written};

/// A number in another format.
fn converted(from: Format, to: Format, mode: &str, bits: u64) -> u64 {
    let v = from.value(bits);
    if !from.is_finite(bits) || v == 0.0 { written(to, v) } else { to.sum(mode, &[from.term(bits)], v) }
}

/// Numbers of `from`, among them those around which roundings to `to` change.
fn around(from: Format, to: Format) -> Vec<Inputs> {
    let mut all = inputs(from, 1000);
    for bits in special(to) {
        let near = converted(to, from, "rz", bits);
        for step in [0, 1, 2] {
            all.push([near.wrapping_sub(step), 0, 0]);
            all.push([near + step, 0, 0]);
        }
        // The middle of two numbers of the narrower format, and its neighbours.
        let half = 1u64.checked_shl((from.mantissa.saturating_sub(to.mantissa)).wrapping_sub(1)).unwrap_or(0);
        all.extend([near + half, (near + half).wrapping_sub(1), near + half + 1].map(|bits| [bits, 0, 0]));
    }
    let mask = from.sign() | (from.sign() - 1);
    all.into_iter().map(|input| input.map(|bits| bits & mask)).collect()
}

#[test]
fn floats_become_other_floats() {
    let bench = Bench::new();
    for (from, from_name) in FORMATS {
        for (to, to_name) in FORMATS {
            let all = around(from, to);
            let widens = to.mantissa > from.mantissa && to.exponent >= from.exponent;
            if widens {
                let text = format!("cvt.{to_name}.{from_name} %d, %a;");
                bench.check(&text, Float(to), &[from.bits()], &all, |[a, ..]| converted(from, to, "rn", a));
                let text = format!("cvt.sat.{to_name}.{from_name} %d, %a;");
                bench.check(&text, Bits(to.bits()), &[from.bits()], &all, |[a, ..]| {
                    saturated(to, converted(from, to, "rn", a))
                });
                continue;
            }
            if from == to {
                for mode in MODES {
                    let integral = |[a, ..]: Inputs| {
                        let v = rounded(from.value(a), mode);
                        if v.is_finite() && v != 0.0 { from.near(v) } else { written(to, v) }
                    };
                    bench.check(
                        &format!("cvt.{mode}i.{to_name}.{from_name} %d, %a;"),
                        Float(to),
                        &[from.bits()],
                        &all,
                        integral,
                    );
                }
                bench.check(
                    &format!("cvt.{to_name}.{from_name} %d, %a;"),
                    Float(to),
                    &[from.bits()],
                    &all,
                    |[a, ..]| a,
                );
                continue;
            }
            for mode in MODES {
                let expected = |[a, ..]: Inputs| converted(from, to, mode, a);
                let text = |more: &str| format!("cvt.{mode}{more}.{to_name}.{from_name} %d, %a;");
                bench.check(&text(""), Float(to), &[from.bits()], &all, expected);
                bench.check(&text(".sat"), Bits(to.bits()), &[from.bits()], &all, |i| saturated(to, expected(i)));
                if to.bits() == 16 && from == F32 {
                    let relu = |i| if to.value(expected(i)) <= 0.0 { 0 } else { expected(i) };
                    bench.check(&text(".relu"), Float(to), &[32], &all, relu);
                    let finite = |i| match expected(i) {
                        d if d & !to.sign() == to.infinity() => d - 1,
                        d => d,
                    };
                    bench.check(&text(".satfinite"), Float(to), &[32], &all, finite);
                    bench.check(&text(".ftz"), Float(to), &[32], &all, |[a, b, c]| expected([F32.flush(a), b, c]));
                }
                if to == F32 {
                    bench.check(&text(".ftz"), Float(to), &[from.bits()], &all, |i| to.flush(expected(i)));
                }
            }
        }
    }
    // NaNs of 16 bits are of one kind.
    bench.check("cvt.rn.bf16.f32 %d, %a;", Bits(16), &[32], &[[0xffc0_0001, 0, 0]], |_| 0x7fff);
    bench.check("cvt.rz.f16.f32 %d, %a;", Bits(16), &[32], &[[0x7fc0_0001, 0, 0]], |_| 0x7fff);
}

fn rounded(v: f64, mode: &str) -> f64 {
    match mode {
        "rn" => v.round_ties_even(),
        "rz" => v.trunc(),
        "rm" => v.floor(),
        _ => v.ceil(),
    }
}

#[test]
fn tf32_keeps_ten_bits() {
    let bench = Bench::new();
    let all = around(F32, TF32);
    for mode in ["rna", "rn", "rz"] {
        let expected = |[a, ..]: Inputs| converted(F32, TF32, mode, a) << 13;
        bench.check(&format!("cvt.{mode}.tf32.f32 %d, %a;"), Float(F32), &[32], &all, expected);
    }
    bench.check("cvt.rna.tf32.f32 %d, %a;", Bits(32), &[32], &[[0xffc0_0001, 0, 0]], |_| 0x7fff_ffff);
}

#[test]
fn pairs_hold_the_first_source_above() {
    let bench = Bench::new();
    for (to, name) in [(F16, "f16x2"), (BF16, "bf16x2")] {
        let all: Vec<Inputs> = around(F32, to).windows(2).map(|two| [two[0][0], two[1][0], 0]).collect();
        for mode in ["rn", "rz"] {
            for relu in [false, true] {
                let one = |bits: u64| {
                    let d = converted(F32, to, mode, bits);
                    if to.is_nan(d) {
                        return 0x7fff;
                    }
                    if relu && to.is_negative(d) { 0 } else { d }
                };
                let text = format!("cvt.{mode}{}.{name}.f32 %d, %a, %b;", if relu { ".relu" } else { "" });
                bench.check(&text, Bits(32), &[32, 32], &all, |[a, b, _]| one(a) << 16 | one(b));
            }
        }
    }
}

/// Integer types: name, bits, least, greatest.
fn integers() -> Vec<(String, u32, i128, i128)> {
    let unsigned = [8, 16, 32, 64].map(|bits| (format!("u{bits}"), bits, 0, (1i128 << bits) - 1));
    let signed =
        [8, 16, 32, 64].map(|bits| (format!("s{bits}"), bits, -(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1));
    unsigned.into_iter().chain(signed).collect()
}

/// The register of an integer type.
fn register(bits: u32) -> u32 {
    bits.max(16)
}

/// The value of a type's low bits.
fn value(bits: u32, least: i128, word: u64) -> i128 {
    let low = i128::from(word) & ((1 << bits) - 1);
    if least < 0 && low >> (bits - 1) != 0 { low - (1 << bits) } else { low }
}

fn words() -> Vec<Inputs> {
    let mut numbers = Numbers(1);
    let mut all: Vec<u64> =
        (0..64).flat_map(|n| [1u64 << n, (1u64 << n) - 1, (1u64 << n) + 1, (1u64 << n).wrapping_neg()]).collect();
    all.extend((0..500).map(|n| numbers.next() >> (n % 64)));
    all.extend((0..500).map(|n| (numbers.next() >> (n % 64)).wrapping_neg()));
    all.into_iter().map(|word| [word, 0, 0]).collect()
}

#[test]
fn integers_become_floats() {
    let bench = Bench::new();
    let all = words();
    for (name, bits, least, _) in integers() {
        for (to, to_name) in FORMATS {
            for mode in MODES {
                let expected = |[a, ..]: Inputs| {
                    let v = value(bits, least, a);
                    to.sum(mode, &[(v < 0, v.unsigned_abs(), 0)], v as f64)
                };
                bench.check(
                    &format!("cvt.{mode}.{to_name}.{name} %d, %a;"),
                    Float(to),
                    &[register(bits)],
                    &all,
                    expected,
                );
            }
        }
    }
}

#[test]
fn floats_become_integers_within_their_range() {
    let bench = Bench::new();
    for (from, from_name) in FORMATS {
        let mut all = inputs(from, 500);
        for (n, half) in (0..66).flat_map(|n| [(n, 0.0), (n, 0.5), (n, -0.5)]) {
            let near = from.near(2f64.powi(n) + half).min(from.infinity() - 1);
            all.extend(
                [near, near + 1, near - 1, near | from.sign(), (near + 1) | from.sign()].map(|bits| [bits, 0, 0]),
            );
        }
        for (name, bits, least, greatest) in integers() {
            for mode in MODES {
                let expected = |[a, ..]: Inputs| {
                    let v = rounded(from.value(a), mode);
                    let d = match v.is_nan() {
                        true if from == F64 || bits == 64 => 1i128 << (bits - 1),
                        true => 0,
                        // `as` is exact where it does not clamp.
                        false => (v as i128).clamp(least, greatest),
                    };
                    extended(d, bits, least)
                };
                let d = register(bits);
                bench.check(
                    &format!("cvt.{mode}i.{name}.{from_name} %d, %a;"),
                    Bits(d),
                    &[from.bits()],
                    &all,
                    expected,
                );
            }
        }
    }
    // A subnormal is flushed before it is rounded up.
    bench.check("cvt.rpi.s32.f32 %d, %a;", Bits(32), &[32], &[[1, 0, 0]], |_| 1);
    bench.check("cvt.rpi.ftz.s32.f32 %d, %a;", Bits(32), &[32], &[[1, 0, 0]], |_| 0);
    bench.check("cvt.rmi.ftz.s32.f32 %d, %a;", Bits(32), &[32], &[[0x8000_0001, 0, 0]], |_| 0);
}

/// As it lies in its register: extended by its sign or by zeros.
fn extended(d: i128, bits: u32, least: i128) -> u64 {
    let d = value(bits, least, d as u64);
    d as u64 & (u64::MAX >> (64 - register(bits)))
}

#[test]
fn integers_wrap_or_saturate() {
    let bench = Bench::new();
    let all = words();
    for (from_name, from, from_least, _) in integers() {
        for (to_name, to, to_least, to_greatest) in integers() {
            let v = |a: u64| value(from, from_least, a);
            let text = |sat: &str| format!("cvt{sat}.{to_name}.{from_name} %d, %a;");
            let d = register(to);
            bench.check(&text(""), Bits(d), &[register(from)], &all, |[a, ..]| extended(v(a), to, to_least));
            let saturated = |[a, ..]: Inputs| extended(v(a).clamp(to_least, to_greatest), to, to_least);
            bench.check(&text(".sat"), Bits(d), &[register(from)], &all, saturated);
            // Wider registers on both sides.
            let wide = |[a, ..]: Inputs| value(to, to_least, v(a) as u64) as u64;
            bench.check(&text(""), Bits(64), &[64], &all, wide);
            if to < 32 && from < 32 {
                bench.check(&text(""), Bits(32), &[32], &all, |i| wide(i) & 0xffff_ffff);
            }
        }
    }
}

#[test]
fn integers_are_packed() {
    let bench = Bench::new();
    let numbers = words();
    let all: Vec<Inputs> =
        numbers.windows(3).map(|three| [three[0][0], three[1][0], three[2][0]].map(|w| w & 0xffff_ffff)).collect();
    let clamp = |word: u64, least: i128, greatest: i128, bits: u32| {
        value(32, -1, word).clamp(least, greatest) as u64 & ((1 << bits) - 1)
    };
    for (name, bits, least, greatest) in integers().into_iter().filter(|i| i.1 < 32) {
        let part = |word| clamp(word, least, greatest, bits);
        if bits == 16 {
            let expected = |[a, b, _]: Inputs| part(a) << 16 | part(b);
            bench.check(&format!("cvt.pack.sat.{name}.s32 %d, %a, %b;"), Bits(32), &[32; 2], &all, expected);
        } else {
            let expected = |[a, b, c]: Inputs| (c << 16 | part(a) << 8 | part(b)) & 0xffff_ffff;
            bench.check(&format!("cvt.pack.sat.{name}.s32.b32 %d, %a, %b, %c;"), Bits(32), &[32; 3], &all, expected);
        }
    }
}

#[test]
fn what_is_not_supported_does_not_load() {
    let bench = Bench::new();
    for body in [
        "cvt.f16.f32 %d, %a;",
        "cvt.s32.f32 %d, %a;",
        "cvt.rna.f16.f32 %d, %a;",
        "cvt.rn.e4m3x2.f32 %d, %a, %a;",
        "cvt.rni.f16.f32 %d, %a;",
        "add.rna.f32 %d, %a, %a;",
        "add.rn.f32.bf16 %d, %a, %a;",
        "div.f32 %d, %a, %a;",
        "fma.f32 %d, %a, %a, %a;",
        "ex2.f32 %d, %a;",
        "add.rn.f32 %d, %a;",
        "max.xorsign.f32 %d, %a, %a;",
    ] {
        assert!(!bench.loads(body, 32, &[32]), "{body}");
    }
    assert!(bench.loads("add.rn.f32 %d, %a, %a;", 32, &[32]));
}
