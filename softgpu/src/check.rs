//! What the checks find.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An access outside of every allocation, of the block's shared memory, or of the thread's local memory.
    OutOfBounds,
    /// An address that is not a multiple of what the access needs.
    Misaligned,
    /// An access to device memory that was freed.
    UseAfterFree,
    /// A write to constant memory or to the kernel's parameters.
    ReadOnly,
    /// A read of what nothing wrote.
    Uninitialized,
    /// Two threads of a block access the same shared memory without a barrier between, and one of them writes.
    SharedRace,
    /// Two threads access the same device memory with nothing to order them, and one of them writes.
    GlobalRace,
    /// Memory that `cp.async` still fills, or reads, is accessed before it was waited for.
    AsyncNotAwaited,
    /// Part of a warp comes to a barrier that the whole warp must come to.
    BarrierDivergence,
    /// A barrier that does not exist, or a count of threads that it cannot wait for.
    InvalidBarrier,
    /// A shuffle that reads a lane which does not take part.
    InvalidShuffle,
    /// No thread of the block can go on.
    Deadlock,
    /// Device memory that was not freed before its context ended.
    Leak,
    /// `assert` failed on the device.
    Assert,
    /// The kernel executed `trap`, or an instruction that makes no sense.
    Trap,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::OutOfBounds => "out of bounds",
            Kind::Misaligned => "misaligned",
            Kind::UseAfterFree => "use after free",
            Kind::ReadOnly => "write to read-only memory",
            Kind::Uninitialized => "uninitialised read",
            Kind::SharedRace => "race in shared memory",
            Kind::GlobalRace => "race in global memory",
            Kind::AsyncNotAwaited => "asynchronous copy not awaited",
            Kind::BarrierDivergence => "divergent barrier",
            Kind::InvalidBarrier => "invalid barrier",
            Kind::InvalidShuffle => "invalid shuffle",
            Kind::Deadlock => "deadlock",
            Kind::Leak => "leak",
            Kind::Assert => "assertion",
            Kind::Trap => "trap",
        })
    }
}

/// A line of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// The file, as the compiler wrote it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The kernel's name; empty for leaks.
    pub kernel: String,
    /// The block's position in the grid.
    pub block: [u32; 3],
    /// The thread's position in its block.
    pub thread: [u32; 3],
    /// The line of the PTX text, from 1.
    pub ptx_line: u32,
    /// The line of the source, where the PTX has line information.
    pub source: Option<SourceLine>,
    /// What it is about, in words.
    pub message: String,
    /// How often this was found at this place.
    pub count: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.kernel.is_empty() {
            let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
            write!(f, " in {}, block ({bx},{by},{bz}), thread ({tx},{ty},{tz})", self.kernel)?;
            match &self.source {
                Some(SourceLine { file, line }) => write!(f, ", at {file}:{line} (PTX line {})", self.ptx_line)?,
                None => write!(f, ", at PTX line {}", self.ptx_line)?,
            }
        }
        write!(f, ": {}", self.message)?;
        if self.count > 1 { write!(f, " ({} times)", self.count) } else { Ok(()) }
    }
}

/// The findings of a launch: each kind once per place, with its number of occurrences.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
    index: HashMap<(Kind, u32), usize>,
}

impl Findings {
    /// Keeps a finding, or counts it where its place is known.
    pub fn add(&mut self, finding: Finding) {
        match self.index.get(&(finding.kind, finding.ptx_line)) {
            Some(&at) => self.all[at].count += 1,
            None => {
                self.index.insert((finding.kind, finding.ptx_line), self.all.len());
                self.all.push(finding);
            }
        }
    }

    /// All of them, in the order in which they were found first.
    pub fn into_vec(self) -> Vec<Finding> {
        self.all
    }
}
