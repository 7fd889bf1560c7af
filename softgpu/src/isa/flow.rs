//! Control flow: bra, brx, ret, exit, trap, brkpt; and the copies that lowering itself needs.

use crate::exec::{Class, Exec, Flow, Lower, Width, pick};
use crate::op;
use crate::ptx::{Operand, PtxError, Type};

op! {
    Branch = |w, i| w.branch(i.imm as u32);
    BranchIndexed = |w, i| {
        let indices = *w.row::<u32>(i.rows[0]);
        w.branch_each(&indices, &w.launch().program.tables[i.imm as usize])
    };
    Exit = |w, _i| w.exit();
    Trap = |w, _i| w.trap("the kernel executes trap");
    Nothing = |_w, _i| Flow::Next;
    Copy32 = |w, i| w.map1(i, |a: u32| a);
    Copy64 = |w, i| w.map1(i, |a: u64| a);
    CopyPredicate = |w, i| { let bits = w.pred(i.rows[1]); w.set_pred(i.rows[0], bits); Flow::Next };
    NotPredicate = |w, i| { let bits = !w.pred(i.rows[1]); w.set_pred(i.rows[0], bits); Flow::Next };
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    match l.instruction.opcode.as_str() {
        "bra" => match l.operand(0)? {
            Operand::Label(label) => {
                l.emit(Class::Branch, pick::<Branch>(), &[]);
                l.jumps_to(*label, true);
            }
            _ => return l.err("bra needs a label of this function"),
        },
        "brx" => {
            let index = l.read(0, Type::U32)?;
            let label = |operand: &Operand| if let Operand::Label(label) = operand { Some(*label) } else { None };
            let labels: Option<Vec<usize>> = l.instruction.operands[1..].iter().map(label).collect();
            let Some(labels) = labels.filter(|labels| l.has("idx") && !labels.is_empty()) else {
                return l.unsupported();
            };
            l.emit(Class::Branch, pick::<BranchIndexed>(), &[index]);
            l.jumps_to_one_of(labels);
        }
        "ret" | "exit" => match l.return_label().filter(|_| l.instruction.opcode == "ret") {
            Some(label) => {
                l.emit(Class::Branch, pick::<Branch>(), &[]);
                l.jumps_to(label, true);
            }
            None => {
                l.emit(Class::Branch, pick::<Exit>(), &[]);
                l.ends();
            }
        },
        "trap" | "brkpt" => {
            l.emit(Class::Other, pick::<Trap>(), &[]);
        }
        _ => {
            l.emit(Class::Other, pick::<Nothing>(), &[]);
        }
    }
    Ok(())
}

/// d = a, whole rows of lanes that execute.
pub fn copy(width: Width) -> Exec {
    match width {
        Width::Pred => pick::<CopyPredicate>(),
        Width::W32 => pick::<Copy32>(),
        Width::W64 => pick::<Copy64>(),
    }
}

/// d = !a.
pub fn not_predicate() -> Exec {
    pick::<NotPredicate>()
}
