//! What softgpu answers to instructions, against what an H100 answered (`hardware/make.py` asked it).
//!
//! Bits must be equal, except where PTX bounds an error ([`APPROXIMATE`], [`mma`]), and in the few cases of [`EXCEPT`].

#[path = "hardware/mma.rs"]
mod mma;
mod support;

use std::collections::HashMap;
use std::f32::consts::TAU;
use std::io::Read;

use half::{bf16, f16};
use serde::Deserialize;
use softgpu::exec::launch::{Config, Machine};
use softgpu::exec::program::LoadedModule;

/// `index.json`.
#[derive(Deserialize)]
struct Index {
    /// Triples of operands in a class, and threads of a launch.
    count: usize,
    /// Blocks of a launch in the family `warp`.
    sets: usize,
    classes: Vec<String>,
    /// By family: opcode, class of operands, type of the result.
    families: HashMap<String, Vec<(String, String, String)>>,
    /// Name and 32-bit words that a lane reads.
    warp: Vec<(String, usize)>,
}

/// The families in the order of `answers.bin`.
const FAMILIES: [&str; 7] = ["integer", "bits", "float", "compare", "convert", "half", "sm90"];

/// Bounds of errors by opcode without `.ftz` and of pairs' halves: powers of two, of the relative error and of the absolute one, of which
/// the larger counts. Source: PTX ISA 9.0, sections 9.7.3 and 9.7.4; it says 1 or 2 units in the last place of rcp and div, and of f64
/// only that rcp has some 20 bits.
const APPROXIMATE: [(&str, f64, f64); 16] = [
    ("rcp.approx.f32", -23.0, NONE),
    ("sqrt.approx.f32", -23.0, NONE),
    ("rsqrt.approx.f32", -22.9, NONE),
    ("ex2.approx.f32", -22.5, NONE),
    ("lg2.approx.f32", -22.0, -22.0),
    ("sin.approx.f32", NONE, -20.5),
    ("cos.approx.f32", NONE, -20.5),
    ("tanh.approx.f32", -11.0, NONE),
    ("div.approx.f32", -22.0, NONE),
    ("div.full.f32", -22.0, NONE),
    ("rcp.approx.f64", -20.0, NONE),
    ("rsqrt.approx.f64", -51.0, NONE),
    ("ex2.approx.f16", -9.9, NONE),
    ("tanh.approx.f16", NONE, -10.987),
    ("ex2.approx.bf16", -7.0, NONE),
    ("tanh.approx.bf16", NONE, -8.0),
];
const NONE: f64 = f64::NEG_INFINITY;

struct Exception {
    opcodes: &'static [&'static str],
    /// Whether it may be, by first operand and both answers.
    allows: fn(u64, u64, u64) -> bool,
    #[allow(dead_code, reason = "it is for readers")]
    reason: &'static str,
}

const EXCEPT: &[Exception] = &[
    Exception {
        opcodes: &["cvt.rn.f16.f64", "cvt.rz.f16.f64", "cvt.rm.f16.f64", "cvt.rp.f16.f64"],
        allows: |_, ours, theirs| ours == 0x7fff && theirs == 0x7e00,
        reason: "PTX leaves open which NaN results; softgpu gives that of all other conversions to f16",
    },
    Exception {
        opcodes: &["cvt.rna.tf32.f32"],
        allows: |a, ours, theirs| f32::from_bits(a as u32).is_nan() && ours == 0x7fff_ffff && theirs == a & 0xffff_e000,
        reason: "hardware cuts off a NaN's low bits, and some become infinite; in softgpu they stay NaN, to be seen",
    },
    Exception {
        opcodes: &["div.rp.ftz.f32"],
        allows: |a, ours, theirs| a == 0x0080_0000 && ours == 0x0080_0000 && theirs == 0,
        reason: "a quotient just below the least normal number, which rounds up to it: hardware flushes before it rounds",
    },
    Exception {
        opcodes: &["sin.approx.f32", "sin.approx.ftz.f32", "cos.approx.f32", "cos.approx.ftz.f32"],
        allows: |a, ours, theirs| {
            let [a, ours, theirs] = [a, ours, theirs].map(|bits| f32::from_bits(bits as u32));
            let (within_two_pi, within_hundred_pi) = (a.abs() <= TAU, a.abs() <= 50.0 * TAU);
            !within_two_pi
                && ours.abs() <= 1.0
                && theirs.abs() <= 1.0
                && (!within_hundred_pi || (ours - theirs).abs() <= 2f32.powf(-14.7))
        },
        reason: "beyond 2 pi the bound is 2^-14.7, and beyond 100 pi there is none; softgpu is exact there",
    },
];

/// Bytes of `answers.bin`, taken from its start on.
struct Answers(Vec<u8>, usize);

impl Answers {
    fn open() -> Answers {
        let file = std::fs::File::open(support::folder("hardware").join("answers.bin.zst")).expect("the answers");
        let mut bytes = vec![];
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(file).expect("a zstd file");
        decoder.read_to_end(&mut bytes).expect("a whole zstd file");
        Answers(bytes, 0)
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        self.1 += bytes;
        self.0[self.1 - bytes..self.1].to_vec()
    }
}

fn index() -> Index {
    let text = std::fs::read_to_string(support::folder("hardware").join("index.json")).expect("the index");
    serde_json::from_str(&text).expect("the index's form")
}

fn load(machine: &Machine, family: &str) -> LoadedModule {
    let path = support::folder("hardware").join(format!("{family}.ptx"));
    let ptx = std::fs::read_to_string(path).expect("PTX of the family");
    LoadedModule::load(&ptx, &machine.arena).unwrap_or_else(|error| panic!("{family}: {error}"))
}

/// Runs entry `n`; what it does not write stays 0xdeadbeef, as it did on hardware.
fn ask(
    machine: &Machine,
    module: &LoadedModule,
    n: usize,
    [blocks, threads]: [usize; 2],
    input: &[u8],
    out: usize,
) -> Vec<u8> {
    let arena = &machine.arena;
    let [from, to] = [input.len(), out].map(|bytes| arena.allocate(bytes as u64, "data").expect("room for data"));
    arena.copy_in(from, input).expect("a buffer");
    arena.fill(to, 0xdead_beef, 4, out as u64 / 4).expect("a buffer");
    let config =
        Config { grid: [blocks as u32, 1, 1], block: [threads as u32, 1, 1], shared_bytes: 0, cooperative: false };
    let outcome = support::run(machine, module, &format!("k{n}"), &config, &[from, to]);
    assert!(outcome.findings.is_empty(), "k{n}: {}", outcome.findings[0]);
    let mut bytes = vec![0; out];
    arena.copy_out(to, &mut bytes).expect("a buffer");
    arena.free(from).expect("freed once");
    arena.free(to).expect("freed once");
    bytes
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect()
}

fn short_words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes"))).collect()
}

/// The value of a word of this type, half the distance to its neighbours by its size, and the least positive number.
fn value(ty: &str, bits: u64) -> (f64, f64, f64) {
    match ty {
        "f16" => (f16::from_bits(bits as u16).into(), 2f64.powi(-11), 2f64.powi(-24)),
        "bf16" => (bf16::from_bits(bits as u16).into(), 2f64.powi(-8), 2f64.powi(-133)),
        "f32" => (f32::from_bits(bits as u32).into(), 2f64.powi(-24), 2f64.powi(-149)),
        _ => (f64::from_bits(bits), 2f64.powi(-53), f64::from_bits(1)),
    }
}

/// Whether both answers are within the bound of what is right, softgpu's rounded to nearest.
fn near(ty: &str, (relative, absolute): (f64, f64), ours: u64, theirs: u64) -> bool {
    let ((a, half_place, least), (b, ..)) = (value(ty, ours), value(ty, theirs));
    let bound = (b.abs() * relative.exp2()).max(absolute.exp2());
    ours == theirs || (a.is_finite() && b.is_finite() && (a - b).abs() <= bound + b.abs() * half_place + least)
}

fn approximate(opcode: &str, ty: &str, ours: u64, theirs: u64) -> bool {
    let scalar = ty.trim_end_matches("x2");
    let plain = opcode.replace(".ftz", "");
    let known = APPROXIMATE.iter().find(|(name, ..)| *name == plain.trim_end_matches("x2"));
    let Some(&(_, relative, absolute)) = known else { return false };
    let halves = if ty.ends_with("x2") { vec![0, 16] } else { vec![0] };
    let part = |word: u64, shift: u32| if halves.len() == 2 { word >> shift & 0xffff } else { word };
    halves.iter().all(|&shift| near(scalar, (relative, absolute), part(ours, shift), part(theirs, shift)))
}

#[test]
fn instructions_answer_as_hardware_does() {
    let (index, mut answers, machine) = (index(), Answers::open(), support::machine(0));
    let classes: HashMap<&str, Vec<u8>> =
        index.classes.iter().map(|name| (name.as_str(), answers.take(index.count * 24))).collect();
    let (mut asked, mut wrong, mut excepted) = (0, vec![], vec![0; EXCEPT.len()]);
    for family in FAMILIES {
        let module = load(&machine, family);
        for (n, (opcode, class, ty)) in index.families[family].iter().enumerate() {
            let operands = &classes[class.as_str()];
            let ours = words(&ask(&machine, &module, n, [1, index.count], operands, index.count * 8));
            let theirs = words(&answers.take(index.count * 8));
            asked += 1;
            for ((operands, ours), theirs) in words(operands).chunks(3).zip(ours).zip(theirs) {
                if ours == theirs || approximate(opcode, ty, ours, theirs) {
                    continue;
                }
                let allows =
                    |e: &Exception| e.opcodes.contains(&opcode.as_str()) && (e.allows)(operands[0], ours, theirs);
                match EXCEPT.iter().position(allows) {
                    Some(which) => excepted[which] += 1,
                    None => wrong.push(format!("{opcode} of {operands:x?} is {ours:#x}, on hardware {theirs:#x}")),
                }
            }
        }
    }
    assert_eq!(asked, 892);
    assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert!(excepted.iter().all(|&times| times > 0), "an exception that nothing needs: {excepted:?}");
}

#[test]
fn warps_answer_as_hardware_does() {
    let (index, mut answers, machine) = (index(), Answers::open(), support::machine(0));
    let entries: usize = index.families.values().map(Vec::len).sum();
    answers.take(index.classes.len() * index.count * 24 + entries * index.count * 8);
    let module = load(&machine, "warp");
    for (n, (name, inputs)) in index.warp.iter().enumerate() {
        let input = answers.take(index.sets * 32 * inputs * 4);
        let ours = short_words(&ask(&machine, &module, n, [index.sets, 32], &input, index.sets * 32 * 16));
        let theirs = short_words(&answers.take(index.sets * 32 * 16));
        match mma::Shape::parse(name) {
            Some(shape) => mma::check(name, shape, &short_words(&input), &ours, &theirs),
            None => assert_eq!(ours, theirs, "{name}"),
        }
    }
    assert_eq!((index.warp.len(), answers.1), (133, answers.0.len()), "all answers were compared");
}
