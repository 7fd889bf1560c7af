//! PTX as parsed: names resolved to indices, nothing interpreted yet.
//!
//! Source: "Parallel Thread Execution ISA", NVIDIA, versions 6.0 to 9.0.

mod body;
mod lex;
mod parse;

pub use parse::parse;

/// A PTX text that cannot be used, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("PTX line {line}: {message}")]
pub struct PtxError {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// One translation unit.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// `.version major.minor`.
    pub version: (u32, u32),
    /// First word of `.target`, for example `sm_80`.
    pub target: String,
    /// The files of `.file`, by their numbers in `.loc` (number, path).
    pub files: Vec<(u32, String)>,
    /// Places in sources that instructions refer to by index; 0 is "unknown".
    pub sources: Vec<Source>,
    /// Variables at module scope: `.global`, `.const`, `.shared`.
    pub variables: Vec<Variable>,
    /// Entries and functions, prototypes included.
    pub functions: Vec<Function>,
}

/// A place in a source file, from `.loc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    /// Number of a file in [`Module::files`].
    pub file: u32,
    /// Line, from 1; 0 where unknown.
    pub line: u32,
}

/// State spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    /// A flat address that may point into any of the others.
    Generic,
    /// Device memory.
    Global,
    /// Read-only device memory.
    Const,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Kernel parameters, and arguments of calls.
    Param,
}

/// Fundamental types.
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    B8,
    B16,
    B32,
    B64,
    B128,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
    Pred,
}

impl Type {
    /// The type that a modifier such as `f32` (no dot) names.
    pub fn parse(word: &str) -> Option<Type> {
        use Type::*;
        Some(match word {
            "u8" => U8,
            "u16" => U16,
            "u32" => U32,
            "u64" => U64,
            "s8" => S8,
            "s16" => S16,
            "s32" => S32,
            "s64" => S64,
            "b8" => B8,
            "b16" => B16,
            "b32" => B32,
            "b64" => B64,
            "b128" => B128,
            "f16" => F16,
            "f16x2" => F16x2,
            "bf16" => Bf16,
            "bf16x2" => Bf16x2,
            "tf32" => Tf32,
            "f32" => F32,
            "f64" => F64,
            "pred" => Pred,
            _ => return None,
        })
    }

    /// Bytes in memory; 0 for a predicate, which has none.
    pub fn bytes(self) -> u32 {
        use Type::*;
        match self {
            Pred => 0,
            U8 | S8 | B8 => 1,
            U16 | S16 | B16 | F16 | Bf16 => 2,
            U32 | S32 | B32 | F16x2 | Bf16x2 | Tf32 | F32 => 4,
            U64 | S64 | B64 | F64 => 8,
            B128 => 16,
        }
    }

    /// Whether values are sign-extended when they widen.
    pub fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    /// Whether it is a scalar or packed floating-point type.
    pub fn is_float(self) -> bool {
        use Type::*;
        matches!(self, F16 | F16x2 | Bf16 | Bf16x2 | Tf32 | F32 | F64)
    }
}

/// A variable of any space but registers.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Its name; within functions made unique by the parser where scopes reuse one.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Alignment in bytes.
    pub align: u32,
    /// Size in bytes; 0 for `extern .shared x[]`.
    pub bytes: u64,
    /// Initial contents, from offset 0; what follows is zero.
    pub init: Vec<Init>,
    /// `.extern`.
    pub external: bool,
}

/// A piece of an initialiser.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Little-endian bytes.
    Bytes(Vec<u8>),
    /// The generic or space-relative address of a variable plus an offset, 8 bytes.
    Address {
        /// The variable's name.
        symbol: String,
        /// Added to its address.
        offset: i64,
        /// `generic(x)`: a generic address.
        generic: bool,
    },
}

/// A formal parameter or return value.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Offset in the parameter block, aligned as PTX prescribes.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// The register it is, for `.func` parameters in `.reg` space.
    pub register: Option<RegId>,
}

/// An entry, a function, or the prototype of one.
#[derive(Debug, Clone, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `.entry`: can be launched.
    pub entry: bool,
    /// Formal parameters in order.
    pub params: Vec<Param>,
    /// Return values (`.func` only).
    pub returns: Vec<Param>,
    /// `.maxntid`.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// Line of its header.
    pub line: u32,
    /// What it does; `None` for a prototype.
    pub body: Option<Body>,
}

/// Index into [`Body::registers`].
pub type RegId = u32;

/// The inside of a function.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Every register that is used, of all scopes.
    pub registers: Vec<Register>,
    /// Variables declared inside: `.local`, `.shared`, and `.param` for calls.
    pub variables: Vec<Variable>,
    /// Instructions in order.
    pub instructions: Vec<Instruction>,
}

/// A register.
#[derive(Debug, Clone, PartialEq)]
pub struct Register {
    /// Its name as written.
    pub name: String,
    /// Its declared type.
    pub ty: Type,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// `@p` or `@!p`.
    pub guard: Option<Guard>,
    /// The opcode's first word, for example `ld`.
    pub opcode: String,
    /// The other words in order and without dots, for example `["global", "v4", "f32"]`; `L2::128B` is one word.
    pub modifiers: Vec<String>,
    /// Operands in order; the destination is first.
    pub operands: Vec<Operand>,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// Index into [`Module::sources`].
    pub source: u32,
}

/// The predicate that an instruction waits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// A predicate register.
    pub register: RegId,
    /// `@!p`.
    pub negated: bool,
}

/// What instructions are applied to.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register.
    Reg(RegId),
    /// `!p` of a predicate source.
    Not(RegId),
    /// An integer literal, as 64 bits.
    Int(u64),
    /// `0f3F800000`.
    F32(u32),
    /// `0d3FF0000000000000`, or a decimal literal such as `1.0`.
    F64(u64),
    /// A special register, by name without `%`, for example `tid.x`.
    Special(String),
    /// The address of a variable or function, plus an offset.
    Symbol(String, i64),
    /// A jump target: an index into [`Body::instructions`] (their number for one at the end).
    Label(usize),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `d|p`.
    Pair(Box<(Operand, Operand)>),
    /// `[base + offset]`.
    Address(Base, i64),
    /// `_`.
    Sink,
}

/// What an address starts from.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    /// A register.
    Reg(RegId),
    /// A variable.
    Symbol(String),
    /// Nothing: an absolute address.
    Zero,
}
