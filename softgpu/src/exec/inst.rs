//! Decoded instructions: a function pointer and the rows it works on.

use super::warp::Warp;

/// What an instruction tells the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flow {
    /// Go on with the next instruction.
    Next = 0,
    /// Go on with the next instruction; the thread may be polling for another one, which should get its turn.
    Yield,
    /// The whole group goes on at `Warp::pc`.
    Jump,
    /// The executing lanes wait for the others that [`Warp::all_arrived`] missed, and will execute this instruction again.
    Wait,
    /// No group is at hand any more (it waits, it has split, or it is gone): pick another.
    Moved,
    /// The launch is over: a fault has been recorded.
    Fault,
}

/// The body of an instruction. Safe to call when `Inst::rows` lie within the warp's register file, as lowering makes sure.
pub type Exec = unsafe fn(&mut Warp, &Inst) -> Flow;

/// Where a register's 32 lanes lie, in words of 32 bits from the start of the warp's register file; for a predicate, its index.
/// While a function is being lowered, a slot of [`super::lower::Lower`] instead.
pub type Row = u32;

/// No guard.
pub const ALWAYS: u32 = u32::MAX;

/// One decoded instruction.
#[derive(Clone)]
pub struct Inst {
    /// Does it.
    pub exec: Exec,
    /// Destination first where there is one, then sources, in the opcode's order.
    pub rows: [Row; 5],
    /// The predicate that guards it, or [`ALWAYS`].
    pub guard: Row,
    /// An offset, a mask, a target or an index into a table: the opcode's business.
    pub imm: i64,
    /// More rows, for vectors and matrices.
    pub more: Option<Box<[Row]>>,
    /// A second number: the opcode's business.
    pub aux: i64,
    /// A third one: flags.
    pub tag: u32,
    /// `@!p`.
    pub guard_negated: bool,
    /// What it counts as.
    pub class: Class,
    /// Floating-point operations per thread (FP32 classes) or per warp (tensor classes).
    pub flops: u16,
}

/// Classes of instructions that are counted apart.
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Class {
    Integer,
    Float32,
    Float64,
    Half,
    Special,
    Convert,
    Move,
    Compare,
    GlobalLoad,
    GlobalStore,
    SharedLoad,
    SharedStore,
    LocalMemory,
    Param,
    Atomic,
    AsyncCopy,
    MatrixLoad,
    Tensor,
    Shuffle,
    Barrier,
    Fence,
    Branch,
    Other,
}

/// An opcode's body, which [`pick`] compiles for several instruction sets.
pub trait Op {
    /// Executes `i` for the lanes of `w.mask`. Mark it `#[inline(always)]`.
    ///
    /// # Safety
    /// The rows of `i` lie within the register file of `w`.
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow;
}

unsafe fn plain<O: Op>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: the caller's promise is `run`'s.
    unsafe { O::run(w, i) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn avx2<O: Op>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: the caller's promise is `run`'s.
    unsafe { O::run(w, i) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn avx512<O: Op>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: the caller's promise is `run`'s.
    unsafe { O::run(w, i) }
}

/// The body of `O` for the best instruction set of this machine. Found once per opcode of a module, not per execution.
pub fn pick<O: Op>() -> Exec {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("avx512cd") {
            return avx512::<O>;
        }
        if has!("avx2") && has!("fma") && has!("f16c") && has!("bmi2") {
            return avx2::<O>;
        }
    }
    plain::<O>
}

/// Declares unit structs that are [`Op`]s: `op! { AddS32 = |w, i| w.map2(i, |a: u32, b: u32| a.wrapping_add(b)); }`.
#[macro_export]
macro_rules! op {
    ($($(#[$meta:meta])* $name:ident = |$w:ident, $i:ident| $body:expr;)*) => {$(
        $(#[$meta])*
        struct $name;
        impl $crate::exec::Op for $name {
            #[inline(always)]
            unsafe fn run($w: &mut $crate::exec::Warp, $i: &$crate::exec::Inst) -> $crate::exec::Flow {
                // SAFETY: `run`'s caller keeps the rows within the register file.
                #[allow(unused_unsafe, reason = "some bodies need none")]
                unsafe { $body }
            }
        }
    )*};
}
