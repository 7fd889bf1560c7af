//! Atomic operations: atom, red.
//!
//! The lanes of a warp take their turns in order of their numbers. Blocks of a kernel with atomic operations on device memory run on one
//! host thread, so that a seed gives one result. Source: PTX ISA 9.0, section 9.7.13, "atom" and "red".

use half::{bf16, f16};

use super::async_copy::addresses;
use super::load_store::space;
use crate::exec::{Class, Exec, Flow, Inst, LANES, Lane, Lower, Op, Warp, Width, pick};
use crate::memory::Access;
use crate::ptx::{Operand, PtxError, Space, Type};

/// In [`Inst::tag`].
const WIDE: u32 = 1;
/// In [`Inst::tag`]: release semantics, a fence before.
const RELEASE: u32 = 2;
/// In [`Inst::tag`], from this bit: the space.
const SPACE: u32 = 4;

const SPACES: [Space; 3] = [Space::Generic, Space::Global, Space::Shared];

/// A word in memory that is exchanged whole.
trait Word: Copy + Default + PartialEq {
    const BYTES: u64;
}

impl Word for u16 {
    const BYTES: u64 = 2;
}
impl Word for u32 {
    const BYTES: u64 = 4;
}
impl Word for u64 {
    const BYTES: u64 = 8;
}

/// What an operation makes of the old value; `b` is the first operand and `c`, of cas, the second.
trait Rmw {
    /// How it lies in memory.
    type Memory: Word;
    /// How the registers hold it.
    type Register: Copy + Default;
    /// Register to memory.
    fn memory(of: Self::Register) -> Self::Memory;
    /// Memory to register.
    fn register(of: Self::Memory) -> Self::Register;
    /// The new value.
    fn new(old: Self::Memory, b: Self::Memory, c: Self::Memory) -> Self::Memory;
}

struct Atomic<R>(std::marker::PhantomData<R>);

impl<R: Rmw> Op for Atomic<R> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: `run`'s caller keeps the rows within the register file, as wide as lowering asked for.
        unsafe {
            if i.tag & RELEASE != 0 {
                w.fence();
            }
            let at = addresses(w, i.rows[1], i.tag & WIDE != 0, i.imm);
            let space = SPACES[(i.tag >> SPACE) as usize];
            let Some(found) = w.access(space, &at, R::Memory::BYTES, Access::Atomic) else { return Flow::Fault };
            let (b, c) = (*w.row::<R::Register>(i.rows[2]), *w.row::<R::Register>(i.rows[3]));
            let mut old = [R::Register::default(); LANES];
            for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 == 1) {
                // The access found these bytes, and no other thread runs blocks of this kernel.
                let cell = found.at[lane] as *mut R::Memory;
                let before = cell.read();
                cell.write(R::new(before, R::memory(b[lane]), R::memory(c[lane])));
                old[lane] = R::register(before);
            }
            w.set(i.rows[0], &old);
        }
        Flow::Yield
    }
}

macro_rules! rmw {
    ($($name:ident: $memory:ty, $register:ty, |$old:ident, $b:ident, $c:ident| $new:expr;)*) => {$(
        struct $name;
        impl Rmw for $name {
            type Memory = $memory;
            type Register = $register;
            fn memory(of: $register) -> $memory { of as $memory }
            fn register(of: $memory) -> $register { of as $register }
            #[inline(always)]
            fn new($old: $memory, $b: $memory, $c: $memory) -> $memory { $new }
        }
    )*};
}

rmw! {
    Add32: u32, u32, |a, b, _c| a.wrapping_add(b);
    Add64: u64, u64, |a, b, _c| a.wrapping_add(b);
    MinU32: u32, u32, |a, b, _c| a.min(b);
    MaxU32: u32, u32, |a, b, _c| a.max(b);
    MinS32: u32, u32, |a, b, _c| (a as i32).min(b as i32) as u32;
    MaxS32: u32, u32, |a, b, _c| (a as i32).max(b as i32) as u32;
    MinU64: u64, u64, |a, b, _c| a.min(b);
    MaxU64: u64, u64, |a, b, _c| a.max(b);
    MinS64: u64, u64, |a, b, _c| (a as i64).min(b as i64) as u64;
    MaxS64: u64, u64, |a, b, _c| (a as i64).max(b as i64) as u64;
    And32: u32, u32, |a, b, _c| a & b;
    Or32: u32, u32, |a, b, _c| a | b;
    Xor32: u32, u32, |a, b, _c| a ^ b;
    And64: u64, u64, |a, b, _c| a & b;
    Or64: u64, u64, |a, b, _c| a | b;
    Xor64: u64, u64, |a, b, _c| a ^ b;
    Inc: u32, u32, |a, b, _c| if a >= b { 0 } else { a + 1 };
    Dec: u32, u32, |a, b, _c| if a == 0 || a > b { b } else { a - 1 };
    Exch32: u32, u32, |_a, b, _c| b;
    Exch64: u64, u64, |_a, b, _c| b;
    Cas16: u16, u32, |a, b, c| if a == b { c } else { a };
    Cas32: u32, u32, |a, b, c| if a == b { c } else { a };
    Cas64: u64, u64, |a, b, c| if a == b { c } else { a };
    // Hardware may flush subnormals in device memory; here they are kept, as in shared memory.
    AddF32: u32, u32, |a, b, _c| (f32::of(a) + f32::of(b)).word();
    AddF64: u64, u64, |a, b, _c| (f64::of(a) + f64::of(b)).word();
    AddF16: u16, u32, |a, b, _c| (f16::from_bits(a) + f16::from_bits(b)).to_bits();
    AddBf16: u16, u32, |a, b, _c| (bf16::from_bits(a) + bf16::from_bits(b)).to_bits();
    AddF16x2: u32, u32, |a, b, _c| pair(a, b, |a, b| (f16::from_bits(a) + f16::from_bits(b)).to_bits());
    AddBf16x2: u32, u32, |a, b, _c| pair(a, b, |a, b| (bf16::from_bits(a) + bf16::from_bits(b)).to_bits());
}

fn pair(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

fn atomic<R: Rmw>() -> Option<Exec> {
    Some(pick::<Atomic<R>>())
}

/// Lowers `atom` and `red`.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    use Type::*;
    let ty = l.ty()?;
    let has = |word: &str| l.has(word);
    let operation =
        ["add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"].into_iter().find(|word| has(word));
    let exec = match (operation, ty) {
        (Some("add"), U32 | S32) => atomic::<Add32>(),
        (Some("add"), U64 | S64) => atomic::<Add64>(),
        (Some("add"), F32) => atomic::<AddF32>(),
        (Some("add"), F64) => atomic::<AddF64>(),
        (Some("add"), F16) => atomic::<AddF16>(),
        (Some("add"), Bf16) => atomic::<AddBf16>(),
        (Some("add"), F16x2) => atomic::<AddF16x2>(),
        (Some("add"), Bf16x2) => atomic::<AddBf16x2>(),
        (Some("min"), U32) => atomic::<MinU32>(),
        (Some("max"), U32) => atomic::<MaxU32>(),
        (Some("min"), S32) => atomic::<MinS32>(),
        (Some("max"), S32) => atomic::<MaxS32>(),
        (Some("min"), U64) => atomic::<MinU64>(),
        (Some("max"), U64) => atomic::<MaxU64>(),
        (Some("min"), S64) => atomic::<MinS64>(),
        (Some("max"), S64) => atomic::<MaxS64>(),
        (Some("and"), B32) => atomic::<And32>(),
        (Some("or"), B32) => atomic::<Or32>(),
        (Some("xor"), B32) => atomic::<Xor32>(),
        (Some("and"), B64) => atomic::<And64>(),
        (Some("or"), B64) => atomic::<Or64>(),
        (Some("xor"), B64) => atomic::<Xor64>(),
        (Some("inc"), U32) => atomic::<Inc>(),
        (Some("dec"), U32) => atomic::<Dec>(),
        (Some("exch"), B32) => atomic::<Exch32>(),
        (Some("exch"), B64) => atomic::<Exch64>(),
        (Some("cas"), B16) => atomic::<Cas16>(),
        (Some("cas"), B32) => atomic::<Cas32>(),
        (Some("cas"), B64) => atomic::<Cas64>(),
        _ => None,
    };
    let space = space(l)?;
    let (Some(exec), Some(index)) = (exec, SPACES.iter().position(|&s| s == space)) else { return l.unsupported() };
    if l.has("v2") || l.has("v4") || l.has("v8") || l.has("L2::cache_hint") || l.has("async") {
        return l.unsupported();
    }
    let wide = Width::of(ty) == Width::W64;
    let word = if wide { B64 } else { B32 };
    let first = usize::from(l.instruction.opcode == "atom");
    let result = if first == 1 { l.write(0, word)? } else { l.temporary(Width::of(word)) };
    let address = l.address(first)?;
    let literal = |l: &Lower, n: usize| match l.operand(n) {
        Ok(Operand::Reg(_)) => word,
        _ if ty.bytes() >= 4 && ty.is_float() => ty,
        _ => word,
    };
    let (b_type, c_type) = (literal(l, first + 1), literal(l, first + 2));
    let b = l.read(first + 1, b_type)?;
    let c = if operation == Some("cas") { l.read(first + 2, c_type)? } else { b };
    if first == 0 {
        l.writes_to(result);
    }
    if space != Space::Shared {
        l.order_sensitive();
    }
    l.accesses(space, ty.bytes());
    let release = l.has("release") || l.has("acq_rel");
    let inst = l.emit(Class::Atomic, exec, &[result, address.base, b, c]);
    inst.imm = address.offset;
    inst.tag = u32::from(address.wide) * WIDE | u32::from(release) * RELEASE | (index as u32) << SPACE;
    Ok(())
}
