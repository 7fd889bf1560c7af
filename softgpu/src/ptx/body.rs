//! The inside of a function: scopes, labels, instructions.

use std::collections::HashMap;

use super::lex::Kind;
use super::parse::{Parser, Result, space_of};
use super::{Base, Body, Guard, Instruction, Operand, RegId, Register, Space, Type};

/// How deep scopes may nest.
const MAX_SCOPES: usize = 256;

/// How deep operands may nest: `{a, b}` within a list.
const MAX_OPERANDS: u32 = 4;

/// Names of one pair of braces.
#[derive(Default)]
struct Scope {
    registers: HashMap<String, RegId>,
    /// `%r<12>`: prefix and count; registers come into being when used.
    ranges: Vec<(String, u64, Type)>,
    /// Variables under their unique names.
    variables: HashMap<String, String>,
    labels: HashMap<String, usize>,
    /// Lists of labels that `.branchtargets` names.
    tables: HashMap<String, Vec<String>>,
    /// Jumps to labels that have not been seen: (instruction, operand, name, line).
    jumps: Vec<(usize, usize, String, u32)>,
}

/// Parses one body.
#[derive(Default)]
pub(super) struct BodyParser {
    body: Body,
    scopes: Vec<Scope>,
    /// Registers among the formal parameters.
    formal: Vec<(String, RegId)>,
}

impl BodyParser {
    /// A register among the formal parameters.
    pub fn declare(&mut self, name: &str, ty: Type) -> RegId {
        let id = self.body.registers.len() as RegId;
        self.body.registers.push(Register { name: name.to_string(), ty });
        self.formal.push((name.to_string(), id));
        id
    }

    /// What follows the opening brace, to its closing one.
    pub fn parse(mut self, p: &mut Parser) -> Result<Body> {
        self.scopes.push(Scope { registers: self.formal.drain(..).collect(), ..Scope::default() });
        while !self.scopes.is_empty() {
            self.statement(p)?;
        }
        Ok(self.body)
    }

    fn statement(&mut self, p: &mut Parser) -> Result<()> {
        if p.accept(';') {
            return Ok(());
        }
        if p.accept('{') {
            if self.scopes.len() >= MAX_SCOPES {
                return p.err("scopes are nested too deeply");
            }
            self.scopes.push(Scope::default());
            return Ok(());
        }
        if p.accept('}') {
            return self.close(p);
        }
        if let (Some(Kind::Word(_)), Some(Kind::Sign(':'))) = (p.peek(), p.peek_at(1)) {
            let name = p.word()?;
            p.expect(':')?;
            let here = self.body.instructions.len();
            let scope = self.scopes.last_mut().expect("within a body");
            if scope.labels.insert(name.clone(), here).is_some() {
                return p.err(format!("label '{name}' is there twice"));
            }
            return match p.peek() {
                Some(Kind::Word(w)) if w == ".branchtargets" => self.branch_targets(p, name),
                Some(Kind::Word(w)) if w == ".callprototype" || w == ".calltargets" => {
                    p.err("calls through pointers are not supported")
                }
                _ => Ok(()),
            };
        }
        let line = p.line();
        let guard = self.guard(p)?;
        let word = p.word()?;
        match word.as_str() {
            ".reg" => self.registers(p),
            ".loc" => p.loc(),
            ".section" => p.section(),
            ".pragma" => {
                while p.next()? != Kind::Sign(';') {}
                Ok(())
            }
            ".local" | ".shared" | ".param" | ".global" | ".const" => {
                let space = space_of(&word).unwrap_or(Space::Local);
                for mut variable in p.variables(space, false)? {
                    let unique = match self.scopes.len() {
                        1 => variable.name.clone(),
                        _ => format!("{}#{}", variable.name, self.body.variables.len()),
                    };
                    let scope = self.scopes.last_mut().expect("within a body");
                    scope.variables.insert(std::mem::replace(&mut variable.name, unique.clone()), unique);
                    match space {
                        Space::Global | Space::Const => p.module.variables.push(variable),
                        _ => self.body.variables.push(variable),
                    }
                }
                Ok(())
            }
            _ if word.starts_with('.') => p.err(format!("directive '{word}' is not supported here")),
            _ => self.instruction(p, &word, guard, line),
        }
    }

    /// Ends a scope: its labels are known now; jumps that they do not satisfy go to the enclosing one.
    fn close(&mut self, p: &mut Parser) -> Result<()> {
        let scope = self.scopes.pop().expect("within a body");
        for (instruction, operand, name, line) in scope.jumps {
            match (scope.labels.get(&name), self.scopes.last_mut()) {
                (Some(&label), _) => self.body.instructions[instruction].operands[operand] = Operand::Label(label),
                (None, Some(outer)) => outer.jumps.push((instruction, operand, name, line)),
                (None, None) => return Err(super::PtxError { line, message: format!("there is no label '{name}'") }),
            }
        }
        if self.scopes.is_empty() {
            let end = self.body.instructions.len();
            debug_assert!(
                self.body
                    .instructions
                    .iter()
                    .all(|i| i.operands.iter().all(|o| !matches!(o, Operand::Label(l) if *l > end)))
            );
        }
        let _ = p;
        Ok(())
    }

    fn branch_targets(&mut self, p: &mut Parser, name: String) -> Result<()> {
        p.word()?;
        let mut labels = vec![p.word()?];
        while p.accept(',') {
            labels.push(p.word()?);
        }
        self.scopes.last_mut().expect("within a body").tables.insert(name, labels);
        p.expect(';')
    }

    fn guard(&mut self, p: &mut Parser) -> Result<Option<Guard>> {
        if !p.accept('@') {
            return Ok(None);
        }
        let negated = p.accept('!');
        let name = p.word()?;
        match self.register(&name) {
            Some(register) if self.body.registers[register as usize].ty == Type::Pred => {
                Ok(Some(Guard { register, negated }))
            }
            _ => p.err(format!("'{name}' is not a predicate")),
        }
    }

    fn registers(&mut self, p: &mut Parser) -> Result<()> {
        let mut word = p.word()?;
        if matches!(word.as_str(), ".v2" | ".v4") {
            return p.err("vector registers are not supported");
        }
        if word == ".align" {
            p.int()?;
            word = p.word()?;
        }
        let Some(ty) = Type::parse(word.trim_start_matches('.')) else {
            return p.err(format!("'{word}' is not a type"));
        };
        loop {
            let name = p.word()?;
            if p.accept('<') {
                let count = p.int()?;
                p.expect('>')?;
                self.scopes.last_mut().expect("within a body").ranges.push((name, count, ty));
            } else {
                let id = self.body.registers.len() as RegId;
                self.body.registers.push(Register { name: name.clone(), ty });
                self.scopes.last_mut().expect("within a body").registers.insert(name, id);
            }
            if !p.accept(',') {
                return p.expect(';');
            }
        }
    }

    /// The register of this name in the innermost scope that has one.
    fn register(&mut self, name: &str) -> Option<RegId> {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(&id) = scope.registers.get(name) {
                return Some(id);
            }
            let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            // A prefix may itself end with digits, so every split is tried.
            for at in name.len() - digits..name.len() {
                let (prefix, number) = name.split_at(at);
                let Ok(number) = number.parse::<u64>() else { continue };
                if let Some(&(_, _, ty)) = scope.ranges.iter().find(|(p, count, _)| p == prefix && number < *count) {
                    let id = self.body.registers.len() as RegId;
                    self.body.registers.push(Register { name: name.to_string(), ty });
                    scope.registers.insert(name.to_string(), id);
                    return Some(id);
                }
            }
        }
        None
    }

    fn variable(&self, name: &str) -> Option<&String> {
        self.scopes.iter().rev().find_map(|scope| scope.variables.get(name))
    }

    fn instruction(&mut self, p: &mut Parser, word: &str, guard: Option<Guard>, line: u32) -> Result<()> {
        let mut words = word.split('.').map(str::to_string);
        let opcode = words.next().unwrap_or_default();
        let modifiers: Vec<String> = words.collect();
        let mut operands = vec![];
        let index = self.body.instructions.len();
        while !p.is(';') {
            if opcode == "bra" || opcode == "brx" && !operands.is_empty() {
                let name = p.word()?;
                let labels = match self.scopes.iter().rev().find_map(|scope| scope.tables.get(&name)) {
                    Some(labels) if opcode == "brx" => labels.clone(),
                    None if opcode == "brx" => {
                        return p.err(format!("no '.branchtargets' before this is named '{name}'"));
                    }
                    _ => vec![name],
                };
                for label in labels {
                    let jump = (index, operands.len(), label, line);
                    self.scopes.last_mut().expect("within a body").jumps.push(jump);
                    operands.push(Operand::Sink);
                }
            } else {
                operands.push(self.operand(p, 0)?);
            }
            if !p.accept(',') {
                break;
            }
        }
        p.expect(';')?;
        self.body.instructions.push(Instruction { guard, opcode, modifiers, operands, line, source: p.current });
        Ok(())
    }

    fn operand(&mut self, p: &mut Parser, depth: u32) -> Result<Operand> {
        if depth > MAX_OPERANDS {
            return p.err("operands are nested too deeply");
        }
        let first = match p.next()? {
            Kind::Int(value) => self.constant(p, value)?,
            Kind::F32(bits) => Operand::F32(bits),
            Kind::F64(bits) => Operand::F64(bits),
            Kind::Sign('-') => match p.next()? {
                Kind::Int(value) => Operand::Int(value.wrapping_neg()),
                Kind::F32(bits) => Operand::F32(bits ^ 1 << 31),
                Kind::F64(bits) => Operand::F64(bits ^ 1 << 63),
                _ => return p.err("'-' needs a number"),
            },
            Kind::Sign('~') => Operand::Int(!p.int()?),
            Kind::Sign('!') => {
                let name = p.word()?;
                match self.register(&name) {
                    Some(register) => Operand::Not(register),
                    None => return p.err(format!("'{name}' is not a predicate")),
                }
            }
            Kind::Sign('{') => Operand::Vector(self.list(p, '}', depth)?),
            Kind::Sign('(') => Operand::List(self.list(p, ')', depth)?),
            Kind::Sign('[') => self.address(p)?,
            Kind::Word(word) => self.name(p, word)?,
            _ => return p.err("this is no operand"),
        };
        if p.accept('|') {
            let second = self.operand(p, depth + 1)?;
            return Ok(Operand::Pair(Box::new((first, second))));
        }
        Ok(first)
    }

    /// Sums and differences of integers.
    fn constant(&mut self, p: &mut Parser, mut value: u64) -> Result<Operand> {
        loop {
            if p.accept('+') {
                value = value.wrapping_add(p.int()?);
            } else if p.accept('-') {
                value = value.wrapping_sub(p.int()?);
            } else {
                return Ok(Operand::Int(value));
            }
        }
    }

    fn list(&mut self, p: &mut Parser, end: char, depth: u32) -> Result<Vec<Operand>> {
        let mut all = vec![];
        while !p.accept(end) {
            all.push(self.operand(p, depth + 1)?);
            if !p.accept(',') && !p.is(end) {
                return p.err(format!("expected ',' or '{end}'{}", p.found()));
            }
        }
        Ok(all)
    }

    fn name(&mut self, p: &mut Parser, word: String) -> Result<Operand> {
        if word == "_" {
            return Ok(Operand::Sink);
        }
        if word == "WARP_SZ" {
            return Ok(Operand::Int(32));
        }
        if let Some(register) = self.register(&word) {
            return Ok(Operand::Reg(register));
        }
        if let Some(special) = word.strip_prefix('%') {
            return Ok(Operand::Special(special.to_string()));
        }
        let name = self.variable(&word).cloned().unwrap_or(word);
        let offset = match p.peek() {
            Some(Kind::Sign('+')) => {
                p.accept('+');
                p.int()? as i64
            }
            Some(Kind::Sign('-')) => {
                p.accept('-');
                (p.int()? as i64).wrapping_neg()
            }
            _ => 0,
        };
        Ok(Operand::Symbol(name, offset))
    }

    /// `[a]`, `[a + 4]`, `[a+-4]`, `[16]`; tensor coordinates are not supported.
    fn address(&mut self, p: &mut Parser) -> Result<Operand> {
        let (base, mut offset) = match p.peek() {
            Some(Kind::Word(_)) => {
                let word = p.word()?;
                match self.register(&word) {
                    Some(register) => (Base::Reg(register), 0),
                    None if word.starts_with('%') => return p.err(format!("'{word}' is not a register")),
                    None => (Base::Symbol(self.variable(&word).cloned().unwrap_or(word)), 0),
                }
            }
            _ => (Base::Zero, p.int()?),
        };
        while !p.accept(']') {
            if p.accept('+') {
                offset = offset.wrapping_add(p.int()?);
            } else if p.accept('-') {
                offset = offset.wrapping_sub(p.int()?);
            } else {
                return p.err(format!("expected ']'{}", p.found()));
            }
        }
        Ok(Operand::Address(base, offset as i64))
    }
}
