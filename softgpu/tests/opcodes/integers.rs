//! Integer arithmetic against i128, where every sum is exact and every product right in its lowest 128 bits.

use super::harness::Result::Bits;
use super::harness::{Bench, Inputs, Numbers};

/// The types of most opcodes: name, bits, and whether it is signed.
pub const TYPES: [(&str, u32, bool); 6] = [
    ("u16", 16, false),
    ("s16", 16, true),
    ("u32", 32, false),
    ("s32", 32, true),
    ("u64", 64, false),
    ("s64", 64, true),
];

pub fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The integer that the lowest `bits` bits stand for.
pub fn value(word: u64, bits: u32, signed: bool) -> i128 {
    let magnitude = i128::from(word & mask(bits));
    if signed && word >> (bits - 1) & 1 == 1 { magnitude - (1 << bits) } else { magnitude }
}

/// The lowest `bits` bits of an integer.
pub fn wrap(value: i128, bits: u32) -> u64 {
    value as u64 & mask(bits)
}

/// All triples of limits of every width, and others of all magnitudes.
pub fn inputs() -> Vec<Inputs> {
    let mut numbers = Numbers(21);
    let edges: Vec<u64> = [0, 1, 2, 3, 0xff, 1 << 24]
        .into_iter()
        .chain(
            [8, 16, 24, 32, 64].iter().flat_map(|&bits| [mask(bits), mask(bits) - 1, 1 << (bits - 1), mask(bits) >> 1]),
        )
        .collect();
    let mut all = vec![];
    for &a in &edges {
        for &b in &edges {
            all.push([a, b, numbers.pick(&edges)]);
        }
    }
    all.extend((0..3000).map(|_| [(); 3].map(|()| numbers.next() >> (numbers.next() % 64))));
    all
}

/// Checks an opcode whose sources are of one type, and whose result has `d` bits, against a function of integers.
fn check(
    bench: &Bench,
    opcode: &str,
    sources: usize,
    (bits, signed): (u32, bool),
    d: u32,
    f: impl Fn([i128; 3]) -> i128,
) {
    let body = format!("{opcode} %d, {};", ["%a", "%b", "%c"][..sources].join(", "));
    let expected = |input: Inputs| wrap(f(input.map(|word| value(word, bits, signed))), d);
    bench.check(&body, Bits(d), &vec![bits; sources], &inputs(), expected);
}

#[test]
fn sums_and_products() {
    let bench = Bench::new();
    for (name, bits, signed) in TYPES {
        let two = |op: &str, f: fn(i128, i128) -> i128| {
            check(&bench, &format!("{op}.{name}"), 2, (bits, signed), bits, |[a, b, _]| f(a, b));
        };
        two("add", |a, b| a + b);
        two("sub", |a, b| a - b);
        two("min", i128::min);
        two("max", i128::max);
        two("mul.lo", i128::wrapping_mul);
        // By zero: what an H100 answers; PTX leaves it open.
        two("div", |a, b| if b == 0 { -1 } else { a / b });
        two("rem", |a, b| if b == 0 { -1 } else { a % b });
        // Of 128 bits, the sign does not matter to the lower ones.
        let high = move |a: i128, b: i128| (a.wrapping_mul(b) as u128 >> bits) as i128;
        check(&bench, &format!("mul.hi.{name}"), 2, (bits, signed), bits, |[a, b, _]| high(a, b));
        let three = |op: &str, f: &dyn Fn(i128, i128, i128) -> i128| {
            check(&bench, &format!("{op}.{name}"), 3, (bits, signed), bits, |[a, b, c]| f(a, b, c));
        };
        three("mad.lo", &|a, b, c| a.wrapping_mul(b).wrapping_add(c));
        three("mad.hi", &|a, b, c| high(a, b).wrapping_add(c));
        three("sad", &|a, b, c| (a - b).abs() + c);
        if signed {
            check(&bench, &format!("abs.{name}"), 1, (bits, true), bits, |[a, ..]| a.abs());
            check(&bench, &format!("neg.{name}"), 1, (bits, true), bits, |[a, ..]| -a);
        }
        if bits < 64 {
            check(&bench, &format!("mul.wide.{name}"), 2, (bits, signed), 2 * bits, |[a, b, _]| a * b);
            let body = format!("mad.wide.{name} %d, %a, %b, %c;");
            bench.check(&body, Bits(2 * bits), &[bits, bits, 2 * bits], &inputs(), |[a, b, c]| {
                wrap(value(a, bits, signed) * value(b, bits, signed) + i128::from(c), 2 * bits)
            });
        }
    }
}

#[test]
fn sums_that_saturate() {
    let bench = Bench::new();
    let clamp = |v: i128| v.clamp(i32::MIN.into(), i32::MAX.into());
    let s32 = (32, true);
    check(&bench, "add.sat.s32", 2, s32, 32, |[a, b, _]| clamp(a + b));
    check(&bench, "sub.sat.s32", 2, s32, 32, |[a, b, _]| clamp(a - b));
    check(&bench, "mad.hi.sat.s32", 3, s32, 32, |[a, b, c]| clamp((a * b >> 32) + c));
    check(&bench, "min.relu.s32", 2, s32, 32, |[a, b, _]| a.min(b).max(0));
    check(&bench, "max.relu.s32", 2, s32, 32, |[a, b, _]| a.max(b).max(0));
}

#[test]
fn products_of_24_bits() {
    let bench = Bench::new();
    for (name, signed) in [("u32", false), ("s32", true)] {
        let low = |v: i128| value(v as u64, 24, signed);
        let source = (32, signed);
        check(&bench, &format!("mul24.lo.{name}"), 2, source, 32, |[a, b, _]| low(a) * low(b));
        check(&bench, &format!("mul24.hi.{name}"), 2, source, 32, |[a, b, _]| low(a) * low(b) >> 16);
        check(&bench, &format!("mad24.lo.{name}"), 3, source, 32, |[a, b, c]| low(a) * low(b) + c);
        check(&bench, &format!("mad24.hi.{name}"), 3, source, 32, |[a, b, c]| (low(a) * low(b) >> 16) + c);
    }
    let clamp = |v: i128| v.clamp(i32::MIN.into(), i32::MAX.into());
    check(&bench, "mad24.hi.sat.s32", 3, (32, true), 32, |[a, b, c]| {
        clamp((value(a as u64, 24, true) * value(b as u64, 24, true) >> 16) + c)
    });
}

#[test]
fn dot_products() {
    let bench = Bench::new();
    for (a_name, a_signed) in [("u32", false), ("s32", true)] {
        for (b_name, b_signed) in [("u32", false), ("s32", true)] {
            let a_part = |a: u64, bits: u32, n: u32| value(a >> (bits * n), bits, a_signed);
            let b_part = |b: u64, n: u32| value(b >> (8 * n), 8, b_signed);
            let four = |[a, b, c]: Inputs| {
                let products: i128 = (0..4).map(|n| a_part(a, 8, n) * b_part(b, n)).sum();
                wrap(products + i128::from(c), 32)
            };
            let body = format!("dp4a.{a_name}.{b_name} %d, %a, %b, %c;");
            bench.check(&body, Bits(32), &[32; 3], &inputs(), four);
            for (part, first) in [("lo", 0), ("hi", 2)] {
                let two = |[a, b, c]: Inputs| {
                    let products: i128 = (0..2).map(|n| a_part(a, 16, n) * b_part(b, first + n)).sum();
                    wrap(products + i128::from(c), 32)
                };
                let body = format!("dp2a.{part}.{a_name}.{b_name} %d, %a, %b, %c;");
                bench.check(&body, Bits(32), &[32; 3], &inputs(), two);
            }
        }
    }
}

/// Halves of 64-bit words, and one word of both.
const SPLIT: &str = ".reg .b32 %x<8>; mov.b64 {%x0, %x1}, %a; mov.b64 {%x2, %x3}, %b; mov.b64 {%x4, %x5}, %c;";
const JOIN: &str = "mov.b64 %d, {%x6, %x7};";

#[test]
fn carries_make_wider_words() {
    let bench = Bench::new();
    let run = |body: &str, f: &dyn Fn(u64, u64, u64) -> u64| {
        bench.check(&format!("{SPLIT} {body} {JOIN}"), Bits(64), &[64; 3], &inputs(), |[a, b, c]| f(a, b, c));
    };
    run("add.cc.u32 %x6, %x0, %x2; addc.u32 %x7, %x1, %x3;", &|a, b, _| a.wrapping_add(b));
    run("sub.cc.u32 %x6, %x0, %x2; subc.u32 %x7, %x1, %x3;", &|a, b, _| a.wrapping_sub(b));
    // In the middle of a chain the carry goes in and out.
    let middle = "add.cc.u32 %x6, %x0, %x2; addc.cc.u32 %x6, %x1, %x3; addc.u32 %x7, %x4, 0;";
    run(middle, &|a, b, c| {
        let sum = u128::from(a) + u128::from(b);
        let carry = (sum >> 64) as u32;
        (sum >> 32) as u32 as u64 | u64::from((c as u32).wrapping_add(carry)) << 32
    });
    let middle = "sub.cc.u32 %x6, %x0, %x2; subc.cc.u32 %x6, %x1, %x3; subc.u32 %x7, %x4, 0;";
    run(middle, &|a, b, c| {
        let difference = u128::from(a).wrapping_sub(u128::from(b));
        let borrow = u32::from(a < b);
        (difference >> 32) as u32 as u64 | u64::from((c as u32).wrapping_sub(borrow)) << 32
    });
    let product = "mad.lo.cc.u32 %x6, %x0, %x2, %x4; madc.hi.u32 %x7, %x0, %x2, %x5;";
    run(product, &|a, b, c| (a & mask(32)).wrapping_mul(b & mask(32)).wrapping_add(c));
    let product = "mad.lo.cc.s32 %x6, %x0, %x2, %x4; madc.hi.s32 %x7, %x0, %x2, %x5;";
    run(product, &|a, b, c| (value(a, 32, true) * value(b, 32, true)).wrapping_add(i128::from(c)) as u64);
    let wide = ".reg .b64 %y; add.cc.u64 %y, %a, %b; addc.u64 %d, %c, 0;";
    bench.check(wide, Bits(64), &[64; 3], &inputs(), |[a, b, c]| {
        c.wrapping_add((u128::from(a) + u128::from(b) >> 64) as u64)
    });
    let wide = ".reg .b64 %y; mad.lo.cc.u64 %y, %a, %b, %c; madc.hi.u64 %d, %a, %b, 0;";
    bench.check(wide, Bits(64), &[64; 3], &inputs(), |[a, b, c]| {
        (u128::from(a) * u128::from(b) + u128::from(c) >> 64) as u64
    });
}

#[test]
fn pairs_of_16_bits() {
    let bench = Bench::new();
    let check = |opcode: &str, signed: bool, f: &dyn Fn(i128, i128) -> i128| {
        bench.check(&format!("{opcode} %d, %a, %b;"), Bits(32), &[32; 2], &inputs(), |[a, b, _]| {
            let half = |n: u32| wrap(f(value(a >> n, 16, signed), value(b >> n, 16, signed)), 16) << n;
            half(0) | half(16)
        });
    };
    for (name, signed) in [("u16x2", false), ("s16x2", true)] {
        check(&format!("add.{name}"), signed, &|a, b| a + b);
        check(&format!("min.{name}"), signed, &i128::min);
        check(&format!("max.{name}"), signed, &i128::max);
    }
    check("min.relu.s16x2", true, &|a, b| a.min(b).max(0));
    check("max.relu.s16x2", true, &|a, b| a.max(b).max(0));
}
