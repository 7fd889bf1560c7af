//! What each opcode does, by families. A family's `lower` chooses the function for one parsed instruction.

pub mod async_copy;
pub mod atomic;
pub mod barrier;
pub mod bits;
pub mod compare;
pub mod convert;
pub mod float;
pub mod flow;
pub mod half;
pub mod integer;
pub mod load_store;
pub mod math;
pub mod matrix;
pub mod matrix_load;
pub mod moves;
pub mod shuffle;
pub mod system;

use crate::exec::Lower;
use crate::ptx::{PtxError, Type};

/// Lowers the instruction at hand.
///
/// # Errors
/// When it is not supported, or its operands do not fit.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.types().last().copied();
    let is_half = matches!(ty, Some(Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2));
    let is_float = matches!(ty, Some(Type::F32 | Type::F64));
    match l.instruction.opcode.as_str() {
        "bra" | "brx" | "ret" | "exit" | "trap" | "brkpt" | "pmevent" => flow::lower(l),
        "bar" | "barrier" | "fence" | "membar" | "nanosleep" => barrier::lower(l),
        "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "applypriority" | "discard" => load_store::lower(l),
        "atom" | "red" => atomic::lower(l),
        "cp" => async_copy::lower(l),
        "mma" | "wmma" => matrix::lower(l),
        "ldmatrix" | "stmatrix" | "movmatrix" => matrix_load::lower(l),
        "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => shuffle::lower(l),
        "mov" | "selp" | "cvta" | "isspacep" | "prmt" | "createpolicy" => moves::lower(l),
        "cvt" => convert::lower(l),
        "setp" | "set" | "slct" | "testp" => compare::lower(l),
        "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shl" | "shr" | "shf" | "bfe" | "bfi" | "brev" | "popc"
        | "clz" | "bfind" | "fns" | "bmsk" | "szext" => bits::lower(l),
        "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" if is_float => math::lower(l),
        "ex2" | "tanh" if is_float => math::lower(l),
        "add" | "sub" | "mul" | "fma" | "mad" | "div" | "abs" | "neg" | "min" | "max" | "copysign" if is_float => {
            float::lower(l)
        }
        "add" | "sub" | "mul" | "fma" | "abs" | "neg" | "min" | "max" | "ex2" | "tanh" if is_half => half::lower(l),
        "add" | "sub" | "mul" | "mad" | "mul24" | "mad24" | "sad" | "div" | "rem" | "abs" | "neg" | "min" | "max"
        | "addc" | "subc" | "madc" | "dp4a" | "dp2a" => integer::lower(l),
        _ => l.unsupported(),
    }
}
