//! What the device's own library provides: printf, assert, clocks.
//!
//! Source: "CUDA C++ Programming Guide", formatted output and assertions; the layout of printf's arguments is that of nvcc: each at
//! its own alignment, floats as doubles.

use crate::check::Kind;
use crate::exec::inst::Inst;
use crate::exec::warp::Warp;
use crate::exec::{Class, Exec, Flow, LANES, Lower, Width, pick};
use crate::op;
use crate::ptx::PtxError;

op! {
    Printf = |w, i| printf(w, i);
    AssertFail = |w, i| assert_fail(w, i);
    Clock32 = |w, i| { let now = w.clock() as u32; w.set(i.rows[0], &[now; LANES]); Flow::Next };
    Clock64 = |w, i| { let now = w.clock(); w.set(i.rows[0], &[now; LANES]); Flow::Next };
}

/// How a call of a function of the device's library is lowered: with the places of its arguments, and then of its results, in local memory.
pub type LowerCall = fn(&mut Lower, &[u64]) -> Result<(), PtxError>;

/// The function of this name, if it is one of the library's.
pub fn function(name: &str) -> Option<LowerCall> {
    match name {
        "vprintf" => Some(|l, places| call(l, places, 3, pick::<Printf>())),
        "__assertfail" => Some(|l, places| call(l, places, 5, pick::<AssertFail>())),
        _ => None,
    }
}

fn call(l: &mut Lower, places: &[u64], arguments: usize, exec: Exec) -> Result<(), PtxError> {
    if places.len() != arguments {
        return l.err(format!("{} takes and returns {arguments} values", l.text()));
    }
    let rows: Vec<_> = places.iter().map(|&place| l.constant(Width::W64, place)).collect();
    l.emit(Class::Other, exec, &rows);
    Ok(())
}

/// The clock of this name, which counts the warp instructions of its block.
pub fn clock(name: &str, width: Width) -> Option<Exec> {
    match (name, width) {
        ("clock", Width::W32) | ("globaltimer_lo", Width::W32) => Some(pick::<Clock32>()),
        ("clock64" | "globaltimer", Width::W64) => Some(pick::<Clock64>()),
        _ => None,
    }
}

/// The longest text that a kernel may print at once, and the longest format.
const MAX_TEXT: usize = 1 << 16;

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn printf(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised.
    let [format_at, arguments_at, result_at] = [0, 1, 2].map(|n| unsafe { w.first(i.rows[n], Width::W64) });
    let mut text = String::new();
    let mask = w.mask;
    for lane in (0..LANES as u32).filter(|lane| mask >> lane & 1 == 1) {
        let written =
            w.local_word(lane, format_at).zip(w.local_word(lane, arguments_at)).and_then(|(format, arguments)| {
                let format = w.text_at(lane, format)?;
                Some(render(w, lane, &format, arguments))
            });
        let Some(line) = written else {
            return w.fault(Kind::OutOfBounds, lane, "printf reads a format or arguments that are not there");
        };
        w.set_local_word(lane, result_at, line.len() as u32);
        text.push_str(&line);
    }
    print!("{text}");
    Flow::Next
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn assert_fail(w: &mut Warp, i: &Inst) -> Flow {
    let lane = w.mask.trailing_zeros();
    // SAFETY: as promised.
    let [message, file, line, function] = [0, 1, 2, 3].map(|n| unsafe { w.first(i.rows[n], Width::W64) });
    let text = |w: &mut Warp, at: u64| {
        w.local_word(lane, at).and_then(|p| w.text_at(lane, p)).unwrap_or_else(|| "?".to_string())
    };
    let (message, file, function) = (text(w, message), text(w, file), text(w, function));
    let line = w.local_word(lane, line).unwrap_or(0) as u32;
    w.fault(Kind::Assert, lane, &format!("assertion `{message}` failed in {function} ({file}:{line})"))
}

impl Warp {
    /// Eight bytes of a lane's local memory, zero-extended where it ends.
    fn local_word(&mut self, lane: u32, at: u64) -> Option<u64> {
        let thread = self.index * LANES as u32 + lane;
        self.block().memory.peek_local(thread, at, 8)
    }

    fn set_local_word(&mut self, lane: u32, at: u64, value: u32) {
        let thread = self.index * LANES as u32 + lane;
        self.block().memory.poke_local(thread, at, u64::from(value), 4);
    }

    /// The zero-terminated text at a generic address.
    fn text_at(&mut self, lane: u32, address: u64) -> Option<String> {
        let mut bytes = vec![];
        for at in address.. {
            match self.peek(lane, at, 1)? {
                0 => break,
                _ if bytes.len() >= MAX_TEXT => return None,
                byte => bytes.push(byte as u8),
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `bytes` (at most 8) at a generic address, if they are there.
    fn peek(&mut self, lane: u32, address: u64, bytes: u32) -> Option<u64> {
        let thread = self.index * LANES as u32 + lane;
        crate::memory::peek(self, thread, address, bytes)
    }
}

/// Formats as C's printf does; what is not understood is printed as it stands.
fn render(w: &mut Warp, lane: u32, format: &str, arguments: u64) -> String {
    let (mut out, mut at) = (String::new(), arguments);
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let length =
            after.find(|c: char| c.is_ascii_alphabetic() && !"hlLqjzt".contains(c) || c == '%').unwrap_or(after.len());
        let (spec, tail) = after.split_at(length);
        let Some(conversion) = tail.chars().next() else {
            rest = "";
            break;
        };
        rest = &tail[conversion.len_utf8()..];
        if conversion == '%' {
            out.push('%');
            continue;
        }
        let flags: String = spec.chars().take_while(|c| "-+ #0".contains(*c)).collect();
        let sizes = spec.trim_start_matches(|c| "-+ #0".contains(c));
        let (mut width, mut precision) = (0, None);
        let mut next = |w: &mut Warp, bytes: u32| {
            at = at.next_multiple_of(bytes.into());
            let value = w.peek(lane, at, bytes).unwrap_or(0);
            at += u64::from(bytes);
            value
        };
        let numbers = sizes.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (wide, fine) = numbers.split_once('.').map_or((numbers, None), |(wide, fine)| (wide, Some(fine)));
        let mut number =
            |w: &mut Warp, text: &str| if text == "*" { next(w, 4) as i32 } else { text.parse().unwrap_or(0) };
        width += number(w, wide);
        if let Some(fine) = fine {
            precision = usize::try_from(number(w, fine)).ok();
        }
        let long = sizes.contains('l') || sizes.contains('z') || sizes.contains('j') || sizes.contains('t');
        let bytes = if long { 8 } else { 4 };
        let text = match conversion {
            'd' | 'i' => {
                let value = next(w, bytes);
                let value = if long { value as i64 } else { i64::from(value as i32) };
                signed(value.to_string(), value >= 0, &flags)
            }
            'u' => next(w, bytes).to_string(),
            'x' => format!("{}{:x}", if flags.contains('#') { "0x" } else { "" }, next(w, bytes)),
            'X' => format!("{}{:X}", if flags.contains('#') { "0X" } else { "" }, next(w, bytes)),
            'o' => format!("{:o}", next(w, bytes)),
            'c' => char::from(next(w, 4) as u8).to_string(),
            'p' => format!("{:#x}", next(w, 8)),
            's' => {
                let from = next(w, 8);
                let text = w.text_at(lane, from).unwrap_or_else(|| "(null)".to_string());
                text.chars().take(precision.unwrap_or(usize::MAX)).collect()
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'a' | 'A' => {
                let value = f64::from_bits(next(w, 8));
                signed(float(value, conversion, precision), value.is_sign_positive(), &flags)
            }
            _ => format!("%{spec}{conversion}"),
        };
        out.push_str(&pad(text, width, &flags));
    }
    out.push_str(rest);
    out
}

fn signed(text: String, positive: bool, flags: &str) -> String {
    let sign = if flags.contains('+') {
        "+"
    } else if flags.contains(' ') {
        " "
    } else {
        ""
    };
    if positive { format!("{sign}{text}") } else { text }
}

fn pad(text: String, width: i32, flags: &str) -> String {
    let missing = (width.unsigned_abs() as usize).min(MAX_TEXT).saturating_sub(text.chars().count());
    let digits = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
    if width < 0 || flags.contains('-') {
        text + &" ".repeat(missing)
    } else if flags.contains('0') && digits {
        let (sign, digits) = text.split_at(text.starts_with(['-', '+']).into());
        format!("{sign}{}{digits}", "0".repeat(missing))
    } else {
        " ".repeat(missing) + &text
    }
}

fn float(value: f64, conversion: char, precision: Option<usize>) -> String {
    if !value.is_finite() {
        let text = if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        return text.to_string();
    }
    let precision = precision.unwrap_or(6).min(MAX_TEXT);
    let scientific = |precision: usize| {
        let text = format!("{value:.precision$e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        (format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()), exponent)
    };
    let text = match conversion.to_ascii_lowercase() {
        'f' => format!("{value:.precision$}"),
        'e' => scientific(precision).0,
        _ => {
            let significant = precision.max(1);
            let (text, exponent) = scientific(significant - 1);
            let trim = |text: &str| match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text.to_string(),
            };
            if exponent < -4 || exponent >= significant as i32 {
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
                format!("{}e{exponent}", trim(digits))
            } else {
                let decimals = (significant as i32 - 1 - exponent).max(0) as usize;
                trim(&format!("{value:.decimals$}"))
            }
        }
    };
    if conversion.is_ascii_uppercase() { text.to_uppercase() } else { text }
}
