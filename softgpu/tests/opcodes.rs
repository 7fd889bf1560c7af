//! What opcodes give, against their definitions: integers, bits, and numbers with their roundings, NaNs, infinities and subnormals.

#[path = "opcodes/approximations.rs"]
mod approximations;
#[path = "opcodes/atomics.rs"]
mod atomics;
#[path = "opcodes/bits.rs"]
mod bits;
#[path = "opcodes/comparisons.rs"]
mod comparisons;
#[path = "opcodes/conversions.rs"]
mod conversions;
#[path = "opcodes/exact.rs"]
mod exact;
#[path = "opcodes/harness.rs"]
mod harness;
#[path = "opcodes/integers.rs"]
mod integers;
#[path = "opcodes/matrices.rs"]
mod matrices;
#[path = "opcodes/warps.rs"]
mod warps;

use std::cmp::Ordering;

use exact::{BF16, F16, F32, F64, Format, MODES, product, sign};
use harness::Result::{Bits, Float};
use harness::{Bench, Inputs, inputs};

const FORMATS: [(Format, &str); 4] = [(F16, "f16"), (BF16, "bf16"), (F32, "f32"), (F64, "f64")];

/// A NaN, an infinity or a zero, as a format writes it.
fn written(f: Format, v: f64) -> u64 {
    let sign = if v.is_sign_negative() { f.sign() } else { 0 };
    match v {
        _ if v.is_nan() => f.infinity() + 1,
        _ if v.is_infinite() => f.infinity() | sign,
        _ => sign,
    }
}

/// The correctly rounded result. What has no exact value is the host's.
fn arithmetic(f: Format, op: &str, mode: &str, [a, b, c]: Inputs) -> u64 {
    let (x, y, z) = (f.value(a), f.value(b), f.value(c));
    let (ta, tb, tc) = (f.term(a), f.term(b), f.term(c));
    let negated = (!tb.0, tb.1, tb.2);
    let finite = f.is_finite(a) && f.is_finite(b) && (op != "fma" || f.is_finite(c));
    match op {
        "add" if finite => f.sum(mode, &[ta, tb], x + y),
        "sub" if finite => f.sum(mode, &[ta, negated], x - y),
        "mul" if finite => f.sum(mode, &[product(ta, tb)], x * y),
        "fma" if finite => f.sum(mode, &[product(ta, tb), tc], x.mul_add(y, z)),
        "div" if finite && !f.is_zero(a) && !f.is_zero(b) => f.round(mode, ta.0 != tb.0, x / y, |m, e| {
            let (_, m, e) = product((false, m, e), tb);
            sign(&[(false, m, e), (true, ta.1, ta.2)])
        }),
        "add" => written(f, x + y),
        "sub" => written(f, x - y),
        "mul" => written(f, x * y),
        "fma" => written(f, x.mul_add(y, z)),
        _ => written(f, x / y),
    }
}

fn root(f: Format, mode: &str, a: u64) -> u64 {
    let (v, term) = (f.value(a), f.term(a));
    if !f.is_finite(a) || v <= 0.0 {
        return written(f, v.sqrt());
    }
    f.round(mode, false, v.sqrt(), |m, e| sign(&[(false, m * m, 2 * e), (true, term.1, term.2)]))
}

/// Into [0, 1]; NaN becomes 0.
fn saturated(f: Format, bits: u64) -> u64 {
    let one = ((1 << (f.exponent - 1)) - 1) << f.mantissa;
    match f.value(bits) {
        v if v.is_nan() || v <= 0.0 => 0,
        v if v >= 1.0 => one,
        _ => bits,
    }
}

#[test]
fn arithmetic_is_rounded_as_its_mode_says() {
    let bench = Bench::new();
    for (f, name) in [(F32, "f32"), (F64, "f64")] {
        let all = inputs(f, 2000);
        for (op, mode) in ["add", "sub", "mul", "div", "fma"].into_iter().flat_map(|op| MODES.map(|mode| (op, mode))) {
            let operands = if op == "fma" { "%d, %a, %b, %c" } else { "%d, %a, %b" };
            let sources = vec![f.bits(); if op == "fma" { 3 } else { 2 }];
            let expected = |input: Inputs| arithmetic(f, op, mode, input);
            bench.check(&format!("{op}.{mode}.{name} {operands};"), Float(f), &sources, &all, expected);
            if name == "f64" {
                continue;
            }
            let flushed = |input: Inputs| f.flush(expected(input.map(|bits| f.flush(bits))));
            bench.check(&format!("{op}.{mode}.ftz.{name} {operands};"), Float(f), &sources, &all, flushed);
            if op == "div" {
                continue;
            }
            let text = format!("{op}.{mode}.sat.{name} {operands};");
            bench.check(&text, Bits(32), &sources, &all, |input| saturated(f, expected(input)));
            let text = format!("{op}.{mode}.ftz.sat.{name} {operands};");
            bench.check(&text, Bits(32), &sources, &all, |input| saturated(f, flushed(input)));
        }
        bench.check(&format!("mad.rn.{name} %d, %a, %b, %c;"), Float(f), &[f.bits(); 3], &all, |input| {
            arithmetic(f, "fma", "rn", input)
        });
        bench.check(&format!("add.{name} %d, %a, %b;"), Float(f), &[f.bits(); 2], &all, |i| {
            arithmetic(f, "add", "rn", i)
        });
    }
}

#[test]
fn reciprocals_and_roots_are_rounded_as_their_mode_says() {
    let bench = Bench::new();
    for (f, name) in [(F32, "f32"), (F64, "f64")] {
        let one = ((1 << (f.exponent - 1)) - 1) << f.mantissa;
        let all = inputs(f, 5000);
        for mode in MODES {
            let rcp = |[a, ..]: Inputs| arithmetic(f, "div", mode, [one, a, 0]);
            let sqrt = |[a, ..]: Inputs| root(f, mode, a);
            bench.check(&format!("rcp.{mode}.{name} %d, %a;"), Float(f), &[f.bits()], &all, rcp);
            bench.check(&format!("sqrt.{mode}.{name} %d, %a;"), Float(f), &[f.bits()], &all, sqrt);
            if name == "f32" {
                let ftz = |[a, b, c]: Inputs| f.flush(rcp([f.flush(a), b, c]));
                bench.check(&format!("rcp.{mode}.ftz.{name} %d, %a;"), Float(f), &[f.bits()], &all, ftz);
                let ftz = |[a, b, c]: Inputs| f.flush(sqrt([f.flush(a), b, c]));
                bench.check(&format!("sqrt.{mode}.ftz.{name} %d, %a;"), Float(f), &[f.bits()], &all, ftz);
            }
        }
    }
}

/// `expected` for both halves of pairs: inputs are joined two by two, the first the lower half.
fn check_pairs(bench: &Bench, text: &str, sources: usize, all: &[Inputs], f: Format, expected: impl Fn(Inputs) -> u64) {
    let joined: Vec<Inputs> = all.windows(2).map(|two| std::array::from_fn(|n| two[0][n] | two[1][n] << 16)).collect();
    let got = bench.run(text, 32, &vec![32; sources], &joined);
    for (input, got) in joined.into_iter().zip(got) {
        for shift in [0, 16] {
            let (got, want) = (got >> shift & 0xffff, expected(input.map(|word| word >> shift & 0xffff)));
            assert!(
                got == want || f.is_nan(got) && f.is_nan(want),
                "{text} of {input:x?} is {got:#x} at {shift}, not {want:#x}"
            );
        }
    }
}

/// A scalar and its pair.
fn check_half(
    bench: &Bench,
    op: &str,
    name: &str,
    sources: usize,
    all: &[Inputs],
    f: Format,
    expected: impl Fn(Inputs) -> u64,
) {
    let operands = ["", "%d, %a;", "%d, %a, %b;", "%d, %a, %b, %c;"][sources];
    bench.check(&format!("{op}.{name} {operands}"), Float(f), &vec![16; sources], all, &expected);
    check_pairs(bench, &format!("{op}.{name}x2 {operands}"), sources, all, f, &expected);
}

#[test]
fn half_arithmetic_is_rounded_once() {
    let bench = Bench::new();
    for (f, name) in [(F16, "f16"), (BF16, "bf16")] {
        let all = inputs(f, 4000);
        for (op, sources) in [("add", 2), ("sub", 2), ("mul", 2), ("fma", 3)] {
            let expected = |input: Inputs| arithmetic(f, op, "rn", input);
            check_half(&bench, &format!("{op}.rn"), name, sources, &all, f, expected);
            if op == "fma" {
                let relu = |bits: u64| if f.value(bits) <= 0.0 { 0 } else { bits };
                check_half(&bench, "fma.rn.relu", name, sources, &all, f, |input| relu(expected(input)));
            }
            if name == "f16" {
                let flushed = |input: Inputs| f.flush(expected(input.map(|bits| f.flush(bits))));
                check_half(&bench, &format!("{op}.rn.ftz"), name, sources, &all, f, flushed);
                check_half(&bench, &format!("{op}.rn.sat"), name, sources, &all, f, |input| {
                    saturated(f, expected(input))
                });
            }
        }
        // A product that is the middle of two numbers, and a term that f64 does not hold beside it.
        let one = ((1 << (f.exponent - 1)) - 1) << f.mantissa;
        if name == "bf16" {
            let odd = [one + 1, one + 1, 0x0080];
            bench.check("fma.rn.bf16 %d, %a, %b, %c;", Float(f), &[16; 3], &[odd], |i| arithmetic(f, "fma", "rn", i));
            // 1.5 * 1.5 * 2^k has its last bit in the middle: 1.0625 * 1.0625 is 1 + 2^-3 + 2^-8.
            let middle = [one | 8, one | 8, 0x0080];
            bench
                .check("fma.rn.bf16 %d, %a, %b, %c;", Float(f), &[16; 3], &[middle], |i| arithmetic(f, "fma", "rn", i));
            assert_eq!(arithmetic(f, "fma", "rn", middle), (one | 16) + 1);
        }
        check_half(&bench, "abs", name, 1, &all, f, |[a, ..]| a & 0x7fff);
        check_half(&bench, "neg", name, 1, &all, f, |[a, ..]| a ^ 0x8000);
    }
}

/// The lesser or greater: -0 is less than +0; NaN loses, or wins with `nan`.
fn extreme(f: Format, max: bool, nan: bool, a: u64, b: u64) -> u64 {
    match (f.is_nan(a), f.is_nan(b)) {
        (true, true) => f.infinity() | 1,
        (true, false) => {
            if nan {
                a
            } else {
                b
            }
        }
        (false, true) => {
            if nan {
                b
            } else {
                a
            }
        }
        _ => {
            let key = |bits: u64| (f.value(bits), !f.is_negative(bits));
            let a_is_less = key(a).partial_cmp(&key(b)) == Some(Ordering::Less);
            if a_is_less != max { a } else { b }
        }
    }
}

fn xorsign(f: Format, max: bool, nan: bool, a: u64, b: u64) -> u64 {
    let d = extreme(f, max, nan, a & !f.sign(), b & !f.sign());
    if f.is_nan(d) { d } else { d | ((a ^ b) & f.sign()) }
}

#[test]
fn extremes_and_signs() {
    let bench = Bench::new();
    for (f, name) in FORMATS {
        let all = inputs(f, 500);
        let sources = [f.bits(); 3];
        for (op, max) in [("min", false), ("max", true)] {
            let plain = |nan| move |[a, b, _]: Inputs| extreme(f, max, nan, a, b);
            bench.check(&format!("{op}.{name} %d, %a, %b;"), Float(f), &sources[..2], &all, plain(false));
            if name == "f64" {
                continue;
            }
            bench.check(&format!("{op}.NaN.{name} %d, %a, %b;"), Float(f), &sources[..2], &all, plain(true));
            for (nan, suffix) in [(false, ""), (true, ".NaN")] {
                let text = format!("{op}{suffix}.xorsign.abs.{name} %d, %a, %b;");
                bench.check(&text, Float(f), &sources[..2], &all, |[a, b, _]| xorsign(f, max, nan, a, b));
                if f.bits() == 16 {
                    let text = format!("{op}{suffix}.{name}x2 %d, %a, %b;");
                    check_pairs(&bench, &text, 2, &all, f, |[a, b, _]| extreme(f, max, nan, a, b));
                    let text = format!("{op}{suffix}.xorsign.abs.{name}x2 %d, %a, %b;");
                    check_pairs(&bench, &text, 2, &all, f, |[a, b, _]| xorsign(f, max, nan, a, b));
                } else {
                    let three = |[a, b, c]: Inputs| extreme(f, max, nan, extreme(f, max, nan, a, b), c);
                    bench.check(&format!("{op}{suffix}.{name} %d, %a, %b, %c;"), Float(f), &sources, &all, three);
                    let text = format!("{op}{suffix}.abs.{name} %d, %a, %b, %c;");
                    bench.check(&text, Float(f), &sources, &all, |input| three(input.map(|bits| bits & !f.sign())));
                }
            }
            if name != "bf16" {
                let ftz = |[a, b, _]: Inputs| extreme(f, max, false, f.flush(a), f.flush(b));
                bench.check(&format!("{op}.ftz.{name} %d, %a, %b;"), Float(f), &sources[..2], &all, ftz);
            }
        }
        // NaNs that these give are of one kind.
        if f.bits() <= 32 {
            let (nan, canonical) = (f.infinity() + 1, f.sign() - 1);
            bench.check(&format!("max.NaN.{name} %d, %a, %b;"), Bits(f.bits()), &sources[..2], &[[nan, 0, 0]], |_| {
                canonical
            });
        }
        if f.bits() >= 32 {
            bench.check(&format!("abs.{name} %d, %a;"), Float(f), &sources[..1], &all, |[a, ..]| a & !f.sign());
            bench.check(&format!("neg.{name} %d, %a;"), Float(f), &sources[..1], &all, |[a, ..]| a ^ f.sign());
            let copied = |[a, b, _]: Inputs| (a & f.sign()) | (b & !f.sign());
            bench.check(&format!("copysign.{name} %d, %a, %b;"), Bits(f.bits()), &sources[..2], &all, copied);
        }
    }
    let all = inputs(F32, 100);
    bench.check("abs.ftz.f32 %d, %a;", Float(F32), &[32], &all, |[a, ..]| F32.flush(a) & !F32.sign());
    bench.check("neg.ftz.f32 %d, %a;", Float(F32), &[32], &all, |[a, ..]| F32.flush(a) ^ F32.sign());
}
