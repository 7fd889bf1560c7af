//! Functions that PTX defines by bounds of their errors.

use super::exact::{BF16, F16, F32, F64, Format};
use super::harness::Result::{Bits, Float};
use super::harness::{Bench, Inputs, Numbers, special};

/// Numbers of all sizes, most of them where the functions are not constant.
fn numbers(f: Format) -> Vec<Inputs> {
    let mut numbers = Numbers(11);
    let mut all: Vec<Inputs> = special(f).into_iter().map(|a| [a, 0, 0]).collect();
    for _ in 0..20_000 {
        all.push([numbers.float(f), 0, 0]);
        let angle = (numbers.next() >> 32) as f64 / 2f64.powi(32) * 400.0 - 200.0;
        all.push([f.near(angle), 0, 0]);
    }
    all
}

/// Checks a function against a bound of its relative error, or of its absolute one; special results must be equal.
fn check(
    bench: &Bench,
    text: &str,
    f: Format,
    all: &[Inputs],
    relative: f64,
    absolute: f64,
    reference: fn(f64) -> f64,
) {
    let smallest = f.value(1 << f.mantissa);
    let ftz = text.contains("ftz");
    for (&[a, ..], got) in all.iter().zip(bench.run(text, f.bits(), &[f.bits()], all)) {
        let want = reference(f.value(if ftz { f.flush(a) } else { a }));
        let (value, largest) = (f.value(got), f.value(f.infinity() - 1));
        let near = (value - want).abs() <= (want.abs() * relative).max(absolute);
        let good = match want {
            _ if want.is_nan() => value.is_nan(),
            // A rounding may lead to either side of a limit.
            _ if want.abs() > largest * (1.0 - relative) => {
                value == want || value.abs() >= largest * (1.0 - 2.0 * relative)
            }
            _ if ftz && want.abs() < smallest * (1.0 + relative) => value == 0.0 || near,
            _ if want.abs() < smallest => (value - want).abs() <= f.value(1),
            _ => near,
        };
        let sign = want != 0.0 || value != 0.0 || want.is_sign_negative() == value.is_sign_negative();
        assert!(good && sign, "{text} of {a:#x} ({:e}) is {value:e}, not {want:e}", f.value(a));
    }
}

#[test]
fn approximations_are_within_their_bounds() {
    let bench = Bench::new();
    let all = numbers(F32);
    let ulp = 2f64.powi(-23);
    type Function = fn(f64) -> f64;
    let functions: [(&str, f64, f64, Function); 7] = [
        ("rcp.approx", ulp, 0.0, |x| 1.0 / x),
        ("sqrt.approx", ulp, 0.0, f64::sqrt),
        ("rsqrt.approx", 2f64.powf(-22.9), 0.0, |x| 1.0 / x.sqrt()),
        ("lg2.approx", 2f64.powi(-22), 2f64.powi(-22), f64::log2),
        ("ex2.approx", 2f64.powf(-22.5), 0.0, f64::exp2),
        ("sin.approx", 0.0, 2f64.powf(-20.5), f64::sin),
        ("cos.approx", 0.0, 2f64.powf(-20.5), f64::cos),
    ];
    for (name, relative, absolute, reference) in functions {
        check(&bench, &format!("{name}.f32 %d, %a;"), F32, &all, relative, absolute, reference);
        check(&bench, &format!("{name}.ftz.f32 %d, %a;"), F32, &all, relative, absolute, reference);
    }
    check(&bench, "tanh.approx.f32 %d, %a;", F32, &all, 2f64.powi(-11), 0.0, f64::tanh);
    check(&bench, "rsqrt.approx.f64 %d, %a;", F64, &numbers(F64), 2f64.powi(-50), 0.0, |x| 1.0 / x.sqrt());
    check(&bench, "rcp.approx.ftz.f64 %d, %a;", F64, &numbers(F64), 2f64.powi(-19), 0.0, |x| 1.0 / x);
    check(&bench, "rsqrt.approx.ftz.f64 %d, %a;", F64, &numbers(F64), 2f64.powi(-19), 0.0, |x| 1.0 / x.sqrt());
    for (f, name, ftz, bound) in [(F16, "f16", "", 2f64.powf(-9.9)), (BF16, "bf16", ".ftz", 2f64.powi(-7))] {
        let all = numbers(f);
        check(&bench, &format!("ex2.approx{ftz}.{name} %d, %a;"), f, &all, bound, 0.0, f64::exp2);
        check(&bench, &format!("tanh.approx.{name} %d, %a;"), f, &all, bound.max(2f64.powi(-8)), 0.0, f64::tanh);
        for op in [format!("ex2.approx{ftz}"), "tanh.approx".to_string()] {
            let one = bench.run(&format!("{op}.{name} %d, %a;"), 16, &[16], &all);
            let pairs: Vec<Inputs> = all.windows(2).map(|two| [two[0][0] | two[1][0] << 16, 0, 0]).collect();
            let both = bench.run(&format!("{op}.{name}x2 %d, %a;"), 32, &[32], &pairs);
            assert!(both.iter().zip(one.windows(2)).all(|(pair, two)| *pair == two[0] | two[1] << 16), "{op}.{name}x2");
        }
    }
}

#[test]
fn powers_of_two_are_exact() {
    let bench = Bench::new();
    let all: Vec<Inputs> = (-149..128).map(|n| [F32.near(f64::from(n)), 0, 0]).collect();
    bench.check("ex2.approx.f32 %d, %a;", Float(F32), &[32], &all, |[a, ..]| F32.near(F32.value(a).exp2()));
    let powers: Vec<Inputs> = (-149..128).map(|n| [F32.near(2f64.powi(n)), 0, 0]).collect();
    bench.check("lg2.approx.f32 %d, %a;", Float(F32), &[32], &powers, |[a, ..]| {
        (F32.value(a).log2() as f32).to_bits().into()
    });
}

#[test]
fn approximate_quotients() {
    let bench = Bench::new();
    let mut numbers = Numbers(13);
    let special = special(F32);
    let mut all: Vec<Inputs> = special.iter().flat_map(|&a| special.iter().map(move |&b| [a, b, 0])).collect();
    all.extend((0..20_000).map(|_| [numbers.float(F32), numbers.float(F32), 0]));
    for (text, ftz, full) in [
        ("div.approx.f32 %d, %a, %b;", false, false),
        ("div.approx.ftz.f32 %d, %a, %b;", true, false),
        ("div.full.f32 %d, %a, %b;", false, true),
        ("div.full.ftz.f32 %d, %a, %b;", true, true),
    ] {
        for (&[a, b, _], got) in all.iter().zip(bench.run(text, 32, &[32; 2], &all)) {
            let [x, y] = [a, b].map(|bits| f32::from_bits(if ftz { F32.flush(bits) } else { bits } as u32));
            let large = y.abs() > 2f32.powi(126) && y.is_finite() && !full;
            let want = match () {
                () if large && x.is_infinite() => f32::NAN,
                () if large && !x.is_nan() => 0.0,
                () => x / y,
            };
            let want = if ftz { f32::from_bits(F32.flush(want.to_bits().into()) as u32) } else { want };
            let got = f32::from_bits(got as u32);
            let apart = (i64::from(got.to_bits() & 0x7fff_ffff) - i64::from(want.to_bits() & 0x7fff_ffff)).abs();
            assert!(
                got.is_nan() && want.is_nan() || apart <= 2 && !got.is_nan(),
                "{text} of {x:e}, {y:e} is {got:e}, not {want:e}"
            );
        }
    }
}

#[test]
fn angles_of_any_size_have_a_sine() {
    let bench = Bench::new();
    let all: Vec<Inputs> = [1e6f32, 3e7, 1e20, f32::MAX, -1e10].map(|x| [x.to_bits().into(), 0, 0]).to_vec();
    for (text, f) in [("sin.approx.f32 %d, %a;", f64::sin as fn(f64) -> f64), ("cos.approx.f32 %d, %a;", f64::cos)] {
        check(&bench, text, F32, &all, 0.0, 2f64.powi(-20), f);
    }
    bench.check("sin.approx.f32 %d, %a;", Bits(32), &[32], &[[0x8000_0000, 0, 0], [0, 0, 0]], |[a, ..]| a);
    bench.check("sin.approx.ftz.f32 %d, %a;", Bits(32), &[32], &[[0x8000_0001, 0, 0]], |_| 0x8000_0000);
}
