//! Tokens to a [`Module`]: directives, variables and functions; statements are in [`super::body`].

use super::body::BodyParser;
use super::lex::{Kind, Token, lex};
use super::{Function, Init, Module, Param, PtxError, RegId, Source, Space, Type, Variable};

pub(super) type Result<T> = std::result::Result<T, PtxError>;

/// Parses one translation unit.
///
/// # Errors
/// The first thing that is not PTX, or that is PTX and not supported, with its line.
pub fn parse(text: &str) -> Result<Module> {
    let mut parser = Parser { tokens: lex(text)?, at: 0, module: Module::default(), current: 0 };
    parser.module.sources.push(Source::default());
    parser.unit()?;
    if parser.module.target.is_empty() {
        return Err(PtxError { line: 1, message: "no .target: this is not PTX".to_string() });
    }
    Ok(parser.module)
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    pub module: Module,
    /// Index of the source that `.loc` named last.
    pub current: u32,
}

/// What `.visible`, `.extern` and the like say about what follows.
#[derive(Default, Clone, Copy)]
struct Linkage {
    external: bool,
}

/// A declaration without its initialiser.
pub(super) struct Declared {
    pub variable: Variable,
    pub ty: Type,
    /// Whether the size is left open: `x[]`.
    open: bool,
}

impl Parser {
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    pub fn err<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(PtxError { line: self.line(), message: message.into() })
    }

    pub fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    pub fn peek_at(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|t| &t.kind)
    }

    pub fn next(&mut self) -> Result<Kind> {
        match self.tokens.get(self.at) {
            Some(token) => {
                self.at += 1;
                Ok(token.kind.clone())
            }
            None => self.err("the text ends too early"),
        }
    }

    pub fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Kind::Sign(sign))
    }

    pub fn accept(&mut self, sign: char) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, sign: char) -> Result<()> {
        if self.accept(sign) { Ok(()) } else { self.err(format!("expected '{sign}'{}", self.found())) }
    }

    pub fn found(&self) -> String {
        match self.peek() {
            Some(Kind::Word(word)) => format!(", found '{word}'"),
            Some(Kind::Sign(sign)) => format!(", found '{sign}'"),
            Some(Kind::Int(value)) => format!(", found {value}"),
            Some(_) => ", found a literal".to_string(),
            None => ", found the end".to_string(),
        }
    }

    pub fn word(&mut self) -> Result<String> {
        match self.peek() {
            Some(Kind::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => self.err(format!("expected a name{}", self.found())),
        }
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Kind::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    /// An integer, with a sign or not.
    pub fn int(&mut self) -> Result<u64> {
        let negative = self.accept('-');
        match self.next()? {
            Kind::Int(value) => Ok(if negative { value.wrapping_neg() } else { value }),
            _ => {
                self.at -= 1;
                self.err(format!("expected an integer{}", self.found()))
            }
        }
    }

    fn small(&mut self) -> Result<u32> {
        let value = self.int()?;
        u32::try_from(value).or_else(|_| self.err(format!("{value} is too large here")))
    }

    fn unit(&mut self) -> Result<()> {
        let mut linkage = Linkage::default();
        while self.peek().is_some() {
            if self.accept(';') {
                continue;
            }
            let word = self.word()?;
            match word.as_str() {
                ".version" => match self.next()? {
                    Kind::F64(bits) => {
                        let tenths = (f64::from_bits(bits) * 10.0).round().clamp(0.0, 1e6) as u32;
                        self.module.version = (tenths / 10, tenths % 10);
                    }
                    _ => return self.err(".version needs a number such as 8.0"),
                },
                ".target" => {
                    self.module.target = self.word()?;
                    while self.accept(',') {
                        self.word()?;
                    }
                }
                ".address_size" => {
                    if self.int()? != 64 {
                        return self.err("only 64-bit addresses are supported");
                    }
                }
                ".file" => self.file()?,
                ".loc" => self.loc()?,
                ".section" => self.section()?,
                ".pragma" => self.skip_to_semicolon()?,
                ".visible" | ".weak" | ".common" => {}
                ".extern" => linkage.external = true,
                ".entry" | ".func" => {
                    self.function(word == ".entry")?;
                    linkage = Linkage::default();
                }
                ".global" | ".const" | ".shared" => {
                    let space = space_of(&word).unwrap_or(Space::Global);
                    for variable in self.variables(space, linkage.external)? {
                        self.module.variables.push(variable);
                    }
                    linkage = Linkage::default();
                }
                ".alias" => return self.err(".alias is not supported"),
                other => {
                    self.at -= 1;
                    return self.err(format!("'{other}' does not belong at module scope"));
                }
            }
        }
        Ok(())
    }

    fn skip_to_semicolon(&mut self) -> Result<()> {
        while self.next()? != Kind::Sign(';') {}
        Ok(())
    }

    fn file(&mut self) -> Result<()> {
        let number = self.small()?;
        match self.next()? {
            Kind::Text(path) => self.module.files.push((number, path)),
            _ => return self.err(".file needs a path"),
        }
        while self.accept(',') {
            self.int()?;
        }
        Ok(())
    }

    /// `.loc file line column [, function_name label [+ offset], inlined_at file line column]`. What was inlined from another file (a
    /// header, mostly of the toolkit) counts as at the place where it was called.
    pub fn loc(&mut self) -> Result<()> {
        let (mut file, mut line) = (self.small()?, self.small()?);
        if matches!(self.peek(), Some(Kind::Int(_))) {
            self.int()?;
        }
        while self.accept(',') {
            match self.word()?.as_str() {
                "function_name" => {
                    self.word()?;
                    if self.accept('+') {
                        self.int()?;
                    }
                }
                "inlined_at" => {
                    let caller = (self.small()?, self.small()?);
                    self.int()?;
                    if caller.0 != file {
                        (file, line) = caller;
                    }
                }
                other => return self.err(format!("unknown attribute '{other}' of .loc")),
            }
        }
        let source = Source { file, line };
        if self.module.sources[self.current as usize] != source {
            self.module.sources.push(source);
            self.current = self.module.sources.len() as u32 - 1;
        }
        Ok(())
    }

    /// Debug information: braces hold data that nobody reads.
    pub fn section(&mut self) -> Result<()> {
        self.word()?;
        self.expect('{')?;
        while self.next()? != Kind::Sign('}') {}
        Ok(())
    }

    /// Declarations after a state space, up to the semicolon.
    pub fn variables(&mut self, space: Space, external: bool) -> Result<Vec<Variable>> {
        let mut declared = self.declaration(space)?;
        let mut all = vec![];
        loop {
            declared.variable.external = external;
            if self.accept('=') {
                let (ty, mut init) = (declared.ty, vec![]);
                self.initialiser(ty, &mut init, 0)?;
                if declared.open {
                    declared.variable.bytes =
                        init.iter().map(|i| if let Init::Bytes(b) = i { b.len() as u64 } else { 8 }).sum();
                }
                declared.variable.init = init;
            }
            let (align, ty) = (declared.variable.align, declared.ty);
            all.push(declared.variable);
            if !self.accept(',') {
                break;
            }
            declared = self.declarator(space, align, ty)?;
        }
        self.expect(';')?;
        Ok(all)
    }

    fn declaration(&mut self, space: Space) -> Result<Declared> {
        let mut align = None;
        let mut lanes = 1;
        let ty = loop {
            let word = self.word()?;
            match word.as_str() {
                ".align" => align = Some(self.small()?),
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".ptr" | ".managed" | ".unified" => {}
                ".attribute" => {
                    self.expect('(')?;
                    while !self.accept(')') {
                        self.next()?;
                    }
                }
                ".global" | ".shared" | ".const" | ".local" => {}
                _ => match Type::parse(word.trim_start_matches('.')) {
                    Some(ty) => break ty,
                    None => {
                        self.at -= 1;
                        return self.err(format!("'{word}' is not a type"));
                    }
                },
            }
        };
        // `.param .u64 .ptr .global .align 16 name`
        while let Some(Kind::Word(word)) = self.peek() {
            match word.as_str() {
                ".ptr" | ".global" | ".shared" | ".const" | ".local" | ".param" => self.at += 1,
                // Of what it points to.
                ".align" => {
                    self.at += 1;
                    self.small()?;
                }
                _ => break,
            }
        }
        let align = align.unwrap_or(ty.bytes().max(1) * lanes);
        if !align.is_power_of_two() {
            return self.err(format!("an alignment of {align} is no power of two"));
        }
        let mut declared = self.declarator(space, align, ty)?;
        declared.variable.bytes *= u64::from(lanes);
        Ok(declared)
    }

    fn declarator(&mut self, space: Space, align: u32, ty: Type) -> Result<Declared> {
        let name = self.word()?;
        let (mut bytes, mut open) = (u64::from(ty.bytes()), false);
        while self.accept('[') {
            if self.accept(']') {
                open = true;
                bytes = 0;
                continue;
            }
            let count = self.int()?;
            bytes = match bytes.checked_mul(count).filter(|&b| b < 1 << 40) {
                Some(bytes) => bytes,
                None => return self.err(format!("'{name}' is too large")),
            };
            self.expect(']')?;
        }
        Ok(Declared { variable: Variable { name, space, align, bytes, init: vec![], external: false }, ty, open })
    }

    fn initialiser(&mut self, ty: Type, out: &mut Vec<Init>, depth: u32) -> Result<()> {
        if depth > 8 {
            return self.err("initialisers are nested too deeply");
        }
        if self.accept('{') {
            while !self.accept('}') {
                self.initialiser(ty, out, depth + 1)?;
                if !self.accept(',') && !self.is('}') {
                    return self.err(format!("expected ',' or '}}'{}", self.found()));
                }
            }
            return Ok(());
        }
        let negative = self.accept('-');
        let bits = match self.next()? {
            Kind::Int(value) if ty == Type::F32 => u64::from((value as f32).to_bits()),
            Kind::Int(value) if ty == Type::F64 => (value as f64).to_bits(),
            Kind::Int(value) => {
                if negative {
                    value.wrapping_neg()
                } else {
                    value
                }
            }
            Kind::F32(bits) if ty == Type::F64 => f64::from(f32::from_bits(bits)).to_bits(),
            Kind::F32(bits) => bits.into(),
            Kind::F64(bits) if ty == Type::F32 => u64::from((f64::from_bits(bits) as f32).to_bits()),
            Kind::F64(bits) => bits,
            Kind::Word(word) => {
                let generic = word == "generic";
                let symbol = if generic {
                    self.expect('(')?;
                    let name = self.word()?;
                    self.expect(')')?;
                    name
                } else {
                    word
                };
                let offset = if self.is('+') || self.is('-') {
                    let minus = self.accept('-') || !self.accept('+');
                    let value = self.int()? as i64;
                    if minus { value.wrapping_neg() } else { value }
                } else {
                    0
                };
                if ty.bytes() != 8 {
                    return self.err(format!("the address of '{symbol}' needs 8 bytes"));
                }
                out.push(Init::Address { symbol, offset, generic });
                return Ok(());
            }
            _ => return self.err("this does not initialise a variable"),
        };
        let sign = if negative && ty.is_float() { 1u64 << (ty.bytes() * 8 - 1) } else { 0 };
        let bytes = &(bits ^ sign).to_le_bytes()[..ty.bytes().min(8) as usize];
        match out.last_mut() {
            Some(Init::Bytes(all)) => all.extend_from_slice(bytes),
            _ => out.push(Init::Bytes(bytes.to_vec())),
        }
        Ok(())
    }

    fn function(&mut self, entry: bool) -> Result<()> {
        let line = self.line();
        let mut body = BodyParser::default();
        let mut function = Function { entry, line, ..Function::default() };
        if self.accept_word(".attribute") {
            return self.err(".attribute of a function is not supported");
        }
        if self.accept('(') {
            function.returns = self.params(&mut body)?;
        }
        function.name = self.word()?;
        if self.accept('(') {
            function.params = self.params(&mut body)?;
        }
        while let Some(Kind::Word(word)) = self.peek() {
            let word = word.clone();
            self.at += 1;
            match word.as_str() {
                ".maxntid" => function.max_threads = Some(self.triple()?),
                ".reqntid" => function.required_threads = Some(self.triple()?),
                ".minnctapersm" => function.min_blocks = Some(self.small()?),
                ".maxnctapersm" => drop(self.small()?),
                ".maxnreg" => function.max_registers = Some(self.small()?),
                ".noreturn" => {}
                ".pragma" => self.skip_to_semicolon()?,
                _ => {
                    self.at -= 1;
                    return self.err(format!("'{word}' is not supported on a function"));
                }
            }
        }
        if self.accept('{') {
            function.body = Some(body.parse(self)?);
        } else {
            self.expect(';')?;
        }
        self.module.functions.push(function);
        Ok(())
    }

    fn triple(&mut self) -> Result<[u32; 3]> {
        let mut all = [self.small()?, 1, 1];
        for next in &mut all[1..] {
            if !self.accept(',') {
                break;
            }
            *next = self.small()?;
        }
        Ok(all)
    }

    fn params(&mut self, body: &mut BodyParser) -> Result<Vec<Param>> {
        let (mut all, mut offset) = (vec![], 0u64);
        while !self.accept(')') {
            let register = match self.word()?.as_str() {
                ".param" => false,
                ".reg" => true,
                other => return self.err(format!("'{other}' is not a parameter")),
            };
            let Declared { variable, ty, .. } = self.declaration(Space::Param)?;
            let register: Option<RegId> = register.then(|| body.declare(&variable.name, ty));
            offset = offset.next_multiple_of(variable.align.into());
            let (Ok(at), Ok(bytes)) = (u32::try_from(offset), u32::try_from(variable.bytes)) else {
                return self.err("the parameters are too large");
            };
            all.push(Param { name: variable.name, offset: at, bytes, align: variable.align, register });
            offset += variable.bytes;
            if !self.accept(',') && !self.is(')') {
                return self.err(format!("expected ',' or ')'{}", self.found()));
            }
        }
        Ok(all)
    }
}

/// The state space of a directive.
pub(super) fn space_of(word: &str) -> Option<Space> {
    Some(match word {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}
