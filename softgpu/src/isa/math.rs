//! Functions of one f32 or f64: rcp, sqrt, rsqrt, sin, cos, lg2, ex2, tanh.
//!
//! Source: PTX ISA 9.0, section 9.7.3, "Floating-Point Instructions". Approximations are as good as f32 allows, better than the
//! bounds there; polynomials are minimax, found with the algorithm of Remez for relative errors below 2^-27.

use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};
use std::marker::PhantomData;

use super::float::rounding::{FlushF32, RN, by_mode, to_f32};
use super::float::{Single, exact, flushing, mode, only};
use crate::exec::inst::Inst;
use crate::exec::{Class, Exec, Flow, LANES, Lower, Op, Warp, pick};
use crate::op;
use crate::ptx::{PtxError, Type};

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    only(l, &["rn", "rz", "rm", "rp", "approx", "ftz"])?;
    let ty = l.ty()?;
    let exec = match (l.instruction.opcode.as_str(), ty, mode(l)) {
        ("rcp", Type::F32, Some(mode)) => flushing!(l, T, by_mode!(mode, M, pick::<Rounded<T, RCP, M>>())),
        ("sqrt", Type::F32, Some(mode)) => flushing!(l, T, by_mode!(mode, M, pick::<Rounded<T, SQRT, M>>())),
        ("rcp", Type::F64, Some(mode)) if !l.has("ftz") => by_mode!(mode, M, pick::<Rcp64<M>>()),
        ("sqrt", Type::F64, Some(mode)) if !l.has("ftz") => by_mode!(mode, M, pick::<Sqrt64<M>>()),
        (_, _, None) if l.has("approx") => approx(l, ty)?,
        _ => return l.unsupported(),
    };
    let rows = [l.write(0, ty)?, l.read(1, ty)?];
    l.emit(if ty == Type::F64 { Class::Float64 } else { Class::Special }, exec, &rows);
    Ok(())
}

fn approx(l: &Lower, ty: Type) -> Result<Exec, PtxError> {
    Ok(match (l.instruction.opcode.as_str(), ty, l.has("ftz")) {
        ("rcp", Type::F32, _) => flushing!(l, T, pick::<Rounded<T, RCP, RN>>()),
        ("sqrt", Type::F32, _) => flushing!(l, T, pick::<Rounded<T, SQRT, RN>>()),
        ("rsqrt", Type::F32, _) => flushing!(l, T, pick::<Approx<T, RSQRT>>()),
        ("lg2", Type::F32, _) => flushing!(l, T, pick::<Approx<T, LG2>>()),
        ("ex2", Type::F32, _) => flushing!(l, T, pick::<Approx<T, EX2>>()),
        ("tanh", Type::F32, false) => pick::<Approx<f32, TANH>>(),
        ("sin", Type::F32, _) => flushing!(l, T, pick::<Circular<T, 0>>()),
        ("cos", Type::F32, _) => flushing!(l, T, pick::<Circular<T, 1>>()),
        ("rcp", Type::F64, true) => pick::<GrossRcp64>(),
        ("rsqrt", Type::F64, true) => pick::<GrossRsqrt64>(),
        ("rsqrt", Type::F64, false) => pick::<Rsqrt64>(),
        _ => return l.unsupported(),
    })
}

const RCP: u8 = 0;
const SQRT: u8 = 1;

/// d = f(a), rounded by `MODE`. In f64 no quotient and no root of f32 is close enough to an f32 to become one unless it is one.
struct Rounded<T, const F: u8, const MODE: u8>(PhantomData<T>);

impl<T: Single, const F: u8, const MODE: u8> Op for Rounded<T, F, MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let f = |a: f32| match (F, MODE) {
            (RCP, RN) => 1.0 / a,
            (RCP, _) => to_f32::<MODE>(1.0 / f64::from(a)),
            (_, RN) => a.sqrt(),
            _ => to_f32::<MODE>(f64::from(a).sqrt()),
        };
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: T| T::put(f(a.get()))) }
    }
}

struct Rcp64<const MODE: u8>;

impl<const MODE: u8> Op for Rcp64<MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: f64| if MODE == RN { 1.0 / a } else { exact::div::<MODE>(1.0, a) }) }
    }
}

struct Sqrt64<const MODE: u8>;

impl<const MODE: u8> Op for Sqrt64<MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: f64| if MODE == RN { a.sqrt() } else { exact::sqrt::<MODE>(a) }) }
    }
}

op! {
    Rsqrt64 = |w, i| w.map1(i, |a: f64| 1.0 / a.sqrt());
    GrossRcp64 = |w, i| w.map1(i, |a: f64| upper_half(1.0 / upper_half(a)));
    GrossRsqrt64 = |w, i| w.map1(i, |a: f64| upper_half(1.0 / upper_half(a).sqrt()));
}

/// The upper 32 bits, subnormals flushed, as `.approx.ftz.f64` reads and writes; any NaN becomes one.
#[inline(always)]
fn upper_half(v: f64) -> f64 {
    let bits = v.to_bits();
    let keep = if bits & (0x7ff << 52) == 0 { 1 << 63 } else { u64::MAX << 32 };
    if v.is_nan() { f64::from_bits(0x7fff_ffff << 32) } else { f64::from_bits(bits & keep) }
}

const RSQRT: u8 = 0;
const LG2: u8 = 1;
const EX2: u8 = 2;
const TANH: u8 = 3;

/// d = f(a).
struct Approx<T, const F: u8>(PhantomData<T>);

impl<T: Single, const F: u8> Op for Approx<T, F> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let f = match F {
            RSQRT => |a: f32| 1.0 / a.sqrt(),
            LG2 => lg2,
            EX2 => ex2,
            _ => tanh,
        };
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: T| T::put(f(a.get()))) }
    }
}

/// Coefficients from the highest degree down.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().reduce(|sum, c| sum.mul_add(x, c)).unwrap_or(0.0)
}

/// 2 to the `x`.
#[inline(always)]
pub(super) fn ex2(x: f32) -> f32 {
    // Beyond these the result is zero or infinite; NaN passes both tests.
    let x = if x < -151.0 { -151.0 } else { x };
    let x = if x > 129.0 { 129.0 } else { x };
    let whole = x.round_ties_even();
    let part = x - whole;
    const C: [f32; 7] = [0.00015353363, 0.0013398875, 0.009618437, 0.055503324, 0.24022648, LN_2, 1.0];
    let power = polynomial(part, C);
    // In two steps, of which the second rounds a subnormal result.
    let whole = whole as i32;
    let scale = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    power * scale(whole >> 1) * scale(whole - (whole >> 1))
}

/// The logarithm to base 2.
#[inline(always)]
fn lg2(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let bits = if small { x * 8388608.0 } else { x }.to_bits();
    // x is m times two to the e, with m from sqrt(1/2) to sqrt(2).
    let offset = bits.wrapping_sub(FRAC_1_SQRT_2.to_bits());
    let e = ((offset as i32) >> 23) - if small { 23 } else { 0 };
    let m = f32::from_bits((offset & 0x007f_ffff).wrapping_add(FRAC_1_SQRT_2.to_bits()));
    const C: [f32; 10] = [
        -0.10994833,
        0.18617414,
        -0.19106287,
        0.20460078,
        -0.2396174,
        0.2885674,
        -0.36069664,
        0.48089823,
        -0.72134733,
        LOG2_E,
    ];
    let z = m - 1.0;
    let finite = polynomial(z, C).mul_add(z, e as f32);
    let limit = if x == 0.0 { f32::NEG_INFINITY } else { x };
    let defined = if x > 0.0 { finite } else { f32::NAN };
    if (x == 0.0) | (x == f32::INFINITY) { limit } else { defined }
}

/// The hyperbolic tangent.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let (a, square) = (x.abs(), x * x);
    const C: [f32; 5] = [-0.005717042, 0.020650584, -0.053743497, 0.13331491, -0.33333284];
    let near = (polynomial(square, C) * square).mul_add(x, x);
    // tanh(a) = 1 - 2 / (exp(2 a) + 1)
    let far = 1.0 - 2.0 / (ex2(a * (2.0 * LOG2_E)) + 1.0);
    let value = if a < 0.625 { near } else { far };
    // The sign of a zero is kept, too.
    value.copysign(x)
}

/// The sine (`COS` 0) or the cosine (1).
struct Circular<T, const COS: u8>(PhantomData<T>);

/// Up to here the reduction by multiples of pi / 2 in f64 is good to 2^-32.
const MAX_ANGLE: f32 = 1048576.0;

impl<T: Single, const COS: u8> Op for Circular<T, COS> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe {
            let a = w.row::<u32>(i.rows[1]);
            let large = |lane: usize| f32::from_bits(a[lane]).abs() > MAX_ANGLE;
            if (0..LANES).fold(false, |any, lane| any | large(lane)) {
                return w.map1(i, |a: T| T::put(circular_wide::<COS>(a.get())));
            }
            w.map1(i, |a: T| T::put(circular::<COS>(a.get())))
        }
    }
}

/// For any angle, slowly.
#[cold]
#[inline(never)]
fn circular_wide<const COS: u8>(x: f32) -> f32 {
    let x = f64::from(x);
    (if COS == 1 { x.cos() } else { x.sin() }) as f32
}

#[inline(always)]
fn circular<const COS: u8>(x: f32) -> f32 {
    let wide = f64::from(x);
    let quarters = (wide * std::f64::consts::FRAC_2_PI).round_ties_even();
    let r = (wide - quarters * std::f64::consts::FRAC_PI_2) as f32;
    let quadrant = (quarters as i32).wrapping_add(i32::from(COS));
    let u = r * r;
    let sin = (polynomial(u, [-0.00019517298, 0.008332178, -0.16666655]) * u).mul_add(r, r);
    let cos = polynomial(u, [2.4438452e-5, -0.0013887368, 0.041666646, -0.5, 1.0]);
    let value = if quadrant & 1 == 0 { sin } else { cos };
    let value = if quadrant & 2 == 0 { value } else { -value };
    // The sine of -0 is -0.
    if COS == 0 && x == 0.0 { x } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 257th f32, and the special ones.
    fn samples() -> impl Iterator<Item = f32> {
        let special =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1.0];
        (0..u32::MAX / 257).map(|n| f32::from_bits(n * 257)).chain(special)
    }

    fn relative(got: f32, want: f64) -> f64 {
        let nearest = want as f32;
        if got.to_bits() == nearest.to_bits() || got.is_nan() && nearest.is_nan() {
            return 0.0;
        }
        (f64::from(got) - want).abs() / want.abs().max(f64::from(f32::MIN_POSITIVE))
    }

    fn worst(f: fn(f32) -> f32, reference: fn(f64) -> f64) -> (f64, f32) {
        let errors = samples().map(|x| (relative(f(x), reference(x.into())), x));
        errors.fold((0.0, 0.0), |worst, this| if this.0 > worst.0 || this.0.is_nan() { this } else { worst })
    }

    #[test]
    fn approximations_are_within_the_bounds_of_ptx() {
        for (name, f, reference, bound) in [
            ("ex2", ex2 as fn(f32) -> f32, f64::exp2 as fn(f64) -> f64, 2f64.powf(-22.5)),
            ("tanh", tanh, f64::tanh, 2f64.powi(-20)),
            ("rsqrt", |x| 1.0 / x.sqrt(), |x| 1.0 / x.sqrt(), 2f64.powf(-22.9)),
            ("lg2", lg2, f64::log2, 2f64.powi(-22)),
        ] {
            let (error, x) = worst(f, reference);
            assert!(error <= bound, "{name}({x:e}) is off by {error:e}, more than {bound:e}");
        }
        for x in samples().filter(|x| x.abs() <= MAX_ANGLE) {
            let (sin, cos) = (f64::from(circular::<0>(x)), f64::from(circular::<1>(x)));
            let (s, c) = f64::from(x).sin_cos();
            assert!(
                (sin - s).abs() <= 2f64.powi(-22) && (cos - c).abs() <= 2f64.powi(-22),
                "{x:e}: {sin} {cos}, not {s} {c}"
            );
        }
        assert_eq!(ex2(-3.0), 0.125);
        assert_eq!(circular::<0>(-0.0).to_bits(), (-0f32).to_bits());
        assert!(circular::<0>(f32::NAN).is_nan() && circular_wide::<1>(f32::INFINITY).is_nan());
    }
}
