//! From parsed instructions to [`Inst`]s: operands become slots, which [`super::liveness`] turns into rows.

use std::collections::HashMap;

use super::inst::{ALWAYS, Class, Exec, Inst, Row};
use crate::isa;
use crate::ptx::{Base, Body, Function, Instruction, Operand, PtxError, Space, Type};

type Result<T> = std::result::Result<T, PtxError>;

/// How wide a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// One bit per lane.
    Pred,
    /// A 32-bit word per lane; narrower values lie in it zero-extended.
    W32,
    /// A 64-bit word per lane.
    W64,
}

impl Width {
    /// Of registers and instructions of this type.
    pub fn of(ty: Type) -> Width {
        match ty.bytes() {
            0 => Width::Pred,
            8 => Width::W64,
            _ => Width::W32,
        }
    }

    /// Bits of a lane.
    pub fn bits(self) -> u32 {
        match self {
            Width::Pred => 1,
            Width::W32 => 32,
            Width::W64 => 64,
        }
    }
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A register (or a temporary): gets a row by liveness.
    Register,
    /// The same bits in every lane.
    Constant(u64),
    /// A special register that never changes while a block runs, for example `tid.x`.
    Special(String),
}

/// One operand's place before rows are given out.
#[derive(Debug, Clone)]
pub struct Slot {
    /// How wide.
    pub width: Width,
    /// What it holds.
    pub content: Content,
}

/// Where an instruction came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// Line of the PTX text.
    pub line: u32,
    /// Index into the module's sources.
    pub source: u32,
}

/// What liveness must know of an instruction.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Slots read.
    pub reads: Vec<Row>,
    /// How many of them, at the end, are only read because lanes whose guard is false keep what they had, and are not missed by
    /// compilers: those of loads.
    pub kept: usize,
    /// Slots written.
    pub writes: Vec<Row>,
    /// Instructions that may follow, beside the next one.
    pub targets: Vec<u32>,
    /// Whether the next one may not follow.
    pub ends: bool,
}

/// Addresses of variables, which the module lays out before functions are lowered.
pub trait Symbols {
    /// The space and address of a variable at module scope: absolute for global and const, an offset for shared.
    fn address(&self, name: &str) -> Option<(Space, u64)>;
    /// A function of the module.
    fn function(&self, name: &str) -> Option<&Function>;
}

/// A function being lowered.
pub struct Lower<'a> {
    /// The instruction at hand.
    pub instruction: &'a Instruction,
    /// Bytes of local memory per thread so far.
    pub local_bytes: u64,
    /// Bytes of statically declared shared memory so far.
    pub shared_bytes: u64,
    code: Code,
    symbols: &'a dyn Symbols,
    frame: Frame<'a>,
    constants: HashMap<(Width, Content), Row>,
    reads: Vec<Row>,
    writes: Vec<Row>,
    calls: Vec<&'a str>,
}

/// What lowering makes of an entry.
#[derive(Default)]
pub struct Code {
    /// The instructions; their rows are slots until liveness gives out rows.
    pub insts: Vec<Inst>,
    /// Beside `insts`.
    pub effects: Vec<Effects>,
    /// Beside `insts`.
    pub origins: Vec<Origin>,
    /// Targets of jumps through tables, by the instructions' `imm`.
    pub tables: Vec<Box<[u32]>>,
    /// All slots; slot 0 is a 32-bit zero.
    pub slots: Vec<Slot>,
    /// Narrowest access to global memory, in bytes (generic ones count).
    pub global_granule: u32,
    /// Narrowest access to shared memory, in bytes (generic ones count).
    pub shared_granule: u32,
    /// Whether results may depend on the order of blocks, for example through a floating-point atomic.
    pub order_sensitive: bool,
}

/// A function's names while its body is lowered; each inlined call has its own.
struct Frame<'a> {
    body: &'a Body,
    /// The slot of each register, once used.
    registers: Vec<Option<Row>>,
    /// Variables of the function and its parameters: space and address.
    variables: HashMap<&'a str, (Space, u64)>,
    /// Whether it is the entry.
    entry: bool,
    carry: Option<Row>,
    /// Instructions that jump to a label: (index of the Inst, index in the body).
    jumps: Vec<(usize, usize)>,
    /// Instructions that jump to one of several: indices as above.
    choices: Vec<(usize, Vec<usize>)>,
}

/// A memory operand: lane addresses are the base row plus an offset.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// A row of addresses.
    pub base: Row,
    /// Whether the row has 64-bit words; else 32-bit ones, which are zero-extended.
    pub wide: bool,
    /// Added to each, in bytes.
    pub offset: i64,
}

/// Call parameters lie in local memory; in parameter space their addresses start here. Those of the entry start at 0.
pub const CALL_PARAMS: u64 = 1 << 32;

/// The deepest chain of calls that is inlined.
const MAX_CALLS: usize = 64;

/// The most instructions that inlining may make.
const MAX_INSTRUCTIONS: usize = 4 << 20;

/// Lowers the entry `function`, calls inlined.
///
/// # Errors
/// An instruction that is not supported, or operands that do not fit it: with its line.
pub fn lower(function: &Function, symbols: &dyn Symbols, shared_bytes: u64) -> Result<(Code, u64, u64)> {
    let no_body = || PtxError { line: function.line, message: format!("entry {} has no body", function.name) };
    let body = function.body.as_ref().ok_or_else(no_body)?;
    let end = Instruction {
        guard: None,
        opcode: "exit".into(),
        modifiers: vec![],
        operands: vec![],
        line: body.instructions.last().map_or(function.line, |i| i.line),
        source: 0,
    };
    let mut lower = Lower {
        instruction: &end,
        local_bytes: 0,
        shared_bytes,
        code: Code { global_granule: 4, shared_granule: 4, ..Code::default() },
        symbols,
        frame: Frame::new(body, true),
        constants: HashMap::new(),
        reads: vec![],
        writes: vec![],
        calls: vec![&function.name],
    };
    lower.constant(Width::W32, 0);
    for param in &function.params {
        lower.frame.variables.insert(&param.name, (Space::Param, param.offset.into()));
    }
    lower.body()?;
    lower.instruction = &end;
    isa::lower(&mut lower)?;
    lower.flush();
    Ok((lower.code, lower.local_bytes, lower.shared_bytes))
}

impl<'a> Frame<'a> {
    fn new(body: &'a Body, entry: bool) -> Frame<'a> {
        let registers = vec![None; body.registers.len()];
        Frame { body, registers, variables: HashMap::new(), entry, carry: None, jumps: vec![], choices: vec![] }
    }
}

/// The next multiple of `align`, a power of two or 0.
pub fn align_up(offset: u64, align: u32) -> u64 {
    offset.next_multiple_of(u64::from(align.max(1)))
}

impl<'a> Lower<'a> {
    fn body(&mut self) -> Result<()> {
        let body = self.frame.body;
        for variable in &body.variables {
            let (space, address) = match variable.space {
                Space::Shared => {
                    let at = align_up(self.shared_bytes, variable.align);
                    self.shared_bytes = at + variable.bytes;
                    (Space::Shared, at)
                }
                space => {
                    let at = align_up(self.local_bytes, variable.align);
                    self.local_bytes = at + variable.bytes;
                    match space {
                        Space::Param => (Space::Param, CALL_PARAMS + at),
                        _ => (Space::Local, at),
                    }
                }
            };
            self.frame.variables.insert(&variable.name, (space, address));
        }
        let mut starts = Vec::with_capacity(body.instructions.len() + 1);
        for instruction in &body.instructions {
            starts.push(self.code.insts.len() as u32);
            self.instruction = instruction;
            if self.code.insts.len() > MAX_INSTRUCTIONS {
                return self.err("inlined calls make this kernel too long");
            }
            if instruction.opcode == "call" {
                self.call()?
            } else {
                isa::lower(self)?
            }
            self.flush();
        }
        starts.push(self.code.insts.len() as u32);
        for (inst, label) in std::mem::take(&mut self.frame.jumps) {
            let target = starts[label];
            self.code.insts[inst].imm = target.into();
            self.code.effects[inst].targets.push(target);
        }
        for (inst, labels) in std::mem::take(&mut self.frame.choices) {
            let targets: Vec<u32> = labels.into_iter().map(|label| starts[label]).collect();
            self.code.insts[inst].imm = self.code.tables.len() as i64;
            self.code.effects[inst].targets.extend_from_slice(&targets);
            self.code.tables.push(targets.into());
        }
        Ok(())
    }

    /// Inlines a call: formal parameters become other names of the arguments.
    fn call(&mut self) -> Result<()> {
        let instruction = self.instruction;
        let (returns, name, arguments): (&[Operand], _, &[Operand]) = match &instruction.operands[..] {
            [Operand::List(r), Operand::Symbol(f, 0), Operand::List(a)] => (r, f, a),
            [Operand::List(r), Operand::Symbol(f, 0)] => (r, f, &[]),
            [Operand::Symbol(f, 0), Operand::List(a)] => (&[], f, a),
            [Operand::Symbol(f, 0)] => (&[], f, &[]),
            _ => return self.err("calls through a pointer are not supported"),
        };
        let address = |this: &Self, operand: &Operand| match operand {
            Operand::Symbol(variable, 0) => this.frame.variables.get(variable.as_str()).copied(),
            _ => None,
        };
        if let Some(lower_system) = isa::system::function(name) {
            let places: Option<Vec<u64>> =
                arguments.iter().chain(returns).map(|o| Some(address(self, o)?.1 - CALL_PARAMS)).collect();
            let Some(places) = places else { return self.err(format!("arguments of {name} are not .param variables")) };
            return lower_system(self, &places);
        }
        let symbols = self.symbols;
        let Some((function, body)) = symbols.function(name).and_then(|f| Some((f, f.body.as_ref()?))) else {
            return self.err(format!("the function {name} is not defined in this module"));
        };
        if self.calls.contains(&function.name.as_str()) {
            return self.err(format!("recursive calls are not supported ({name})"));
        }
        if self.calls.len() >= MAX_CALLS {
            return self.err(format!("calls are nested more than {MAX_CALLS} deep"));
        }
        if function.params.len() != arguments.len() || function.returns.len() != returns.len() {
            return self.err(format!(
                "{name} takes {} arguments and returns {}",
                function.params.len(),
                function.returns.len()
            ));
        }
        let mut frame = Frame::new(body, false);
        let mut results = vec![];
        for (formal, actual) in function.params.iter().zip(arguments).chain(function.returns.iter().zip(returns)) {
            let is_return = function.returns.iter().any(|r| std::ptr::eq(r, formal));
            match formal.register {
                Some(register) => {
                    let ty = body.registers[register as usize].ty;
                    let width = Width::of(ty);
                    let slot = self.temporary(width);
                    frame.registers[register as usize] = Some(slot);
                    if is_return {
                        results.push((slot, ty, actual));
                    } else {
                        let from = self.read_operand(actual, ty)?;
                        self.copy(slot, from, width);
                    }
                }
                None => match address(self, actual) {
                    Some(place) => {
                        frame.variables.insert(&formal.name, place);
                    }
                    None => return self.err(format!("argument {} of {name} is not a .param variable", formal.name)),
                },
            }
        }
        self.flush();
        let caller = std::mem::replace(&mut self.frame, frame);
        self.calls.push(&function.name);
        self.body()?;
        self.calls.pop();
        self.frame = caller;
        self.instruction = instruction;
        for (slot, ty, actual) in results {
            let to = self.write_operand(actual, ty)?;
            self.copy(to, slot, Width::of(ty));
        }
        Ok(())
    }

    fn copy(&mut self, to: Row, from: Row, width: Width) {
        self.reads.push(from);
        self.writes.push(to);
        self.emit(Class::Move, isa::flow::copy(width), &[to, from]);
    }

    /// An error at the instruction at hand.
    pub fn err<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(PtxError { line: self.instruction.line, message: message.into() })
    }

    /// The error of an instruction that nothing executes.
    pub fn unsupported<T>(&self) -> Result<T> {
        self.err(format!("unsupported instruction {}", self.text()))
    }

    /// The opcode as written.
    pub fn text(&self) -> String {
        let mut text = self.instruction.opcode.clone();
        for modifier in &self.instruction.modifiers {
            text.push('.');
            text.push_str(modifier);
        }
        text
    }

    /// Whether the opcode has this modifier.
    pub fn has(&self, modifier: &str) -> bool {
        self.instruction.modifiers.iter().any(|m| m == modifier)
    }

    /// The types among the modifiers, in order.
    pub fn types(&self) -> Vec<Type> {
        self.instruction.modifiers.iter().filter_map(|m| Type::parse(m)).collect()
    }

    /// The last type among the modifiers.
    ///
    /// # Errors
    /// When there is none.
    pub fn ty(&self) -> Result<Type> {
        match self.types().last() {
            Some(&ty) => Ok(ty),
            None => self.unsupported(),
        }
    }

    /// Operand `n`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn operand(&self, n: usize) -> Result<&'a Operand> {
        match self.instruction.operands.get(n) {
            Some(operand) => Ok(operand),
            None => self.err(format!("{} lacks operand {n}", self.text())),
        }
    }

    /// How many operands there are.
    pub fn operands(&self) -> usize {
        self.instruction.operands.len()
    }

    /// The declared type of operand `n`, if it is a register.
    pub fn register_type(&self, n: usize) -> Option<Type> {
        match self.instruction.operands.get(n)? {
            Operand::Reg(register) => Some(self.frame.body.registers.get(*register as usize)?.ty),
            _ => None,
        }
    }

    /// The declared type of a register operand.
    pub fn type_of(&self, operand: &Operand) -> Option<Type> {
        match operand {
            Operand::Reg(register) => Some(self.frame.body.registers.get(*register as usize)?.ty),
            _ => None,
        }
    }

    /// The width of operand `n`'s register; of `ty` where it is none.
    pub fn operand_width(&self, n: usize, ty: Type) -> Width {
        Width::of(self.register_type(n).unwrap_or(ty))
    }

    /// Source operand `n` as `ty`.
    ///
    /// # Errors
    /// An operand that is missing or does not fit.
    pub fn read(&mut self, n: usize, ty: Type) -> Result<Row> {
        let operand = self.operand(n)?;
        self.read_operand(operand, ty)
    }

    /// A source operand as `ty`. A 64-bit register may be read as a narrower type only by opcodes that ask for its own width.
    ///
    /// # Errors
    /// An operand that does not fit.
    pub fn read_operand(&mut self, operand: &'a Operand, ty: Type) -> Result<Row> {
        let width = Width::of(ty);
        let row = match operand {
            Operand::Reg(register) => {
                let row = self.register(*register)?;
                if self.code.slots[row as usize].width != width {
                    return self.err(format!("a register of {} does not have the width of {ty:?}", self.text()));
                }
                row
            }
            Operand::Not(register) => {
                let source = self.register(*register)?;
                if width != Width::Pred || self.code.slots[source as usize].width != Width::Pred {
                    return self.err("'!' needs a predicate");
                }
                let row = self.temporary(Width::Pred);
                self.before(isa::flow::not_predicate(), &[row, source]);
                row
            }
            Operand::Int(value) => self.constant(width, if ty.is_float() { int_as_float(*value, ty) } else { *value }),
            Operand::F32(bits) if ty.bytes() == 8 => self.constant(width, f64::from(f32::from_bits(*bits)).to_bits()),
            Operand::F32(bits) => self.constant(width, (*bits).into()),
            Operand::F64(bits) if ty.bytes() == 8 => self.constant(width, *bits),
            Operand::F64(bits) => self.constant(width, (f64::from_bits(*bits) as f32).to_bits().into()),
            Operand::Special(name) => self.special(name, width)?,
            Operand::Symbol(name, offset) => {
                let Some((_, address)) = self.symbol(name) else {
                    return self.err(format!("'{name}' is not a variable of this module"));
                };
                self.constant(width, address.wrapping_add_signed(*offset))
            }
            _ => return self.err(format!("{} cannot take this kind of operand", self.text())),
        };
        self.reads.push(row);
        Ok(row)
    }

    /// The space and address of a variable: an offset for shared, local and parameters, absolute for others.
    pub fn symbol(&self, name: &str) -> Option<(Space, u64)> {
        self.frame.variables.get(name).copied().or_else(|| self.symbols.address(name))
    }

    /// Destination operand `n` as `ty`; `_` gets a scratch.
    ///
    /// # Errors
    /// An operand that is missing or does not fit.
    pub fn write(&mut self, n: usize, ty: Type) -> Result<Row> {
        let operand = self.operand(n)?;
        self.write_operand(operand, ty)
    }

    /// A destination operand as `ty`.
    ///
    /// # Errors
    /// An operand that does not fit.
    pub fn write_operand(&mut self, operand: &'a Operand, ty: Type) -> Result<Row> {
        let row = match operand {
            Operand::Reg(register) => self.register(*register)?,
            Operand::Sink => self.temporary(Width::of(ty)),
            _ => return self.err(format!("{} cannot write to this kind of operand", self.text())),
        };
        if self.code.slots[row as usize].width != Width::of(ty) {
            return self.err(format!("a register of {} does not have the width of {ty:?}", self.text()));
        }
        self.writes.push(row);
        Ok(row)
    }

    /// The memory operand `n`.
    ///
    /// # Errors
    /// When it is none, or names what this module does not have.
    pub fn address(&mut self, n: usize) -> Result<Address> {
        match self.operand(n)? {
            Operand::Address(Base::Reg(register), offset) => {
                let base = self.register(*register)?;
                let wide = match self.code.slots[base as usize].width {
                    Width::W64 => true,
                    Width::W32 => false,
                    Width::Pred => return self.err("a predicate is no address"),
                };
                self.reads.push(base);
                Ok(Address { base, wide, offset: *offset })
            }
            Operand::Address(Base::Symbol(name), offset) => match self.symbol(name) {
                Some((_, address)) => {
                    Ok(Address { base: self.constant(Width::W64, address), wide: true, offset: *offset })
                }
                None => self.err(format!("'{name}' is not a variable of this module")),
            },
            Operand::Address(Base::Zero, offset) => {
                Ok(Address { base: self.constant(Width::W64, 0), wide: true, offset: *offset })
            }
            _ => self.err(format!("{} needs an address", self.text())),
        }
    }

    fn register(&mut self, register: u32) -> Result<Row> {
        let Some(declared) = self.frame.body.registers.get(register as usize) else {
            return self.err("an unknown register");
        };
        if declared.ty == Type::B128 {
            return self.err("128-bit registers are not supported");
        }
        if let Some(row) = self.frame.registers[register as usize] {
            return Ok(row);
        }
        let row = self.temporary(Width::of(declared.ty));
        self.frame.registers[register as usize] = Some(row);
        Ok(row)
    }

    /// A row with the same bits in every lane.
    pub fn constant(&mut self, width: Width, bits: u64) -> Row {
        let bits = if width == Width::W32 { bits & 0xffff_ffff } else { bits };
        self.fixed(width, Content::Constant(bits))
    }

    fn fixed(&mut self, width: Width, content: Content) -> Row {
        let slots = &mut self.code.slots;
        *self.constants.entry((width, content.clone())).or_insert_with(|| {
            slots.push(Slot { width, content });
            slots.len() as Row - 1
        })
    }

    /// A special register as a row: pre-filled, or read at this point if it changes.
    fn special(&mut self, name: &str, width: Width) -> Result<Row> {
        if let Some(exec) = isa::system::clock(name, width) {
            let row = self.temporary(width);
            self.before(exec, &[row]);
            return Ok(row);
        }
        if !super::program::is_special(name) {
            return self.err(format!("unsupported special register %{name}"));
        }
        Ok(self.fixed(width, Content::Special(name.to_string())))
    }

    /// A new register.
    pub fn temporary(&mut self, width: Width) -> Row {
        self.code.slots.push(Slot { width, content: Content::Register });
        self.code.slots.len() as Row - 1
    }

    /// The carry flags of `.cc`, a predicate.
    pub fn carry(&mut self) -> Row {
        let row = match self.frame.carry {
            Some(row) => row,
            None => self.temporary(Width::Pred),
        };
        self.frame.carry = Some(row);
        row
    }

    /// Says that the instruction reads a row that it got otherwise than by an operand.
    pub fn reads_from(&mut self, row: Row) {
        self.reads.push(row);
    }

    /// Says that the instruction writes a row that it got otherwise than by an operand.
    pub fn writes_to(&mut self, row: Row) {
        self.writes.push(row);
    }

    /// An instruction that prepares an operand of the one at hand: row 0 is written, the others are read.
    fn before(&mut self, exec: Exec, rows: &[Row]) {
        let effects = Effects { reads: rows[1..].to_vec(), writes: vec![rows[0]], ..Effects::default() };
        let mut inst = self.new_inst(Class::Move, exec, rows);
        (inst.guard, inst.guard_negated) = (ALWAYS, false);
        self.push(inst, effects);
    }

    fn new_inst(&self, class: Class, exec: Exec, rows: &[Row]) -> Inst {
        let mut all = [0; 5];
        all[..rows.len()].copy_from_slice(rows);
        Inst {
            exec,
            rows: all,
            guard: ALWAYS,
            imm: 0,
            aux: 0,
            tag: 0,
            more: None,
            guard_negated: false,
            class,
            flops: 0,
        }
    }

    fn push(&mut self, inst: Inst, effects: Effects) {
        self.code.insts.push(inst);
        self.code.effects.push(effects);
        self.code.origins.push(Origin { line: self.instruction.line, source: self.instruction.source });
    }

    /// Emits the instruction at hand, with its guard, and with what was read and written since the last one. At most five rows.
    pub fn emit(&mut self, class: Class, exec: Exec, rows: &[Row]) -> &mut Inst {
        let mut inst = self.new_inst(class, exec, rows);
        let mut effects = Effects {
            reads: std::mem::take(&mut self.reads),
            writes: std::mem::take(&mut self.writes),
            ..Effects::default()
        };
        if let Some(guard) = self.instruction.guard {
            // The parser makes sure that guards are predicates that exist.
            if let Ok(row) = self.register(guard.register) {
                (inst.guard, inst.guard_negated) = (row, guard.negated);
                effects.reads.push(row);
                // The lanes that do not execute keep what they had.
                effects.reads.extend_from_slice(&effects.writes.clone());
                effects.kept = if self.instruction.opcode == "ld" { effects.writes.len() } else { 0 };
            }
        }
        self.push(inst, effects);
        self.code.insts.last_mut().expect("one was pushed")
    }

    /// Says that the instruction just emitted jumps to operand `label` of the body; `ends`: it never goes on with the next one.
    pub fn jumps_to(&mut self, label: usize, ends: bool) {
        let index = self.code.insts.len() - 1;
        self.frame.jumps.push((index, label));
        self.code.effects[index].ends = ends && self.instruction.guard.is_none();
    }

    /// Says that the instruction just emitted jumps to one of these labels of the body, of which `imm` will find the targets.
    pub fn jumps_to_one_of(&mut self, labels: Vec<usize>) {
        let index = self.code.insts.len() - 1;
        self.frame.choices.push((index, labels));
        self.code.effects[index].ends = self.instruction.guard.is_none();
    }

    /// The label at the end of the function, where `ret` goes; `None` in the entry.
    pub fn return_label(&self) -> Option<usize> {
        (!self.frame.entry).then_some(self.frame.body.instructions.len())
    }

    /// Says that nothing follows the instruction just emitted unless it is guarded.
    pub fn ends(&mut self) {
        let index = self.code.insts.len() - 1;
        self.code.effects[index].ends = self.instruction.guard.is_none();
    }

    /// Says that the instruction accesses `bytes` of memory in `space`, which sets how finely races are told apart.
    pub fn accesses(&mut self, space: Space, bytes: u32) {
        let bytes = bytes.min(4);
        if matches!(space, Space::Global | Space::Generic) {
            self.code.global_granule = self.code.global_granule.min(bytes);
        }
        if matches!(space, Space::Shared | Space::Generic) {
            self.code.shared_granule = self.code.shared_granule.min(bytes);
        }
    }

    /// Says that results may depend on the order in which blocks run.
    pub fn order_sensitive(&mut self) {
        self.code.order_sensitive = true;
    }

    /// Forgets operands of an instruction that emitted nothing (a hint).
    fn flush(&mut self) {
        self.reads.clear();
        self.writes.clear();
    }
}

fn int_as_float(value: u64, ty: Type) -> u64 {
    match ty {
        Type::F64 => (value as i64 as f64).to_bits(),
        Type::F32 => (value as i64 as f32).to_bits().into(),
        _ => value,
    }
}
