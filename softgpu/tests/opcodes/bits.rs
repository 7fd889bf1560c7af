//! Logic, shifts and bit fields against their definitions, one bit at a time.

use super::harness::Result::Bits;
use super::harness::{Bench, Inputs, Numbers};
use super::integers::{TYPES, inputs, mask};

/// The word whose bit `n` is `f(n)`.
fn word(bits: u32, f: impl Fn(u32) -> bool) -> u64 {
    (0..bits).fold(0, |word, n| word | u64::from(f(n)) << n)
}

/// Bit `n`; beyond the word there is none.
fn bit(word: u64, n: u32, bits: u32) -> bool {
    n < bits && word >> n & 1 == 1
}

/// Words, and amounts about the widths: b and c of shifts and fields.
fn shifts() -> Vec<Inputs> {
    let mut numbers = Numbers(22);
    let amounts = [0, 1, 2, 7, 8, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 255];
    let words = [0, 1, u64::MAX, 1 << 63, 1 << 31, 1 << 15, 0x8000_0001_8001_8181, 0x0123_4567_89ab_cdef];
    let mut all = vec![];
    for b in amounts {
        for c in amounts {
            all.extend(words.map(|a| [a, b, c]));
            all.push([numbers.next(), b, c]);
        }
    }
    all
}

#[test]
fn logic() {
    let bench = Bench::new();
    for bits in [16, 32, 64] {
        for (op, f) in [("and", 0b1000u32), ("or", 0b1110), ("xor", 0b0110)] {
            bench.check(&format!("{op}.b{bits} %d, %a, %b;"), Bits(bits), &[bits; 2], &inputs(), |[a, b, _]| {
                word(bits, |n| f >> (2 * (a >> n & 1) + (b >> n & 1)) & 1 == 1)
            });
        }
        let not = |[a, ..]: Inputs| word(bits, |n| !bit(a, n, bits));
        bench.check(&format!("not.b{bits} %d, %a;"), Bits(bits), &[bits], &inputs(), not);
        let none = |[a, ..]: Inputs| u64::from((0..bits).all(|n| !bit(a, n, bits)));
        bench.check(&format!("cnot.b{bits} %d, %a;"), Bits(bits), &[bits], &inputs(), none);
    }
    let both: Vec<Inputs> = (0..8).map(|n| [n & 1, n >> 1 & 1, n >> 2]).collect();
    for (op, f) in [("and", 0b1000u64), ("or", 0b1110), ("xor", 0b0110)] {
        bench.check(&format!("{op}.pred %d, %a, %b;"), Bits(1), &[1; 2], &both, |[a, b, _]| f >> (2 * a + b) & 1);
    }
    bench.check("not.pred %d, %a;", Bits(1), &[1], &both, |[a, ..]| 1 - a);
    for table in 0..=255u32 {
        let some = &inputs()[..300];
        bench.check(&format!("lop3.b32 %d, %a, %b, %c, {table};"), Bits(32), &[32; 3], some, |[a, b, c]| {
            word(32, |n| table >> (4 * (a >> n & 1) + 2 * (b >> n & 1) + (c >> n & 1)) & 1 == 1)
        });
    }
}

#[test]
fn shifts_clamp() {
    let bench = Bench::new();
    for (name, bits, signed) in TYPES {
        let right = |[a, by, _]: Inputs| {
            let fill = signed && bit(a, bits - 1, bits);
            word(bits, |n| if u64::from(n) + by < bits.into() { bit(a, n + by as u32, bits) } else { fill })
        };
        bench.check(&format!("shr.{name} %d, %a, %b;"), Bits(bits), &[bits, 32], &shifts(), right);
        let left = |[a, by, _]: Inputs| word(bits, |n| u64::from(n) >= by && bit(a, n - by as u32, bits));
        bench.check(&format!("shl.b{bits} %d, %a, %b;"), Bits(bits), &[bits, 32], &shifts(), left);
    }
    for (mode, amount) in [("clamp", (|by| by.min(32)) as fn(u64) -> u64), ("wrap", |by| by % 32)] {
        // a is the lower word and b the upper one of the 64 bits that are shifted.
        let all: Vec<Inputs> = shifts().into_iter().map(|[a, by, _]| [a & mask(32), a >> 32, by]).collect();
        let both = |a: u64, b: u64, n: u64| bit(b << 32 | a, n as u32, 64);
        let left = |[a, b, by]: Inputs| word(32, |n| both(a, b, 32 + u64::from(n) - amount(by)));
        bench.check(&format!("shf.l.{mode}.b32 %d, %a, %b, %c;"), Bits(32), &[32; 3], &all, left);
        let right = |[a, b, by]: Inputs| word(32, |n| both(a, b, u64::from(n) + amount(by)));
        bench.check(&format!("shf.r.{mode}.b32 %d, %a, %b, %c;"), Bits(32), &[32; 3], &all, right);
    }
}

#[test]
fn bit_fields() {
    let bench = Bench::new();
    for (name, bits, signed) in TYPES.into_iter().filter(|(_, bits, _)| *bits > 16) {
        let extract = |[a, at, count]: Inputs| {
            let (at, count) = (at as u32, count as u32);
            let last = (at + count).saturating_sub(1).min(bits - 1);
            let fill = signed && count > 0 && bit(a, last, bits);
            word(bits, |n| if n < count && at + n < bits { bit(a, at + n, bits) } else { fill })
        };
        bench.check(&format!("bfe.{name} %d, %a, %b, %c;"), Bits(bits), &[bits, 32, 32], &shifts(), extract);
    }
    for bits in [32, 64] {
        // Of b, the position and, above it, the count.
        let all: Vec<Inputs> = shifts().into_iter().map(|[a, b, c]| [a, a.rotate_left(29) ^ b, b << 32 | c]).collect();
        let fields = ".reg .b32 %at, %count; mov.b64 {%count, %at}, %c;";
        let insert = |[a, b, c]: Inputs| {
            let (at, count) = ((c >> 32) as u32, c as u32);
            word(bits, |n| if (at..at + count).contains(&n) { bit(a, n - at, bits) } else { bit(b, n, bits) })
        };
        let body = format!("{fields} bfi.b{bits} %d, %a, %b, %at, %count;");
        bench.check(&body, Bits(bits), &[bits, bits, 64], &all, insert);
    }
    for (mode, amount) in [("clamp", (|by| by.min(32)) as fn(u64) -> u64), ("wrap", |by| by % 32)] {
        let all: Vec<Inputs> = shifts().into_iter().map(|[a, b, c]| [b, c, a]).collect();
        let start = |at: u64| if mode == "wrap" { at % 32 } else { at };
        bench.check(&format!("bmsk.{mode}.b32 %d, %a, %b;"), Bits(32), &[32; 2], &all, |[at, count, _]| {
            word(32, |n| (start(at)..start(at) + amount(count)).contains(&n.into()))
        });
        for (name, signed) in [("u32", false), ("s32", true)] {
            bench.check(&format!("szext.{mode}.{name} %d, %a, %b;"), Bits(32), &[32; 2], &shifts(), |[a, by, _]| {
                let kept = amount(by) as u32;
                let fill = signed && kept > 0 && bit(a, kept - 1, 32);
                word(32, |n| if n < kept { bit(a, n, 32) } else { fill })
            });
        }
    }
}

#[test]
fn bits_are_counted_and_found() {
    let bench = Bench::new();
    for bits in [32, 64] {
        let check = |body: String, d: u32, f: &dyn Fn(u64) -> u64| {
            bench.check(&body, Bits(d), &[bits], &inputs(), |[a, ..]| f(a));
        };
        check(format!("brev.b{bits} %d, %a;"), bits, &|a| word(bits, |n| bit(a, bits - 1 - n, bits)));
        check(format!("popc.b{bits} %d, %a;"), 32, &|a| (0..bits).filter(|&n| bit(a, n, bits)).count() as u64);
        let leading = |a: u64| (0..bits).take_while(|&n| !bit(a, bits - 1 - n, bits)).count() as u64;
        check(format!("clz.b{bits} %d, %a;"), 32, &leading);
        for signed in [false, true] {
            // The highest bit that is not the sign.
            let find = |a: u64| {
                let sign = signed && bit(a, bits - 1, bits);
                (0..bits).rev().find(|&n| bit(a, n, bits) != sign)
            };
            let name = format!("{}{bits}", if signed { 's' } else { 'u' });
            let none = mask(32);
            check(format!("bfind.{name} %d, %a;"), 32, &|a| find(a).map_or(none, u64::from));
            let shift = |a: u64| find(a).map_or(none, |n| u64::from(bits - 1 - n));
            check(format!("bfind.shiftamt.{name} %d, %a;"), 32, &shift);
        }
    }
    let all: Vec<Inputs> = shifts()
        .into_iter()
        .flat_map(|[a, b, c]| [c, (c as u32).wrapping_neg().into()].map(|nth| [a & mask(32), b % 32, nth]))
        .collect();
    bench.check("fns.b32 %d, %a, %b, %c;", Bits(32), &[32; 3], &all, |[a, base, nth]| {
        // The definition's own loop.
        let nth = nth as u32 as i32;
        let (step, mut left) = (if nth < 0 { -1 } else { 1 }, nth.abs());
        if nth == 0 {
            return if bit(a, base as u32, 32) { base } else { mask(32) };
        }
        let mut at = base as i32;
        while (0..32).contains(&at) {
            left -= i32::from(bit(a, at as u32, 32));
            if left == 0 {
                return at as u64;
            }
            at += step;
        }
        mask(32)
    });
}

#[test]
fn bytes_are_permuted() {
    let bench = Bench::new();
    let byte = |a: u64, b: u64, n: u64| (b << 32 | a & mask(32)) >> (8 * n) & 0xff;
    let any = |[a, b, c]: Inputs| {
        (0..4).fold(0, |d, n| {
            let select = c >> (4 * n) & 0xf;
            let found = byte(a, b, select & 7);
            let found = if select & 8 == 0 { found } else { (found >> 7) * 0xff };
            d | found << (8 * n)
        })
    };
    bench.check("prmt.b32 %d, %a, %b, %c;", Bits(32), &[32; 3], &inputs(), any);
    for select in [0x3210u64, 0x7654, 0x0123, 0x4040, 0xba98, 0x8f70] {
        let body = format!("prmt.b32 %d, %a, %b, {select};");
        bench.check(&body, Bits(32), &[32; 2], &inputs(), |[a, b, _]| any([a, b, select]));
    }
    // By mode, the byte for place n when c is s.
    type Place = fn(u64, u64) -> u64;
    let modes: [(&str, Place); 6] = [
        ("f4e", |n, s| n + s),
        ("b4e", |n, s| (s + 8 - n) % 8),
        ("rc8", |_, s| s),
        ("ecl", |n, s| n.max(s)),
        ("ecr", |n, s| n.min(s)),
        ("rc16", |n, s| 2 * (s % 2) + n % 2),
    ];
    for (mode, place) in modes {
        let body = format!("prmt.b32.{mode} %d, %a, %b, %c;");
        bench.check(&body, Bits(32), &[32; 3], &inputs(), |[a, b, c]| {
            (0..4).fold(0, |d, n| d | byte(a, b, place(n, c % 4)) << (8 * n))
        });
    }
}

#[test]
fn words_are_chosen_and_joined() {
    let bench = Bench::new();
    for bits in [16, 32, 64] {
        let body = format!("selp.b{bits} %d, %a, %b, %c;");
        let chosen = |[a, b, c]: Inputs| mask(bits) & if c == 0 { b } else { a };
        bench.check(&body, Bits(bits), &[bits, bits, 1], &inputs(), chosen);
    }
    let by_sign = |[a, b, c]: Inputs| mask(32) & if bit(c, 31, 32) { b } else { a };
    bench.check("slct.u32.s32 %d, %a, %b, %c;", Bits(32), &[32; 3], &inputs(), by_sign);
    let parts = ".reg .b16 %x<4>; mov.b64 {%x0, %x1, %x2, %x3}, %a; mov.b64 %d, {%x3, %x1, %x0, %x2};";
    bench.check(parts, Bits(64), &[64], &inputs(), |[a, ..]| {
        let part = |n: u32| a >> (16 * n) & 0xffff;
        part(3) | part(1) << 16 | part(0) << 32 | part(2) << 48
    });
    let halves = ".reg .b16 %x<2>; mov.b32 {%x0, _}, %a; mov.b32 {_, %x1}, %b; mov.b32 %d, {%x1, %x0};";
    bench.check(halves, Bits(32), &[32; 2], &inputs(), |[a, b, _]| b >> 16 & 0xffff | (a & 0xffff) << 16);
}
