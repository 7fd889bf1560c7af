//! Loads and stores of every space, and hints about caches.
//!
//! Source: PTX ISA 9.0, section 9.7.9, "Data Movement and Conversion Instructions".

use super::async_copy::addresses;
use crate::exec::{Class, Exec, Flow, Inst, LANES, Lower, Row, Warp, Width, pick};
use crate::memory::Access;
use crate::op;
use crate::ptx::{Operand, PtxError, Space, Type};

/// In [`Inst::tag`]: the register of addresses has 64-bit words.
const WIDE: u32 = 1;
/// In [`Inst::tag`]: volatile, relaxed, acquire or release.
const STRONG: u32 = 2;
/// In [`Inst::tag`]: release, which is a fence before the store.
const RELEASE: u32 = 4;
/// In [`Inst::tag`]: registers of values have 64-bit words.
const W64_VALUES: u32 = 8;

op! { Hint = |_w, _i| Flow::Next; }

/// Rows: up to four registers, then the address.
const ADDRESS: usize = 4;

/// Loads `N` values of `BYTES` (signed ones are extended if `SIGNED`) into rows of 32-bit or, if `W64`, 64-bit words.
struct Load<const SPACE: u8, const BYTES: u64, const N: usize, const SIGNED: bool, const W64: bool>;
struct Store<const SPACE: u8, const BYTES: u64, const N: usize, const W64: bool>;

const SPACES: [Space; 6] = [Space::Generic, Space::Global, Space::Const, Space::Shared, Space::Local, Space::Param];

impl<const SPACE: u8, const BYTES: u64, const N: usize, const SIGNED: bool, const W64: bool> crate::exec::Op
    for Load<SPACE, BYTES, N, SIGNED, W64>
{
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: `run`'s caller keeps the rows within the register file.
        let from = unsafe { addresses(w, i.rows[ADDRESS], i.tag & WIDE != 0, i.imm) };
        let access = if i.tag & STRONG != 0 { Access::StrongLoad } else { Access::Load };
        let Some(found) = w.access(SPACES[SPACE as usize], &from, BYTES * N as u64, access) else { return Flow::Fault };
        let mask = w.mask;
        for n in 0..N {
            let row = register(i, n);
            // SAFETY: the access found these bytes; the row is as wide as `W64` says.
            unsafe {
                if W64 {
                    let to = w.row_mut::<u64>(row);
                    each_lane(mask, |lane| to[lane] = value::<BYTES, SIGNED>(found.at[lane] + n as u64 * BYTES));
                } else {
                    let to = w.row_mut::<u32>(row);
                    each_lane(mask, |lane| to[lane] = value::<BYTES, SIGNED>(found.at[lane] + n as u64 * BYTES) as u32);
                }
            }
        }
        // Whoever reads what others write may be waiting for it.
        if access.is_strong() { Flow::Yield } else { Flow::Next }
    }
}

impl<const SPACE: u8, const BYTES: u64, const N: usize, const W64: bool> crate::exec::Op
    for Store<SPACE, BYTES, N, W64>
{
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: `run`'s caller keeps the rows within the register file.
        let to = unsafe { addresses(w, i.rows[ADDRESS], i.tag & WIDE != 0, i.imm) };
        let access = if i.tag & STRONG != 0 { Access::StrongStore } else { Access::Store };
        if i.tag & RELEASE != 0 {
            w.fence();
        }
        let Some(found) = w.access(SPACES[SPACE as usize], &to, BYTES * N as u64, access) else { return Flow::Fault };
        let mask = w.mask;
        for n in 0..N {
            let row = register(i, n);
            // SAFETY: the access found these bytes; the row is as wide as `W64` says.
            unsafe {
                if W64 {
                    let from = w.row::<u64>(row);
                    each_lane(mask, |lane| put::<BYTES>(found.at[lane] + n as u64 * BYTES, from[lane]));
                } else {
                    let from = w.row::<u32>(row);
                    each_lane(mask, |lane| put::<BYTES>(found.at[lane] + n as u64 * BYTES, from[lane].into()));
                }
            }
        }
        Flow::Next
    }
}

/// Whether two lanes store the same values by the store `i`.
///
/// # Safety
/// The rows of `i` lie within the register file of `w`.
pub(crate) unsafe fn same_values(w: &Warp, i: &Inst, a: usize, b: usize) -> bool {
    // SAFETY: as promised.
    (0..i.aux as usize).all(|n| unsafe {
        let row = w.regs.add(register(i, n) as usize);
        if i.tag & W64_VALUES == 0 {
            row.add(a).read() == row.add(b).read()
        } else {
            row.cast::<u64>().add(a).read() == row.cast::<u64>().add(b).read()
        }
    })
}

#[inline(always)]
fn register(i: &Inst, n: usize) -> Row {
    if n < ADDRESS { i.rows[n] } else { i.more.as_ref().map_or(0, |more| more[n - ADDRESS]) }
}

#[inline(always)]
fn each_lane(mask: u32, body: impl FnMut(usize)) {
    if mask == u32::MAX {
        (0..LANES).for_each(body);
    } else {
        (0..LANES).filter(|lane| mask >> lane & 1 == 1).for_each(body);
    }
}

/// # Safety
/// `BYTES` can be read at `at`.
#[inline(always)]
unsafe fn value<const BYTES: u64, const SIGNED: bool>(at: u64) -> u64 {
    // SAFETY: as promised; unaligned reads cost nothing here.
    unsafe {
        match (BYTES, SIGNED) {
            (1, false) => (at as *const u8).read().into(),
            (1, true) => (at as *const i8).read() as u64,
            (2, false) => (at as *const u16).read_unaligned().into(),
            (2, true) => (at as *const i16).read_unaligned() as u64,
            (4, false) => (at as *const u32).read_unaligned().into(),
            (4, true) => (at as *const i32).read_unaligned() as u64,
            _ => (at as *const u64).read_unaligned(),
        }
    }
}

/// # Safety
/// `BYTES` can be written at `at`.
#[inline(always)]
unsafe fn put<const BYTES: u64>(at: u64, value: u64) {
    // SAFETY: as promised.
    unsafe {
        match BYTES {
            1 => (at as *mut u8).write(value as u8),
            2 => (at as *mut u16).write_unaligned(value as u16),
            4 => (at as *mut u32).write_unaligned(value as u32),
            _ => (at as *mut u64).write_unaligned(value),
        }
    }
}

macro_rules! by_space {
    ($index:expr, $space:ident => $pick:expr) => {
        match $index {
            0 => {
                const $space: u8 = 0;
                $pick
            }
            1 => {
                const $space: u8 = 1;
                $pick
            }
            2 => {
                const $space: u8 = 2;
                $pick
            }
            3 => {
                const $space: u8 = 3;
                $pick
            }
            4 => {
                const $space: u8 = 4;
                $pick
            }
            _ => {
                const $space: u8 = 5;
                $pick
            }
        }
    };
}

fn load(space: usize, bytes: u32, n: usize, signed: bool, w64: bool) -> Option<Exec> {
    Some(by_space!(space, S => match (bytes, n, signed, w64) {
        (1, 1, false, false) => pick::<Load<S, 1, 1, false, false>>(),
        (1, 1, true, false) => pick::<Load<S, 1, 1, true, false>>(),
        (1, 1, false, true) => pick::<Load<S, 1, 1, false, true>>(),
        (1, 1, true, true) => pick::<Load<S, 1, 1, true, true>>(),
        (1, 2, false, false) => pick::<Load<S, 1, 2, false, false>>(),
        (1, 4, false, false) => pick::<Load<S, 1, 4, false, false>>(),
        (1, 2, true, false) => pick::<Load<S, 1, 2, true, false>>(),
        (1, 4, true, false) => pick::<Load<S, 1, 4, true, false>>(),
        (2, 1, false, false) => pick::<Load<S, 2, 1, false, false>>(),
        (2, 1, true, false) => pick::<Load<S, 2, 1, true, false>>(),
        (2, 1, false, true) => pick::<Load<S, 2, 1, false, true>>(),
        (2, 1, true, true) => pick::<Load<S, 2, 1, true, true>>(),
        (2, 2, false, false) => pick::<Load<S, 2, 2, false, false>>(),
        (2, 4, false, false) => pick::<Load<S, 2, 4, false, false>>(),
        (2, 2, true, false) => pick::<Load<S, 2, 2, true, false>>(),
        (2, 4, true, false) => pick::<Load<S, 2, 4, true, false>>(),
        (4, 1, _, false) => pick::<Load<S, 4, 1, false, false>>(),
        (4, 2, _, false) => pick::<Load<S, 4, 2, false, false>>(),
        (4, 4, _, false) => pick::<Load<S, 4, 4, false, false>>(),
        (4, 1, false, true) => pick::<Load<S, 4, 1, false, true>>(),
        (4, 1, true, true) => pick::<Load<S, 4, 1, true, true>>(),
        (8, 1, _, true) => pick::<Load<S, 8, 1, false, true>>(),
        (8, 2, _, true) => pick::<Load<S, 8, 2, false, true>>(),
        _ => return None,
    }))
}

fn store(space: usize, bytes: u32, n: usize, w64: bool) -> Option<Exec> {
    Some(by_space!(space, S => match (bytes, n, w64) {
        (1, 1, false) => pick::<Store<S, 1, 1, false>>(),
        (1, 2, false) => pick::<Store<S, 1, 2, false>>(),
        (1, 4, false) => pick::<Store<S, 1, 4, false>>(),
        (1, 1, true) => pick::<Store<S, 1, 1, true>>(),
        (2, 1, false) => pick::<Store<S, 2, 1, false>>(),
        (2, 2, false) => pick::<Store<S, 2, 2, false>>(),
        (2, 4, false) => pick::<Store<S, 2, 4, false>>(),
        (2, 1, true) => pick::<Store<S, 2, 1, true>>(),
        (4, 1, false) => pick::<Store<S, 4, 1, false>>(),
        (4, 2, false) => pick::<Store<S, 4, 2, false>>(),
        (4, 4, false) => pick::<Store<S, 4, 4, false>>(),
        (4, 1, true) => pick::<Store<S, 4, 1, true>>(),
        (8, 1, true) => pick::<Store<S, 8, 1, true>>(),
        (8, 2, true) => pick::<Store<S, 8, 2, true>>(),
        _ => return None,
    }))
}

/// Lowers `ld`, `ldu`, `st` and hints.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    let is_load = match l.instruction.opcode.as_str() {
        "ld" | "ldu" => true,
        "st" => false,
        _ => {
            l.address(0)?;
            l.emit(Class::Other, pick::<Hint>(), &[]);
            return Ok(());
        }
    };
    if l.has("L2::cache_hint") || l.has("mmio") || l.has("b128") || l.has("unified") {
        return l.unsupported();
    }
    let space = space(l)?;
    let ty = l.ty()?;
    let wanted = if l.has("v8") {
        8
    } else if l.has("v4") {
        4
    } else if l.has("v2") {
        2
    } else {
        1
    };
    let (value_at, address_at) = if is_load { (0, 1) } else { (1, 0) };
    let values: Vec<&Operand> = match l.operand(value_at)? {
        Operand::Vector(values) => values.iter().collect(),
        value => vec![value],
    };
    if values.len() != wanted || wanted > 4 {
        return l.err(format!("{} has {} values", l.text(), values.len()));
    }
    // A register may be wider than what is loaded into it or stored from it.
    let width = values.iter().find_map(|v| l.type_of(v)).map_or(Width::of(ty), Width::of);
    let as_type = if width == Width::W64 { Type::B64 } else { Type::B32 };
    let mut rows = [0; 5];
    for (row, value) in rows.iter_mut().zip(values) {
        *row = if is_load {
            l.write_operand(value, as_type)?
        } else {
            l.read_operand(value, constant_type(value, ty, as_type))?
        };
    }
    let address = l.address(address_at)?;
    rows[ADDRESS] = address.base;
    let index = SPACES.iter().position(|&s| s == space).unwrap_or(0);
    let w64 = width == Width::W64;
    let exec = if is_load {
        load(index, ty.bytes(), wanted, ty.is_signed(), w64)
    } else {
        store(index, ty.bytes(), wanted, w64)
    };
    let Some(exec) = exec else { return l.unsupported() };
    let strong = ["volatile", "relaxed", "acquire", "release"].iter().any(|word| l.has(word));
    if strong && matches!(space, Space::Global | Space::Generic) {
        l.order_sensitive();
    }
    l.accesses(space, ty.bytes());
    let class = match (space, is_load) {
        (Space::Shared, true) => Class::SharedLoad,
        (Space::Shared, false) => Class::SharedStore,
        (Space::Local, _) => Class::LocalMemory,
        (Space::Param | Space::Const, _) => Class::Param,
        (_, true) => Class::GlobalLoad,
        (_, false) => Class::GlobalStore,
    };
    let release = l.has("release");
    let inst = l.emit(class, exec, &rows);
    inst.imm = address.offset;
    inst.tag = u32::from(address.wide) * WIDE
        | u32::from(strong) * STRONG
        | u32::from(release) * RELEASE
        | u32::from(w64) * W64_VALUES;
    inst.aux = wanted as i64;
    Ok(())
}

/// A literal is stored as its own type says, a register as wide as it is.
fn constant_type(value: &Operand, ty: Type, register: Type) -> Type {
    match value {
        Operand::Reg(_) => register,
        _ => match (register, ty) {
            (Type::B64, Type::F64) => Type::F64,
            (Type::B32, Type::F32) => Type::F32,
            _ => register,
        },
    }
}

/// The state space among the modifiers.
pub(super) fn space(l: &Lower) -> Result<Space, PtxError> {
    for modifier in &l.instruction.modifiers {
        return Ok(match modifier.as_str() {
            "global" => Space::Global,
            "const" => Space::Const,
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            "param" | "param::entry" | "param::func" => Space::Param,
            "shared::cluster" => return l.unsupported(),
            _ => continue,
        });
    }
    Ok(Space::Generic)
}
