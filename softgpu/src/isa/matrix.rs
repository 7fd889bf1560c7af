//! Matrix products of a warp on tensor cores: mma.sync.
//!
//! D (16×8) = A (16×k) · B (k×8) + C. With g = lane / 4 and t = lane % 4, a lane holds of D and C the elements (g, 2t), (g, 2t+1),
//! (g+8, 2t), (g+8, 2t+1). Of A it holds, one register after the other, the words (g, t), (g+8, t), (g, t+4), (g+8, t+4) where a
//! word is as many neighbouring elements of a row as fit into 32 bits; and of B the words (t, g), (t+4, g) down the columns.
//!
//! Products are exact in f32, and are added in f32 in the order of k. In which order and with how many bits hardware adds is not
//! documented. Source: PTX ISA 9.0, section 9.7.14.5, "Matrix multiply-accumulate operation using mma instruction".

use half::f16;

use crate::exec::{Class, Exec, Flow, Inst, LANES, Lower, Op, Row, Warp, pick};
use crate::ptx::{Operand, PtxError, Type};

/// Rows and columns of D.
const M: usize = 16;
const N: usize = 8;

/// How elements of A and B lie in registers.
trait Element {
    /// Elements in a register.
    const PER_WORD: usize;
    /// What products are added in.
    type Sum: Copy + Default;
    /// Element `n` of a register.
    fn unpack(word: u32, n: usize) -> Self::Sum;
    /// a·b + c
    fn mul_add(a: Self::Sum, b: Self::Sum, c: Self::Sum) -> Self::Sum;
}

struct Bf16;
struct F16;
struct Tf32;
struct S8;
struct U8;

macro_rules! float_element {
    ($($name:ident: $per_word:literal, |$word:ident, $n:ident| $unpack:expr;)*) => {$(
        impl Element for $name {
            const PER_WORD: usize = $per_word;
            type Sum = f32;
            #[inline(always)]
            fn unpack($word: u32, $n: usize) -> f32 { $unpack }
            #[inline(always)]
            fn mul_add(a: f32, b: f32, c: f32) -> f32 { a.mul_add(b, c) }
        }
    )*};
}

float_element! {
    Bf16: 2, |word, n| f32::from_bits(if n == 0 { word << 16 } else { word & 0xffff_0000 });
    F16: 2, |word, n| f16::from_bits((word >> (16 * n)) as u16).to_f32();
    // The lowest 13 bits of a register are not looked at.
    Tf32: 1, |word, _n| f32::from_bits(word & 0xffff_e000);
}

impl Element for S8 {
    const PER_WORD: usize = 4;
    type Sum = i32;
    #[inline(always)]
    fn unpack(word: u32, n: usize) -> i32 {
        ((word >> (8 * n)) as i8).into()
    }
    #[inline(always)]
    fn mul_add(a: i32, b: i32, c: i32) -> i32 {
        a.wrapping_mul(b).wrapping_add(c)
    }
}

impl Element for U8 {
    const PER_WORD: usize = 4;
    type Sum = i32;
    #[inline(always)]
    fn unpack(word: u32, n: usize) -> i32 {
        ((word >> (8 * n)) as u8).into()
    }
    #[inline(always)]
    fn mul_add(a: i32, b: i32, c: i32) -> i32 {
        a.wrapping_mul(b).wrapping_add(c)
    }
}

/// How C and D lie in registers.
trait Accumulator<S> {
    /// Registers of a lane.
    const REGISTERS: usize;
    /// Element `n` (of the lane's four) from its registers' words.
    fn get(words: &[[u32; LANES]; 4], lane: usize, n: usize) -> S;
    /// Puts it there.
    fn put(words: &mut [[u32; LANES]; 4], lane: usize, n: usize, value: S);
}

struct Full;
struct Halves;

impl Accumulator<f32> for Full {
    const REGISTERS: usize = 4;
    #[inline(always)]
    fn get(words: &[[u32; LANES]; 4], lane: usize, n: usize) -> f32 {
        f32::from_bits(words[n][lane])
    }
    #[inline(always)]
    fn put(words: &mut [[u32; LANES]; 4], lane: usize, n: usize, value: f32) {
        words[n][lane] = value.to_bits();
    }
}

impl Accumulator<i32> for Full {
    const REGISTERS: usize = 4;
    #[inline(always)]
    fn get(words: &[[u32; LANES]; 4], lane: usize, n: usize) -> i32 {
        words[n][lane] as i32
    }
    #[inline(always)]
    fn put(words: &mut [[u32; LANES]; 4], lane: usize, n: usize, value: i32) {
        words[n][lane] = value as u32;
    }
}

impl Accumulator<f32> for Halves {
    const REGISTERS: usize = 2;
    #[inline(always)]
    fn get(words: &[[u32; LANES]; 4], lane: usize, n: usize) -> f32 {
        F16::unpack(words[n / 2][lane], n % 2)
    }
    #[inline(always)]
    fn put(words: &mut [[u32; LANES]; 4], lane: usize, n: usize, value: f32) {
        let (word, shift) = (&mut words[n / 2][lane], 16 * (n % 2));
        *word = *word & !(0xffff << shift) | u32::from(f16::from_f32(value).to_bits()) << shift;
    }
}

/// `A_WORDS` registers of A and `B_WORDS` of B make up k = 4·`B_WORDS`·`PER_WORD`.
struct Mma<A, B, C, const A_WORDS: usize, const B_WORDS: usize>(std::marker::PhantomData<(A, B, C)>);

impl<A, B, C, const A_WORDS: usize, const B_WORDS: usize> Op for Mma<A, B, C, A_WORDS, B_WORDS>
where
    A: Element,
    B: Element<Sum = A::Sum>,
    C: Accumulator<A::Sum>,
{
    /// All rows are in `more`: D, A, B, C.
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        if w.mask != u32::MAX {
            return w.trap("mma needs all lanes of the warp");
        }
        let Some(rows) = i.more.as_deref() else { return w.trap("mma has lost its registers") };
        let (d, rest) = rows.split_at(C::REGISTERS);
        let (a, rest) = rest.split_at(A_WORDS);
        let (b, c) = rest.split_at(B_WORDS);
        // B by rows of k, so that a row of D is one vector operation per step of k. 64 is the largest k: s8.
        let mut b_rows = [[A::Sum::default(); N]; 64];
        let k = 4 * B_WORDS * A::PER_WORD;
        // SAFETY: `run`'s caller keeps the rows within the register file.
        unsafe {
            for (word, &row) in b.iter().enumerate() {
                let words = w.row::<u32>(row);
                for (lane, &value) in words.iter().enumerate() {
                    for n in 0..A::PER_WORD {
                        b_rows[(lane % 4 + 4 * word) * A::PER_WORD + n][lane / 4] = B::unpack(value, n);
                    }
                }
            }
            let mut c_words = [[0; LANES]; 4];
            for (words, &row) in c_words.iter_mut().zip(c) {
                *words = *w.row::<u32>(row);
            }
            let a_words: [[u32; LANES]; A_WORDS] = std::array::from_fn(|n| *w.row::<u32>(a[n]));
            let mut d_words = [[0; LANES]; 4];
            for half in 0..2 {
                for group in 0..M / 2 {
                    let mut sums: [A::Sum; N] =
                        std::array::from_fn(|column| C::get(&c_words, 4 * group + column / 2, 2 * half + column % 2));
                    for step in 0..k / A::PER_WORD {
                        let word = a_words[half + 2 * (step / 4)][4 * group + step % 4];
                        for n in 0..A::PER_WORD {
                            let (x, y) = (A::unpack(word, n), &b_rows[step * A::PER_WORD + n]);
                            for (sum, &y) in sums.iter_mut().zip(y) {
                                *sum = A::mul_add(x, y, *sum);
                            }
                        }
                    }
                    for (column, &sum) in sums.iter().enumerate() {
                        C::put(&mut d_words, 4 * group + column / 2, 2 * half + column % 2, sum);
                    }
                }
            }
            for (words, &row) in d_words.iter().zip(d) {
                *w.row_mut::<u32>(row) = *words;
            }
        }
        Flow::Next
    }
}

fn mma<A, B, C, const A_WORDS: usize, const B_WORDS: usize>() -> (Exec, [usize; 3])
where
    A: Element,
    B: Element<Sum = A::Sum>,
    C: Accumulator<A::Sum>,
{
    (pick::<Mma<A, B, C, A_WORDS, B_WORDS>>(), [C::REGISTERS, A_WORDS, B_WORDS])
}

/// Lowers `mma`.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    use Type::{B32, F32, S32};
    let words: Vec<&str> = l.instruction.modifiers.iter().map(String::as_str).collect();
    let ["sync", "aligned", shape, "row", "col", ..] = words[..] else { return l.unsupported() };
    if l.instruction.opcode != "mma" || l.has("satfinite") || l.has("sp") || words.len() != 9 {
        return l.unsupported();
    }
    let types: Vec<Option<Type>> = words[5..].iter().map(|word| Type::parse(word)).collect();
    let [Some(d), Some(a), Some(b), Some(c)] = types[..] else { return l.unsupported() };
    let (exec, [accumulators, a_words, b_words]) = match (shape, d, a, b, c) {
        ("m16n8k16", F32, Type::Bf16, Type::Bf16, F32) => mma::<self::Bf16, self::Bf16, Full, 4, 2>(),
        ("m16n8k8", F32, Type::Bf16, Type::Bf16, F32) => mma::<self::Bf16, self::Bf16, Full, 2, 1>(),
        ("m16n8k16", F32, Type::F16, Type::F16, F32) => mma::<self::F16, self::F16, Full, 4, 2>(),
        ("m16n8k8", F32, Type::F16, Type::F16, F32) => mma::<self::F16, self::F16, Full, 2, 1>(),
        ("m16n8k16", Type::F16, Type::F16, Type::F16, Type::F16) => mma::<self::F16, self::F16, Halves, 4, 2>(),
        ("m16n8k8", Type::F16, Type::F16, Type::F16, Type::F16) => mma::<self::F16, self::F16, Halves, 2, 1>(),
        ("m16n8k8", F32, Type::Tf32, Type::Tf32, F32) => mma::<self::Tf32, self::Tf32, Full, 4, 2>(),
        ("m16n8k4", F32, Type::Tf32, Type::Tf32, F32) => mma::<self::Tf32, self::Tf32, Full, 2, 1>(),
        ("m16n8k32", S32, Type::S8, Type::S8, S32) => mma::<self::S8, self::S8, Full, 4, 2>(),
        ("m16n8k32", S32, Type::U8, Type::S8, S32) => mma::<self::U8, self::S8, Full, 4, 2>(),
        ("m16n8k32", S32, Type::S8, Type::U8, S32) => mma::<self::S8, self::U8, Full, 4, 2>(),
        ("m16n8k32", S32, Type::U8, Type::U8, S32) => mma::<self::U8, self::U8, Full, 4, 2>(),
        ("m16n8k16", S32, Type::S8, Type::S8, S32) => mma::<self::S8, self::S8, Full, 2, 1>(),
        _ => return l.unsupported(),
    };
    let k: u16 = shape.rsplit('k').next().and_then(|k| k.parse().ok()).unwrap_or(0);
    let integer = d == S32;
    let mut rows: Vec<Row> = vec![];
    for (n, count) in [(0, accumulators), (1, a_words), (2, b_words), (3, accumulators)] {
        let registers: Vec<&Operand> = match l.operand(n)? {
            Operand::Vector(all) => all.iter().collect(),
            one => vec![one],
        };
        if registers.len() != count {
            return l.err(format!("operand {n} of {} has {} registers, not {count}", l.text(), registers.len()));
        }
        for register in registers {
            rows.push(if n == 0 { l.write_operand(register, B32)? } else { l.read_operand(register, B32)? });
        }
    }
    let inst = l.emit(Class::Tensor, exec, &[]);
    inst.more = Some(rows.into_boxed_slice());
    inst.flops = if integer { 0 } else { 2 * 16 * 8 * k };
    Ok(())
}
