//! Rows for registers: two share one where their lives do not overlap.
//!
//! Lives are intervals over the instructions in their order, long enough to cover every path on which the value is needed. Lanes
//! that diverge do not disturb each other, because an instruction writes its own lanes of a row only.
//!
//! Kernels in single-assignment form have thousands of registers; with a row each, a warp's file would not stay in the cache.

use super::inst::{ALWAYS, Row};
use super::lower::{Code, Content, Slot, Width};

/// Where everything lies.
pub struct Rows {
    /// Words of 32 bits of a warp's register file.
    pub words: u32,
    /// Predicates of a warp.
    pub predicates: u32,
    /// Most 32-bit registers that live at once: what a compiler would need at least.
    pub live_registers: u32,
    /// Pre-filled rows.
    pub fixed: Vec<(Row, Slot)>,
    /// Registers that may be read before they are written: slots.
    pub unwritten: Vec<Row>,
}

/// Gives every slot a row and writes the rows into the instructions.
pub fn assign(code: &mut Code) -> Rows {
    let intervals = intervals(code);
    let mut places = vec![0; code.slots.len()];
    let mut files = [File::default(), File::default(), File::default()];
    let mut order: Vec<u32> = (0..code.slots.len() as u32).filter(|&s| intervals.of[s as usize].is_some()).collect();
    order.sort_by_key(|&s| intervals.of[s as usize]);
    for slot in order {
        let Some((start, end)) = intervals.of[slot as usize] else { continue };
        let (file, units) = match code.slots[slot as usize].width {
            Width::Pred => (&mut files[1], 1),
            Width::W32 => (&mut files[0], 1),
            Width::W64 => (&mut files[2], 1),
        };
        places[slot as usize] = file.take(start, end, units);
    }
    let [narrow, mut predicates, wide] = files.each_ref().map(|file| file.free_at.len() as u32);
    // A lane's 64 bits lie where two other lanes' 32 bits would: rows are shared among those of one width only.
    for (place, slot) in places.iter_mut().zip(&code.slots) {
        if slot.width == Width::W64 {
            *place = narrow + 2 * *place;
        }
    }
    let mut words = narrow + 2 * wide;
    let live_registers = words;
    let mut fixed = vec![];
    for (place, slot) in places.iter_mut().zip(&code.slots) {
        if slot.content == Content::Register {
            continue;
        }
        let (file, units) = match slot.width {
            Width::Pred => (&mut predicates, 1),
            Width::W32 => (&mut words, 1),
            Width::W64 => (&mut words, 2),
        };
        *place = *file;
        *file += units;
        fixed.push((*place, slot.clone()));
    }
    let row = |slot: Row| match code.slots[slot as usize].width {
        Width::Pred => places[slot as usize],
        _ => places[slot as usize] * 32,
    };
    for inst in &mut code.insts {
        for slot in inst.rows.iter_mut().chain(inst.more.iter_mut().flat_map(|m| m.iter_mut())) {
            *slot = row(*slot);
        }
        if inst.guard != ALWAYS {
            inst.guard = row(inst.guard);
        }
    }
    for (place, slot) in &mut fixed {
        if slot.width != Width::Pred {
            *place *= 32;
        }
    }
    Rows { words: words * 32, predicates, live_registers, fixed, unwritten: intervals.unwritten }
}

/// Rows of one file and the instruction after which each is free again.
#[derive(Default)]
struct File {
    free_at: Vec<u32>,
}

impl File {
    /// The first `units` neighbouring rows that are free at `start`.
    fn take(&mut self, start: u32, end: u32, units: usize) -> u32 {
        let fits = |at: usize| self.free_at[at..].iter().take(units).all(|&free| free <= start);
        let at = (0..=self.free_at.len()).find(|&at| fits(at)).expect("nothing is taken at the end");
        self.free_at.resize(self.free_at.len().max(at + units), 0);
        self.free_at[at..at + units].fill(end + 1);
        at as u32
    }
}

struct Intervals {
    /// First and last instruction of each register's life; `None` for those that no instruction touches, and for fixed rows.
    of: Vec<Option<(u32, u32)>>,
    unwritten: Vec<Row>,
}

/// Basic blocks as ranges of instructions.
fn blocks(code: &Code) -> Vec<std::ops::Range<usize>> {
    let mut starts = vec![0];
    for (index, effects) in code.effects.iter().enumerate() {
        starts.extend(effects.targets.iter().map(|&t| t as usize));
        if effects.ends || !effects.targets.is_empty() {
            starts.push(index + 1);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    starts.retain(|&start| start < code.insts.len());
    let ends = starts.iter().skip(1).copied().chain([code.insts.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// The slots that are alive at the start of each block, by backward dataflow: live-in = read before written ∪ (live-out − written).
/// `keeps`: what a guarded write leaves alone counts as read.
fn live_in(code: &Code, blocks: &[std::ops::Range<usize>], next: &[Vec<usize>], keeps: bool) -> Vec<Vec<u64>> {
    let words = code.slots.len().div_ceil(64);
    let (mut needed, mut written) = (vec![vec![0u64; words]; blocks.len()], vec![vec![0u64; words]; blocks.len()]);
    for (b, range) in blocks.iter().enumerate() {
        for effects in &code.effects[range.clone()] {
            let reads = effects.reads.len() - if keeps { 0 } else { effects.kept };
            for &slot in &effects.reads[..reads] {
                if !bit(&written[b], slot) {
                    set(&mut needed[b], slot);
                }
            }
            effects.writes.iter().for_each(|&slot| set(&mut written[b], slot));
        }
    }
    let mut live_in = needed.clone();
    let mut changed = true;
    while changed {
        changed = false;
        for b in (0..blocks.len()).rev() {
            for word in 0..words {
                let out = next[b].iter().fold(0, |out, &s| out | live_in[s][word]);
                let live = needed[b][word] | out & !written[b][word];
                changed |= live != live_in[b][word];
                live_in[b][word] = live;
            }
        }
    }
    live_in
}

/// Where each register lives.
fn intervals(code: &Code) -> Intervals {
    let words = code.slots.len().div_ceil(64);
    let blocks = blocks(code);
    let block_at = |inst: u32| blocks.partition_point(|b| b.start <= inst as usize) - 1;
    let next: Vec<Vec<usize>> = blocks
        .iter()
        .enumerate()
        .map(|(b, range)| {
            let last = &code.effects[range.end - 1];
            let targets = last.targets.iter().filter(|&&t| (t as usize) < code.insts.len()).map(|&t| block_at(t));
            targets.chain((!last.ends && b + 1 < blocks.len()).then_some(b + 1)).collect()
        })
        .collect();
    let live_in = live_in(code, &blocks, &next, true);
    let mut of: Vec<Option<(u32, u32)>> = vec![None; code.slots.len()];
    let mut cover = |slot: usize, at: u32| {
        if code.slots[slot].content == Content::Register {
            let (start, end) = of[slot].get_or_insert((at, at));
            (*start, *end) = ((*start).min(at), (*end).max(at));
        }
    };
    for (b, range) in blocks.iter().enumerate() {
        for index in range.clone() {
            let effects = &code.effects[index];
            effects.reads.iter().chain(&effects.writes).for_each(|&slot| cover(slot as usize, index as u32));
        }
        for word in 0..words {
            let out = next[b].iter().fold(0, |out, &s| out | live_in[s][word]);
            ones(live_in[b][word]).for_each(|bit| cover(word * 64 + bit, range.start as u32));
            ones(out).for_each(|bit| cover(word * 64 + bit, range.end as u32 - 1));
        }
    }
    // A compiler that guards a load and then computes with all lanes does not use what the others make of it.
    let unguarded = self::live_in(code, &blocks, &next, false);
    let live_at_entry = unguarded
        .first()
        .into_iter()
        .flatten()
        .enumerate()
        .flat_map(|(word, &bits)| ones(bits).map(move |bit| word * 64 + bit));
    let unwritten =
        live_at_entry.filter(|&slot| code.slots[slot].content == Content::Register).map(|slot| slot as Row).collect();
    Intervals { of, unwritten }
}

fn bit(set: &[u64], slot: Row) -> bool {
    set[slot as usize / 64] >> (slot % 64) & 1 == 1
}

fn set(set: &mut [u64], slot: Row) {
    set[slot as usize / 64] |= 1 << (slot % 64);
}

fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}
