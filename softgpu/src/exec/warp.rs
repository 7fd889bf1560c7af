//! A warp: 32 lanes, their registers, and the groups of lanes that share a program counter.

use super::block::Block;
use super::inst::{Flow, Inst, Row};
use super::launch::Launch;
use half::{bf16, f16};

/// Lanes of a warp.
pub const LANES: usize = 32;

/// What a group waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing.
    No,
    /// These lanes must come to a `*.sync` as well.
    Named(u32),
    /// All other lanes of the warp must come to a barrier as well.
    Together,
    /// It has arrived at this barrier of the block.
    Barrier(usize),
}

/// Lanes with the same program counter.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Index of the next instruction; of the one that waits, where the group does.
    pub pc: u32,
    /// Its lanes.
    pub mask: u32,
    /// What it waits for.
    pub waiting: Waiting,
    /// Whether it may arrive at an aligned barrier without the rest of its warp, because that will never come.
    pub alone: bool,
}

/// A warp while its block is resident.
pub struct Warp {
    /// The register file, 128-byte aligned; valid for `Program::register_words`.
    pub regs: *mut u32,
    /// Predicates, one bit per lane; valid for `Program::predicates`.
    pub preds: *mut u32,
    /// Lanes that execute the current instruction: the group's, less those whose guard is false.
    pub mask: u32,
    /// The current instruction.
    pub pc: u32,
    /// Lanes that have not exited.
    pub live: u32,
    /// Index within the block.
    pub index: u32,
    /// Every group but the one that executes (its lanes are in no group meanwhile).
    pub groups: Vec<Group>,
    /// Lanes of the executing group, guard or not.
    pub active: u32,
    /// [`Group::alone`] of the executing group.
    pub alone: bool,
    /// Instructions of finished turns: the clock.
    pub(super) elapsed: u64,
    /// Copies of `cp.async` under way.
    pub(crate) copies: crate::isa::async_copy::Copies,
    /// Lanes that wrote each watched register.
    pub written: Vec<u32>,
    /// What [`Warp::all_arrived`] last asked for.
    pub(super) awaited: u32,
    /// The group that [`Warp::pick`] takes next in place of the one with the lowest program counter.
    pub(super) preferred: Option<usize>,
    block: *mut Block,
    launch: *const Launch<'static>,
}

/// A lane's value as a type: how it lies in a row of 32-bit or 64-bit words.
///
/// 16-bit values lie zero-extended in 32-bit rows.
pub trait Lane: Copy {
    /// The word of the row.
    type Word: Copy + Default;
    /// Reads a word.
    fn of(word: Self::Word) -> Self;
    /// Makes a word.
    fn word(self) -> Self::Word;
}

macro_rules! lanes {
    ($($ty:ty: $word:ty, $of:expr, $to:expr;)*) => {$(
        impl Lane for $ty {
            type Word = $word;
            #[inline(always)]
            fn of(word: $word) -> $ty { let f: fn($word) -> $ty = $of; f(word) }
            #[inline(always)]
            fn word(self) -> $word { let f: fn($ty) -> $word = $to; f(self) }
        }
    )*};
}

lanes! {
    u32: u32, |w| w, |v| v;
    i32: u32, |w| w as i32, |v| v as u32;
    f32: u32, f32::from_bits, f32::to_bits;
    u16: u32, |w| w as u16, |v| v as u32;
    i16: u32, |w| w as i16, |v| v as u16 as u32;
    u8: u32, |w| w as u8, |v| v as u32;
    i8: u32, |w| w as i8, |v| v as u8 as u32;
    f16: u32, |w| f16::from_bits(w as u16), |v| v.to_bits() as u32;
    bf16: u32, |w| bf16::from_bits(w as u16), |v| v.to_bits() as u32;
    u64: u64, |w| w, |v| v;
    i64: u64, |w| w as i64, |v| v as u64;
    f64: u64, f64::from_bits, f64::to_bits;
}

impl Warp {
    /// A warp of `block` with room for its registers.
    pub(super) fn new(
        regs: *mut u32,
        preds: *mut u32,
        index: u32,
        block: *mut Block,
        launch: *const Launch<'static>,
    ) -> Warp {
        let (mask, pc, live, active, alone, awaited) = (0, 0, 0, 0, false, 0);
        // SAFETY: the launch outlives its warps.
        let written = vec![0; unsafe { &*launch }.program.watches.registers];
        let (groups, preferred) = (vec![], None);
        let copies = Default::default();
        let elapsed = 0;
        Warp {
            regs,
            preds,
            mask,
            pc,
            live,
            index,
            groups,
            active,
            alone,
            elapsed,
            copies,
            written,
            awaited,
            preferred,
            block,
            launch,
        }
    }

    /// Puts `live` lanes at the first instruction.
    pub(super) fn start(&mut self, live: u32) {
        self.live = live;
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: live, waiting: Waiting::No, alone: false });
        self.written.fill(0);
        self.copies.clear();
        self.elapsed = 0;
        (self.active, self.preferred) = (0, None);
    }

    /// The block.
    #[inline(always)]
    pub fn block(&mut self) -> &mut Block {
        // SAFETY: a warp lives in its block, one thread runs the block, and nothing else refers to it meanwhile.
        unsafe { &mut *self.block }
    }

    /// The launch.
    #[inline(always)]
    pub fn launch(&self) -> &'static Launch<'static> {
        // SAFETY: the launch outlives all its warps; the reference is not kept beyond an instruction.
        unsafe { &*self.launch }
    }

    /// The lanes of a row.
    ///
    /// # Safety
    /// `row` lies within the register file and was allocated for words of this size.
    #[inline(always)]
    pub unsafe fn row<W>(&self, row: Row) -> &[W; LANES] {
        // SAFETY: as promised.
        unsafe { &*self.regs.add(row as usize).cast() }
    }

    /// The lanes of a row, to write.
    ///
    /// # Safety
    /// As [`Warp::row`].
    #[inline(always)]
    pub unsafe fn row_mut<W>(&mut self, row: Row) -> &mut [W; LANES] {
        // SAFETY: as promised.
        unsafe { &mut *self.regs.add(row as usize).cast() }
    }

    /// A predicate's lanes, one bit each.
    ///
    /// # Safety
    /// `row` is a predicate's.
    #[inline(always)]
    pub unsafe fn pred(&self, row: Row) -> u32 {
        // SAFETY: as promised.
        unsafe { *self.preds.add(row as usize) }
    }

    /// Sets a predicate in the executing lanes.
    ///
    /// # Safety
    /// As [`Warp::pred`].
    #[inline(always)]
    pub unsafe fn set_pred(&mut self, row: Row, bits: u32) {
        // SAFETY: as promised.
        let pred = unsafe { &mut *self.preds.add(row as usize) };
        *pred = *pred & !self.mask | bits & self.mask;
    }

    /// Writes the executing lanes of a row.
    ///
    /// # Safety
    /// As [`Warp::row`].
    #[inline(always)]
    pub unsafe fn set<W: Copy>(&mut self, row: Row, values: &[W; LANES]) {
        let mask = self.mask;
        // SAFETY: as promised.
        let to = unsafe { self.row_mut::<W>(row) };
        if mask == u32::MAX {
            *to = *values;
        } else {
            for lane in 0..LANES {
                to[lane] = if mask >> lane & 1 == 1 { values[lane] } else { to[lane] };
            }
        }
    }

    /// d = f(a): rows 0 and 1.
    ///
    /// # Safety
    /// As [`Warp::row`].
    #[inline(always)]
    pub unsafe fn map1<D: Lane, A: Lane>(&mut self, i: &Inst, f: impl Fn(A) -> D) -> Flow {
        // SAFETY: as promised.
        unsafe {
            let a = self.row::<A::Word>(i.rows[1]);
            let d = std::array::from_fn(|lane| f(A::of(a[lane])).word());
            self.set(i.rows[0], &d);
        }
        Flow::Next
    }

    /// d = f(a, b): rows 0 to 2.
    ///
    /// # Safety
    /// As [`Warp::row`].
    #[inline(always)]
    pub unsafe fn map2<D: Lane, A: Lane, B: Lane>(&mut self, i: &Inst, f: impl Fn(A, B) -> D) -> Flow {
        // SAFETY: as promised.
        unsafe {
            let (a, b) = (self.row::<A::Word>(i.rows[1]), self.row::<B::Word>(i.rows[2]));
            let d = std::array::from_fn(|lane| f(A::of(a[lane]), B::of(b[lane])).word());
            self.set(i.rows[0], &d);
        }
        Flow::Next
    }

    /// d = f(a, b, c): rows 0 to 3.
    ///
    /// # Safety
    /// As [`Warp::row`].
    #[inline(always)]
    pub unsafe fn map3<D: Lane, A: Lane, B: Lane, C: Lane>(&mut self, i: &Inst, f: impl Fn(A, B, C) -> D) -> Flow {
        // SAFETY: as promised.
        unsafe {
            let (a, b, c) =
                (self.row::<A::Word>(i.rows[1]), self.row::<B::Word>(i.rows[2]), self.row::<C::Word>(i.rows[3]));
            let d = std::array::from_fn(|lane| f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane])).word());
            self.set(i.rows[0], &d);
        }
        Flow::Next
    }

    /// One bit per lane: f(a, b), of rows `a` and `b`; lanes that do not execute included.
    ///
    /// # Safety
    /// As [`Warp::row`].
    #[inline(always)]
    pub unsafe fn test2<A: Lane, B: Lane>(&self, a: Row, b: Row, f: impl Fn(A, B) -> bool) -> u32 {
        // SAFETY: as promised.
        let (a, b) = unsafe { (self.row::<A::Word>(a), self.row::<B::Word>(b)) };
        let mut bits = 0;
        for lane in 0..LANES {
            bits |= (f(A::of(a[lane]), B::of(b[lane])) as u32) << lane;
        }
        bits
    }
}
