//! atom and red, in every space: the lanes of a warp take their turns at four words.

use half::{bf16, f16};

use super::harness::{Bench, Inputs};
use super::integers::{TYPES, inputs, mask, value};

/// Where the words lie, and the space that the instruction names.
const SPACES: [(&str, &str); 4] = [("shared", ".shared"), ("global", ".global"), ("shared", ""), ("global", "")];

/// What is in the words at first.
const FIRST: u64 = 0x3c01_3f81_3f80_1234;

/// A body around `instruction`, which finds its word's address in %cell; then the word's value is in %l5.
fn body(space: &str, named: &str, instruction: &str) -> String {
    let generic = if named.is_empty() { format!("cvta.{space}.u64 %cell, %cell;") } else { String::new() };
    format!(
        ".{space} .align 8 .b64 cells[512]; .reg .b64 %cell;
    shr.u32 %w4, %w0, 5;
    and.b32 %w5, %w0, 3;
    mad.lo.u32 %w4, %w4, 4, %w5;
    mov.u64 %cell, cells;
    mad.wide.u32 %cell, %w4, 8, %cell;
    and.b32 %w5, %w0, 31;
    setp.lt.u32 %q, %w5, 4;
    @%q st.{space}.b64 [%cell], {FIRST};
    {generic}
    bar.warp.sync 0xffffffff;
    {instruction}
    bar.warp.sync 0xffffffff;
    ld.b64 %l5, [%cell];"
    )
    .replace("ld.b64", if named.is_empty() { "ld.b64" } else { "ld.space.b64" })
    .replace("space", space)
}

/// Checks `operation`, as `add.u32`, of one operand or two, against what it makes of a word.
fn check(bench: &Bench, operation: &str, bits: u32, operands: usize, f: impl Fn(u64, u64, u64) -> u64) {
    let all: Vec<Inputs> = inputs().into_iter().rev().take(512).collect();
    let (names, widths) = (["%a", "%a, %b"][operands - 1], vec![bits; operands]);
    for (space, named) in SPACES {
        let atom = body(space, named, &format!("atom{named}.{operation} %d, [%cell], {names};"));
        let olds = bench.run(&atom, bits, &widths, &all);
        let red = (operands == 1).then(|| {
            let text = body(space, named, &format!("red{named}.{operation} [%cell], {names};"));
            bench.run(&format!("{text} mov.b64 %d, %l5;"), 64, &widths, &all)
        });
        for (warp, inputs) in all.chunks(32).enumerate() {
            let mut cells = [FIRST; 4];
            for (lane, &[a, b, _]) in inputs.iter().enumerate() {
                let (cell, old) = (&mut cells[lane % 4], olds[32 * warp + lane]);
                let at = || format!("atom{named}.{operation} in {space} memory, {:#x} by {a:#x}, {b:#x}", *cell);
                assert_eq!(old, *cell & mask(bits), "{}", at());
                *cell = *cell & !mask(bits) | f(*cell & mask(bits), a & mask(bits), b & mask(bits)) & mask(bits);
            }
            if let Some(red) = &red {
                for (lane, &last) in red[32 * warp..][..32].iter().enumerate() {
                    assert_eq!(last, cells[lane % 4], "red{named}.{operation} in {space} memory");
                }
            }
        }
    }
}

#[test]
fn atomics_on_integers() {
    let bench = Bench::new();
    for (name, bits, signed) in TYPES.into_iter().filter(|(_, bits, _)| *bits > 16) {
        let key = move |word: u64| value(word, bits, signed);
        if name != "s64" {
            check(&bench, &format!("add.{name}"), bits, 1, |old, a, _| old.wrapping_add(a));
        }
        check(&bench, &format!("min.{name}"), bits, 1, |old, a, _| if key(a) < key(old) { a } else { old });
        check(&bench, &format!("max.{name}"), bits, 1, |old, a, _| if key(a) > key(old) { a } else { old });
    }
    for bits in [32, 64] {
        check(&bench, &format!("and.b{bits}"), bits, 1, |old, a, _| old & a);
        check(&bench, &format!("or.b{bits}"), bits, 1, |old, a, _| old | a);
        check(&bench, &format!("xor.b{bits}"), bits, 1, |old, a, _| old ^ a);
    }
    check(&bench, "inc.u32", 32, 1, |old, a, _| if old >= a { 0 } else { old + 1 });
    check(&bench, "dec.u32", 32, 1, |old, a, _| if old == 0 || old > a { a } else { old - 1 });
}

#[test]
fn exchanges() {
    let bench = Bench::new();
    // There is no red of these, and atom is run with two operands here; the second one of exch is not looked at.
    for bits in [32u32, 64] {
        let all: Vec<Inputs> = (0..512u64).map(|n| [n << 7, 0, 0]).collect();
        let text = body("global", ".global", &format!("atom.global.exch.b{bits} %d, [%cell], %a;"));
        for (n, old) in bench.run(&text, bits, &[bits], &all).into_iter().enumerate() {
            let before = if n % 32 < 4 { FIRST & mask(bits) } else { all[n - 4][0] };
            assert_eq!(old, before, "exch.b{bits}");
        }
    }
    for bits in [16, 32, 64] {
        let same = FIRST & mask(bits);
        // Half of the lanes expect what is there at first, and put it back or change it.
        check(&bench, &format!("cas.b{bits}"), bits, 2, |old, a, b| if old == a { b } else { old });
        let all: Vec<Inputs> = (0..512u64).map(|n| [same, if n % 3 == 0 { n } else { same }, 0]).collect();
        let text = body("shared", ".shared", &format!("atom.shared.cas.b{bits} %d, [%cell], %a, %b;"));
        let olds = bench.run(&text, bits, &[bits; 2], &all);
        for warp in 0..16 {
            let mut cells = [same; 4];
            for lane in 0..32 {
                let (cell, at) = (&mut cells[lane % 4], 32 * warp + lane);
                assert_eq!(olds[at], *cell, "cas.b{bits}");
                *cell = if *cell == same { all[at][1] & mask(bits) } else { *cell };
            }
        }
    }
}

#[test]
fn atomics_on_floats() {
    let bench = Bench::new();
    let pair = |old: u64, a: u64, f: fn(u64, u64) -> u64| f(old & 0xffff, a & 0xffff) | f(old >> 16, a >> 16) << 16;
    // One NaN is as good as another.
    let check = |operation: &str, bits: u32, f: &dyn Fn(u64, u64) -> u64| {
        let all: Vec<Inputs> = (0..512u64)
            .map(|n| {
                let x = (n as f64 - 200.0) * 0.75;
                let halves = |h: u16, g: u16| u64::from(h) | u64::from(g) << 16;
                let word = match operation {
                    "add.f64" => x.to_bits(),
                    "add.f32" => (x as f32).to_bits().into(),
                    _ if operation.contains("bf16") => {
                        halves(bf16::from_f64(x).to_bits(), bf16::from_f64(1.0 - x).to_bits())
                    }
                    _ => halves(f16::from_f64(x).to_bits(), f16::from_f64(1.0 - x).to_bits()),
                };
                [word & mask(bits), 0, 0]
            })
            .collect();
        for (space, named) in SPACES {
            let olds = bench.run(
                &body(space, named, &format!("atom{named}.{operation} %d, [%cell], %a;")),
                bits,
                &[bits],
                &all,
            );
            for (n, &old) in olds.iter().enumerate() {
                let before = if n % 32 < 4 { FIRST & mask(bits) } else { f(olds[n - 4], all[n - 4][0]) };
                assert_eq!(old, before, "{operation} in {space} memory");
            }
        }
    };
    check("add.f32", 32, &|a, b| (f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits().into());
    check("add.f64", 64, &|a, b| (f64::from_bits(a) + f64::from_bits(b)).to_bits());
    // Sums are exact in f64.
    let half = |a: u64, b: u64| {
        let [a, b] = [a, b].map(|bits| f16::from_bits(bits as u16).to_f64());
        f16::from_f64(a + b).to_bits().into()
    };
    let brain = |a: u64, b: u64| {
        let [a, b] = [a, b].map(|bits| bf16::from_bits(bits as u16).to_f64());
        bf16::from_f64(a + b).to_bits().into()
    };
    check("add.noftz.f16", 16, &half);
    check("add.noftz.bf16", 16, &brain);
    check("add.noftz.f16x2", 32, &|a, b| pair(a, b, half));
    check("add.noftz.bf16x2", 32, &|a, b| pair(a, b, brain));
}
