//! 8×8 matrices between shared memory and registers: ldmatrix, stmatrix; and transposed in registers: movmatrix.
//!
//! Lane r gives the address of row r of the first matrix, lane 8 + r that of the second, and so on. A row is 16 bytes; its word c
//! belongs to lane 4·r + c. Source: PTX ISA 9.0, section 9.7.14.5, "Warp-level matrix load instruction: ldmatrix".

use super::async_copy::addresses;
use crate::exec::{Class, Flow, Inst, LANES, Lower, Warp, pick};
use crate::memory::Access;
use crate::op;
use crate::ptx::{Operand, PtxError, Space, Type};

/// In [`Inst::tag`]: the register of addresses has 64-bit words.
const WIDE: u32 = 1;
/// In [`Inst::tag`]: each matrix is transposed.
const TRANSPOSED: u32 = 2;

op! {
    Load1 = |w, i| load::<1>(w, i);
    Load2 = |w, i| load::<2>(w, i);
    Load4 = |w, i| load::<4>(w, i);
    Store1 = |w, i| store::<1>(w, i);
    Store2 = |w, i| store::<2>(w, i);
    Store4 = |w, i| store::<4>(w, i);
    Transpose = |w, i| {
        if w.mask != u32::MAX { return w.trap("movmatrix needs all lanes of the warp"); }
        let d = transposed(w.row::<u32>(i.rows[1]));
        w.set(i.rows[0], &d);
        Flow::Next
    };
}

/// Elements (r, c) and (c, r) exchanged, two elements a word.
fn transposed(words: &[u32; LANES]) -> [u32; LANES] {
    let element = |row: usize, column: usize| words[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff;
    std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        element(column, row) | element(column + 1, row) << 16
    })
}

/// Where the `N` matrices' rows lie, checked and counted; `None` after a fault. All lanes must take part.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn rows<const N: usize>(w: &mut Warp, i: &Inst, access: Access) -> Option<[[*mut u8; 8]; N]> {
    if w.mask != u32::MAX {
        w.trap("matrix loads and stores need all lanes of the warp");
        return None;
    }
    // SAFETY: as promised.
    let at = unsafe { addresses(w, i.rows[4], i.tag & WIDE != 0, i.imm) };
    let mut found = [[std::ptr::null_mut(); 8]; N];
    for (matrix, rows) in found.iter_mut().enumerate() {
        let mut here = [0; 8];
        for (row, to) in rows.iter_mut().enumerate() {
            let lane = 8 * matrix + row;
            *to = w.shared_row(at[lane], lane as u32, access)?;
            here[row] = at[lane];
        }
        w.count_matrix(&here);
    }
    Some(found)
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn load<const N: usize>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised; the rows that were found have 16 bytes each.
    unsafe {
        let Some(found) = rows::<N>(w, i, Access::Load) else { return Flow::Fault };
        for (n, rows) in found.iter().enumerate() {
            let mut words = [0; LANES];
            for (row, from) in rows.iter().enumerate() {
                let row_words: [u32; 4] = from.cast::<[u32; 4]>().read_unaligned();
                words[4 * row..4 * row + 4].copy_from_slice(&row_words);
            }
            let d = if i.tag & TRANSPOSED != 0 { transposed(&words) } else { words };
            w.set(i.rows[n], &d);
        }
    }
    Flow::Next
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn store<const N: usize>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised; the rows that were found have 16 bytes each.
    unsafe {
        let Some(found) = rows::<N>(w, i, Access::Store) else { return Flow::Fault };
        for (n, rows) in found.iter().enumerate() {
            let words = w.row::<u32>(i.rows[n]);
            let words = if i.tag & TRANSPOSED != 0 { transposed(words) } else { *words };
            for (row, to) in rows.iter().enumerate() {
                to.cast::<[u32; 4]>().write_unaligned(std::array::from_fn(|c| words[4 * row + c]));
            }
        }
    }
    Flow::Next
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    if !l.has("m8n8") || !l.has("b16") || !l.has("sync") || !l.has("aligned") {
        return l.unsupported();
    }
    let transposed = if l.has("trans") { TRANSPOSED } else { 0 };
    let opcode = l.instruction.opcode.as_str();
    if opcode == "movmatrix" {
        let (d, a) = (l.write(0, Type::B32)?, l.read(1, Type::B32)?);
        l.emit(Class::MatrixLoad, pick::<Transpose>(), &[d, a]);
        return Ok(());
    }
    let is_load = opcode == "ldmatrix";
    if l.has("shared::cluster") {
        return l.unsupported();
    }
    let (count, exec) = match (["x1", "x2", "x4"].into_iter().find(|x| l.has(x)), is_load) {
        (Some("x1"), true) => (1, pick::<Load1>()),
        (Some("x2"), true) => (2, pick::<Load2>()),
        (Some("x4"), true) => (4, pick::<Load4>()),
        (Some("x1"), false) => (1, pick::<Store1>()),
        (Some("x2"), false) => (2, pick::<Store2>()),
        (Some("x4"), false) => (4, pick::<Store4>()),
        _ => return l.unsupported(),
    };
    let (value_at, address_at) = if is_load { (0, 1) } else { (1, 0) };
    let values: Vec<&Operand> = match l.operand(value_at)? {
        Operand::Vector(values) => values.iter().collect(),
        value => vec![value],
    };
    if values.len() != count {
        return l.err(format!("{} has {} registers", l.text(), values.len()));
    }
    let mut rows = [0; 5];
    for (row, value) in rows.iter_mut().zip(values) {
        *row = if is_load { l.write_operand(value, Type::B32)? } else { l.read_operand(value, Type::B32)? };
    }
    let address = l.address(address_at)?;
    rows[4] = address.base;
    l.accesses(Space::Shared, 4);
    let inst = l.emit(Class::MatrixLoad, exec, &rows);
    inst.imm = address.offset;
    inst.tag = transposed | if address.wide { WIDE } else { 0 };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_changes_nothing() {
        let words: [u32; LANES] = std::array::from_fn(|n| (2 * n + (2 * n + 1 << 16)) as u32);
        let once = transposed(&words);
        // Lane 5 holds row 1, columns 2 and 3: after transposing, what was at (2, 1) and (3, 1).
        assert_eq!(once[5], 2 * 8 + 1 | (3 * 8 + 1) << 16);
        assert_eq!(transposed(&once), words);
    }
}
