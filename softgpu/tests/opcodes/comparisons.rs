//! setp, set, slct, testp, selp, mov, prmt, cvta, isspacep, createpolicy.

use std::cmp::Ordering;

use super::FORMATS;
use super::exact::{F32, F64, Format};
use super::harness::Result::Bits;
use super::harness::{Bench, Inputs, Numbers, inputs};

const FLOAT: [&str; 14] = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];
const INTEGER: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];

/// Whether a comparison holds for an order; `None` is unordered.
fn holds(comparison: &str, order: Option<Ordering>) -> bool {
    use Ordering::*;
    match (comparison, order) {
        ("num", order) => order.is_some(),
        ("nan", order) => order.is_none(),
        (name, None) => name.len() == 3,
        (name, Some(order)) => match &name[..2] {
            "eq" => order == Equal,
            "ne" => order != Equal,
            "lt" | "lo" => order == Less,
            "le" | "ls" => order != Greater,
            "gt" | "hi" => order == Greater,
            _ => order != Less,
        },
    }
}

/// How a third predicate takes part.
fn combined(operation: &str, t: bool, c: bool) -> bool {
    match operation {
        "and" => t && c,
        "or" => t || c,
        _ => t != c,
    }
}

/// p in bit 0, q in bit 1.
const BOTH: &str = "selp.b32 %w4, 1, 0, %p; selp.b32 %w5, 2, 0, %q; or.b32 %d, %w4, %w5;";

/// Third inputs become 0 or 1.
fn with_predicate(inputs: Vec<Inputs>) -> Vec<Inputs> {
    inputs.into_iter().zip(0..).map(|([a, b, _], n)| [a, b, n % 2]).collect()
}

fn check_setp(
    bench: &Bench,
    comparison: &str,
    name: &str,
    bits: u32,
    all: &[Inputs],
    order: &dyn Fn(u64, u64) -> Option<Ordering>,
) {
    let test = |a, b| holds(comparison, order(a, b));
    let text = format!("setp.{comparison}.{name} %d, %a, %b;");
    bench.check(&text, Bits(1), &[bits; 2], all, |[a, b, _]| test(a, b).into());
    let text = format!("setp.{comparison}.{name} %p|%q, %a, %b; {BOTH}");
    bench.check(&text, Bits(32), &[bits; 2], all, |[a, b, _]| if test(a, b) { 1 } else { 2 });
    for operation in ["and", "or", "xor"] {
        for negated in [false, true] {
            let sign = if negated { "!" } else { "" };
            let text = format!("setp.{comparison}.{operation}.{name} %p|%q, %a, %b, {sign}%c; {BOTH}");
            bench.check(&text, Bits(32), &[bits, bits, 1], all, |[a, b, c]| {
                let (t, c) = (test(a, b), (c != 0) != negated);
                u64::from(combined(operation, t, c)) | u64::from(combined(operation, !t, c)) << 1
            });
        }
    }
}

#[test]
fn floats_compare_by_order_and_nan() {
    let bench = Bench::new();
    for (f, name) in FORMATS {
        let all = with_predicate(inputs(f, 200).into_iter().step_by(3).collect());
        let order = |a, b| f.value(a).partial_cmp(&f.value(b));
        for comparison in FLOAT {
            check_setp(&bench, comparison, name, f.bits(), &all, &order);
            if matches!(name, "f32" | "f16") {
                let text = format!("setp.{comparison}.ftz.{name} %d, %a, %b;");
                let flushed = |[a, b, _]: Inputs| holds(comparison, order(f.flush(a), f.flush(b))).into();
                bench.check(&text, Bits(1), &[f.bits(); 2], &all, flushed);
            }
            if f.bits() == 16 {
                let pairs: Vec<Inputs> =
                    all.windows(2).map(|t| [t[0][0] | t[1][0] << 16, t[0][1] | t[1][1] << 16, t[0][2]]).collect();
                let halves =
                    |a: u64, b: u64| [0, 16].map(|s| holds(comparison, order(a >> s & 0xffff, b >> s & 0xffff)));
                let text = format!("setp.{comparison}.{name}x2 %p|%q, %a, %b; {BOTH}");
                bench.check(&text, Bits(32), &[32; 2], &pairs, |[a, b, _]| {
                    let [p, q] = halves(a, b);
                    u64::from(p) | u64::from(q) << 1
                });
                let text = format!("setp.{comparison}.and.{name}x2 %p|%q, %a, %b, !%c; {BOTH}");
                bench.check(&text, Bits(32), &[32, 32, 1], &pairs, |[a, b, c]| {
                    let [p, q] = halves(a, b);
                    if c == 0 { u64::from(p) | u64::from(q) << 1 } else { 0 }
                });
                let text = format!("set.{comparison}.{name}x2.{name}x2 %d, %a, %b;");
                let one = if name == "f16" { 0x3c00 } else { 0x3f80 };
                bench.check(&text, Bits(32), &[32; 2], &pairs, |[a, b, _]| {
                    let [p, q] = halves(a, b).map(|t| u64::from(t) * one);
                    p | q << 16
                });
            }
        }
    }
}

#[test]
fn integers_compare_with_and_without_sign() {
    let bench = Bench::new();
    let mut numbers = Numbers(3);
    for bits in [16, 32, 64] {
        let mask = u64::MAX >> (64 - bits);
        let edges = [0, 1, 2, mask, mask - 1, mask >> 1, (mask >> 1) + 1];
        let mut all: Vec<Inputs> = edges.iter().flat_map(|&a| edges.map(|b| [a, b, 0])).collect();
        all.extend((0..200).map(|_| [numbers.next() & mask, numbers.next() & mask, 0]));
        let all = with_predicate(all);
        let signed = |word: u64| (word << (64 - bits)) as i64;
        for comparison in INTEGER {
            check_setp(&bench, comparison, &format!("s{bits}"), bits, &all, &|a, b| Some(signed(a).cmp(&signed(b))));
        }
        for comparison in INTEGER.into_iter().chain(["lo", "ls", "hi", "hs"]) {
            check_setp(&bench, comparison, &format!("u{bits}"), bits, &all, &|a, b| Some(a.cmp(&b)));
        }
        for comparison in ["eq", "ne"] {
            check_setp(&bench, comparison, &format!("b{bits}"), bits, &all, &|a, b| Some(a.cmp(&b)));
        }
        let text = format!("set.gt.u32.u{bits} %d, %a, %b;");
        bench.check(&text, Bits(32), &[bits; 2], &all, |[a, b, _]| if a > b { 0xffff_ffff } else { 0 });
        let text = format!("set.le.xor.f32.s{bits} %d, %a, %b, %c;");
        bench.check(&text, Bits(32), &[bits, bits, 1], &all, |[a, b, c]| {
            if (signed(a) <= signed(b)) != (c != 0) { 0x3f80_0000 } else { 0 }
        });
        let text = format!("selp.b{bits} %d, %a, %b, %c;");
        bench.check(&text, Bits(bits), &[bits, bits, 1], &all, |[a, b, c]| if c != 0 { a } else { b });
    }
}

#[test]
fn choices_by_sign_and_properties() {
    let bench = Bench::new();
    let all = inputs(F32, 100);
    let not_negative = |c: u64| F32.value(c) >= 0.0;
    bench.check(
        "slct.u32.f32 %d, %a, %b, %c;",
        Bits(32),
        &[32; 3],
        &all,
        |[a, b, c]| if not_negative(c) { a } else { b },
    );
    bench.check("slct.ftz.b32.f32 %d, %a, %b, %c;", Bits(32), &[32; 3], &all, |[a, b, c]| {
        if not_negative(F32.flush(c)) { a } else { b }
    });
    bench.check(
        "slct.b64.s32 %d, %a, %b, %c;",
        Bits(64),
        &[64, 64, 32],
        &all,
        |[a, b, c]| if c as i32 >= 0 { a } else { b },
    );
    type Kind = fn(Format, u64) -> bool;
    let kinds: [(&str, Kind); 6] = [
        ("finite", |f, a| f.is_finite(a)),
        ("infinite", |f, a| !f.is_finite(a) && !f.is_nan(a)),
        ("number", |f, a| !f.is_nan(a)),
        ("notanumber", |f, a| f.is_nan(a)),
        ("normal", |f, a| f.is_finite(a) && (f.is_zero(a) || f.flush(a) == a)),
        ("subnormal", |f, a| f.flush(a) != a),
    ];
    for (f, name) in [(F32, "f32"), (F64, "f64")] {
        for (kind, is) in kinds {
            let text = format!("testp.{kind}.{name} %d, %a;");
            bench.check(&text, Bits(1), &[f.bits()], &inputs(f, 100), |[a, ..]| is(f, a).into());
        }
    }
}

#[test]
fn moves_keep_packed_parts_apart() {
    let bench = Bench::new();
    let mut numbers = Numbers(5);
    let all: Vec<Inputs> = (0..200).map(|_| [(); 3].map(|()| numbers.next())).collect();
    let narrow =
        |bits: u32| all.iter().map(|input| input.map(|word| word & (u64::MAX >> (64 - bits)))).collect::<Vec<_>>();
    let (words, halves) = (narrow(32), narrow(16));
    bench.check("mov.b64 %d, {%a, %b};", Bits(64), &[32; 2], &words, |[a, b, _]| a | b << 32);
    bench.check("mov.b32 %d, {%a, %b};", Bits(32), &[16; 2], &halves, |[a, b, _]| a | b << 16);
    bench.check("mov.b64 %d, {%a, %b, %c, %a};", Bits(64), &[16; 3], &halves, |[a, b, c]| {
        a | b << 16 | c << 32 | a << 48
    });
    bench.check("mov.b64 {%w4, %d}, %a;", Bits(32), &[64], &all, |[a, ..]| a >> 32);
    bench.check("mov.b64 {%d, _}, %a;", Bits(32), &[64], &all, |[a, ..]| a & 0xffff_ffff);
    bench.check("mov.b32 {%h0, %d}, %a;", Bits(16), &[32], &words, |[a, ..]| a >> 16);
    bench.check("mov.b64 {%h0, %h1, %d, %h2}, %a;", Bits(16), &[64], &all, |[a, ..]| a >> 32 & 0xffff);
    // Parts that come apart into the register that they are read from.
    let text = "mov.b64 {%w4, %w5}, %a; mov.b64 %l4, {%w5, %w4}; mov.b64 %d, %l4;";
    bench.check(text, Bits(64), &[64], &all, |[a, ..]| a.rotate_left(32));
    let text = ".reg .b8 %x, %y, %z, %u; mov.b32 {%x, %y, %z, %u}, %a; mov.b32 %d, {%u, %z, %y, %x};";
    bench.check(text, Bits(32), &[32], &words, |[a, ..]| (a as u32).swap_bytes().into());
    let text = ".reg .b8 %x, %y; mov.b16 {%x, %y}, %a; mov.b16 %d, {%y, %x};";
    bench.check(text, Bits(16), &[16], &halves, |[a, ..]| (a as u16).swap_bytes().into());
    // A literal that is wider than its register.
    bench.check("mov.u16 %h0, -2; mov.b32 %d, {%h0, %a};", Bits(32), &[16], &halves, |[a, ..]| a << 16 | 0xfffe);
    bench.check("mov.pred %d, %a;", Bits(1), &[1], &[[0; 3], [1, 0, 0]], |[a, ..]| a);
    bench.check("mov.f32 %d, 1.5;", Bits(32), &[], &[[0; 3]], |_| 0x3fc0_0000);
    bench.check("mov.f64 %d, 0d3ff8000000000000;", Bits(64), &[], &[[0; 3]], |_| 0x3ff8_0000_0000_0000);
    bench.check("@%a mov.b32 %d, 7; @!%a mov.b32 %d, 9;", Bits(32), &[1], &[[0; 3], [1, 0, 0]], |[a, ..]| 9 - 2 * a);
}

#[test]
fn bytes_are_permuted() {
    let bench = Bench::new();
    let mut numbers = Numbers(7);
    let all: Vec<Inputs> = (0..500).map(|_| [(); 3].map(|()| numbers.next() & 0xffff_ffff)).collect();
    let byte = |a: u64, b: u64, n: u64| (a | b << 32) >> (8 * (n & 7)) & 0xff;
    let general = |[a, b, c]: Inputs| {
        (0..4).fold(0, |d, n| {
            let nibble = c >> (4 * n) & 15;
            let byte = byte(a, b, nibble);
            d | if nibble < 8 { byte } else { (byte >> 7) * 0xff } << (8 * n)
        })
    };
    bench.check("prmt.b32 %d, %a, %b, %c;", Bits(32), &[32; 3], &all, general);
    for selector in [0x5410, 0x7632, 0x0123, 0x3210, 0xfedc, 0x8001] {
        let text = format!("prmt.b32 %d, %a, %b, {selector};");
        bench.check(&text, Bits(32), &[32; 2], &all, |[a, b, _]| general([a, b, selector]));
    }
    // What each mode takes for bytes 3 to 0, in terms of the selector's value.
    type Bytes = fn(u64) -> [u64; 4];
    let modes: [(&str, Bytes); 6] = [
        ("f4e", |c| [c + 3, c + 2, c + 1, c]),
        ("b4e", |c| [c + 5, c + 6, c + 7, c].map(|n| n % 8)),
        ("rc8", |c| [c; 4]),
        ("ecl", |c| [3, 2, 1, 0].map(|n: u64| n.max(c))),
        ("ecr", |c| [3, 2, 1, 0].map(|n: u64| n.min(c))),
        ("rc16", |c| [1, 0, 1, 0].map(|n| n + 2 * (c & 1))),
    ];
    for (mode, bytes) in modes {
        bench.check(&format!("prmt.b32.{mode} %d, %a, %b, %c;"), Bits(32), &[32; 3], &all, |[a, b, c]| {
            bytes(c & 3).into_iter().fold(0, |d, n| d << 8 | byte(a, b, n))
        });
    }
}

#[test]
fn generic_addresses_lie_in_windows() {
    let bench = Bench::new();
    let offset = [[0x40u64, 0, 0]];
    for (space, is) in [("shared", [1, 0, 0]), ("shared::cta", [1, 0, 0]), ("local", [0, 1, 0]), ("global", [0, 0, 1])]
    {
        let back = format!("cvta.{space}.u64 %l4, %a; cvta.to.{space}.u64 %d, %l4;");
        bench.check(&back, Bits(64), &[64], &offset, |[a, ..]| a);
        for (other, expected) in ["shared", "local", "global"].into_iter().zip(is) {
            let text = format!("cvta.{space}.u64 %l4, %a; isspacep.{other} %d, %l4;");
            bench.check(&text, Bits(1), &[64], &offset, |_| expected);
        }
    }
    // A variable's address is an offset into its space.
    let text = ".shared .align 4 .b8 one[12]; .shared .align 8 .b8 two[8]; mov.u64 %d, two;";
    bench.check(text, Bits(64), &[], &[[0; 3]], |_| 16);
    let text = ".shared .align 4 .b32 one; mov.u32 %w4, one; st.shared.u32 [%w4], 7; cvta.shared.u64 %l4, one; ld.u32 %d, [%l4];";
    bench.check(text, Bits(32), &[], &[[0; 3]], |_| 7);
    let text =
        ".local .align 4 .b32 one; st.local.u32 [one], 8; mov.u64 %l4, one; cvta.local.u64 %l4, %l4; ld.u32 %d, [%l4];";
    bench.check(text, Bits(32), &[], &[[0; 3]], |_| 8);
    bench.check("createpolicy.fractional.L2::evict_first.b64 %d, 1.0;", Bits(64), &[], &[[0; 3]], |_| 0);
}
