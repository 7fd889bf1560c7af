//! PTX text to tokens.

use super::PtxError;

/// A token and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Line of the text, from 1.
    pub line: u32,
}

/// Kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name, an opcode with its modifiers (`ld.global.f32`), a directive (`.reg`) or a register (`%r1`).
    Word(String),
    /// An integer literal.
    Int(u64),
    /// `0f…`.
    F32(u32),
    /// `0d…` or a decimal fraction.
    F64(u64),
    /// A quoted text, without its quotes.
    Text(String),
    /// A sign.
    Sign(char),
}

/// Splits `text` into tokens.
///
/// # Errors
/// A character or a literal that PTX does not have, with its line.
pub fn lex(text: &str) -> Result<Vec<Token>, PtxError> {
    let mut lexer = Lexer { bytes: text.as_bytes(), at: 0, line: 1 };
    let mut tokens = vec![];
    while let Some(kind) = lexer.next()? {
        tokens.push(Token { kind, line: lexer.line });
    }
    Ok(tokens)
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'%')
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn err<T>(&self, message: String) -> Result<T, PtxError> {
        Err(PtxError { line: self.line, message })
    }

    fn take(&mut self, while_true: impl Fn(u8) -> bool) -> String {
        let start = self.at;
        while self.at < self.bytes.len() && while_true(self.bytes[self.at]) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()
    }

    fn skip_blank(&mut self) -> Result<(), PtxError> {
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b'/', b'/') => {
                    self.take(|b| b != b'\n');
                }
                (b'/', b'*') => {
                    let start = self.line;
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (b'*', b'/') {
                        if self.at >= self.bytes.len() {
                            return Err(PtxError { line: start, message: "this comment does not end".to_string() });
                        }
                        self.line += u32::from(self.peek(0) == b'\n');
                        self.at += 1;
                    }
                    self.at += 2;
                }
                // Images handed to the driver end with a zero.
                (b' ' | b'\t' | b'\r' | 0, _) => self.at += 1,
                _ => break,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Kind>, PtxError> {
        self.skip_blank()?;
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let first = self.peek(0);
        Ok(Some(match first {
            b'0'..=b'9' => self.number()?,
            b'"' => {
                self.at += 1;
                let text = self.take(|b| b != b'"' && b != b'\n');
                if self.peek(0) != b'"' {
                    return self.err("this text does not end".to_string());
                }
                self.at += 1;
                Kind::Text(text)
            }
            _ if in_word(first) => {
                let mut word = self.take(in_word);
                // `ld.global.L2::128B` and `mbarrier…shared::cta` are one word.
                while (self.peek(0), self.peek(1)) == (b':', b':') {
                    self.at += 2;
                    word = word + "::" + &self.take(in_word);
                }
                Kind::Word(word)
            }
            b'!' | b'(' | b')' | b'{' | b'}' | b'[' | b']' | b',' | b';' | b':' | b'+' | b'-' | b'@' | b'|' | b'='
            | b'<' | b'>' | b'*' | b'/' | b'~' | b'&' | b'^' | b'?' => {
                self.at += 1;
                Kind::Sign(char::from(first))
            }
            _ => return self.err(format!("PTX has no character {:?}", char::from(first))),
        }))
    }

    fn number(&mut self) -> Result<Kind, PtxError> {
        let literal = |this: &Self, text: &str| this.err(format!("'{text}' is not a number"));
        let start = self.at;
        if self.peek(0) == b'0' {
            let (digits, kind) = match self.peek(1) {
                b'f' | b'F' => (8, 'f'),
                b'd' | b'D' => (16, 'd'),
                _ => (0, ' '),
            };
            if digits > 0 {
                self.at += 2;
                let text = self.take(|b| b.is_ascii_hexdigit());
                let Ok(bits) = u64::from_str_radix(&text, 16) else { return literal(self, &text) };
                if text.len() != digits {
                    return self.err(format!("0{kind}{text} needs {digits} digits"));
                }
                return Ok(if kind == 'f' { Kind::F32(bits as u32) } else { Kind::F64(bits) });
            }
        }
        let mut text = self.take(|b| b.is_ascii_alphanumeric());
        let decimal = text.bytes().all(|b| b.is_ascii_digit())
            || text.to_ascii_lowercase().contains('e') && !text.starts_with("0x");
        if decimal && (self.peek(0) == b'.' && self.peek(1).is_ascii_digit() || text.to_ascii_lowercase().contains('e'))
        {
            if self.peek(0) == b'.' {
                self.at += 1;
                text = text + "." + &self.take(|b| b.is_ascii_alphanumeric());
            }
            if text.ends_with(['e', 'E']) && matches!(self.peek(0), b'+' | b'-') {
                text.push(char::from(self.peek(0)));
                self.at += 1;
                text += &self.take(|b| b.is_ascii_digit());
            }
            return match text.parse::<f64>() {
                Ok(value) => Ok(Kind::F64(value.to_bits())),
                Err(_) => literal(self, &text),
            };
        }
        debug_assert!(self.at > start);
        let digits = text.trim_end_matches(['U', 'u']);
        let parsed = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => u64::from_str_radix(&digits[2..], 16),
            [b'0', b'b' | b'B', ..] => u64::from_str_radix(&digits[2..], 2),
            [b'0', _, ..] => u64::from_str_radix(&digits[1..], 8),
            _ => digits.parse(),
        };
        match parsed {
            Ok(value) => Ok(Kind::Int(value)),
            Err(_) => literal(self, &text),
        }
    }
}
