//! Instructions by which threads of a warp and of a block learn of each other, where not all of them take part.

use super::harness::{Bench, Inputs, Numbers};

fn lanes() -> Vec<Inputs> {
    let mut numbers = Numbers(41);
    (0..256).map(|n| [numbers.next(), numbers.next() >> 40, n]).collect()
}

/// Compares with a function of a warp's inputs and a lane.
fn check(bench: &Bench, body: &str, d: u32, sources: &[u32], f: impl Fn(&[Inputs], usize) -> u64) {
    let all = lanes();
    let got = bench.run(body, d, sources, &all);
    for (warp, (inputs, got)) in all.chunks(32).zip(got.chunks(32)).enumerate() {
        for lane in 0..32 {
            assert_eq!(got[lane], f(inputs, lane), "warp {warp}, lane {lane}: {body}");
        }
    }
}

/// Lanes 3 to 19 take a way of their own.
const MEMBERS: u32 = 0x000f_fff8;

fn apart(inside: &str, outside: &str) -> String {
    format!(
        "and.b32 %w4, %w0, 31;
    mov.u32 %w5, {MEMBERS};
    shr.u32 %w5, %w5, %w4;
    and.b32 %w5, %w5, 1;
    setp.ne.u32 %q, %w5, 0;
    setp.gt.s32 %r, %a, 0;
    @!%q bra OUTSIDE;
    {inside}
    bra END;
OUTSIDE:
    {outside}
END:"
    )
}

fn is_member(lane: usize) -> bool {
    MEMBERS >> lane & 1 == 1
}

#[test]
fn votes_are_of_the_members() {
    let bench = Bench::new();
    let (own, others) = (format!("{MEMBERS:#x}"), format!("{:#x}", !MEMBERS));
    let ballot = |inputs: &[Inputs], of: bool| {
        (0..32).filter(|&l| is_member(l) == of && inputs[l][0] as i32 > 0).fold(0u64, |all, l| all | 1 << l)
    };
    let both = |op: &str| apart(&format!("{op} %d, %r, {own};"), &format!("{op} %d, %r, {others};"));
    check(&bench, &both("vote.sync.ballot.b32"), 32, &[32], |inputs, lane| ballot(inputs, is_member(lane)));
    let members = |lane| if is_member(lane) { MEMBERS } else { !MEMBERS };
    check(&bench, &both("vote.sync.any.pred"), 1, &[32], |inputs, lane| (ballot(inputs, is_member(lane)) != 0).into());
    check(&bench, &both("vote.sync.all.pred"), 1, &[32], |inputs, lane| {
        (ballot(inputs, is_member(lane)) == u64::from(members(lane))).into()
    });
    check(&bench, &apart("activemask.b32 %d;", "activemask.b32 %d;"), 32, &[32], |_, lane| members(lane).into());
    let elect = format!("elect.sync %d|%r, {MEMBERS:#x}; selp.b32 %w6, 64, 0, %r; add.u32 %d, %d, %w6;");
    check(&bench, &apart(&elect, "mov.b32 %d, 0;"), 32, &[32], |_, lane| match lane {
        3 => 3 + 64,
        _ if is_member(lane) => 3,
        _ => 0,
    });
}

#[test]
fn matches_and_reductions_are_of_the_members() {
    let bench = Bench::new();
    let (own, others) = (format!("{MEMBERS:#x}"), format!("{:#x}", !MEMBERS));
    let masked = "and.b32 %w6, %a, 3;";
    let both =
        |op: &str| apart(&format!("{masked} {op} %d, %w6, {own};"), &format!("{masked} {op} %d, %w6, {others};"));
    check(&bench, &both("match.any.sync.b32"), 32, &[32], |inputs, lane| {
        let same = |l: &usize| is_member(*l) == is_member(lane) && inputs[*l][0] & 3 == inputs[lane][0] & 3;
        (0..32).filter(same).fold(0, |all, l| all | 1 << l)
    });
    type Fold = fn(u32, u32) -> u32;
    let reductions: [(&str, Fold); 9] = [
        ("add.u32", u32::wrapping_add),
        ("add.s32", u32::wrapping_add),
        ("min.u32", u32::min),
        ("max.u32", u32::max),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
    ];
    for (op, f) in reductions {
        let body = apart(&format!("redux.sync.{op} %d, %a, {own};"), &format!("redux.sync.{op} %d, %a, {others};"));
        check(&bench, &body, 32, &[32], |inputs, lane| {
            let members = (0..32).filter(|&l| is_member(l) == is_member(lane));
            members.map(|l| inputs[l][0] as u32).reduce(f).expect("some").into()
        });
    }
}

#[test]
fn shuffles_stay_in_their_segments() {
    let bench = Bench::new();
    // The lane read, and whether that was in range, by the definition's own steps.
    let source = |mode: &str, lane: usize, b: usize, c: usize| {
        let (clamp, segments) = (c & 31, c >> 8 & 31);
        let (highest, lowest) = (lane & segments | clamp & !segments & 31, lane & segments);
        let (from, inside) = match mode {
            "up" => (lane as i32 - b as i32, lane as i32 - b as i32 >= highest as i32),
            "down" => ((lane + b) as i32, lane + b <= highest),
            "bfly" => ((lane ^ b) as i32, lane ^ b <= highest),
            _ => ((lowest | b & !segments & 31) as i32, lowest | b & !segments & 31 <= highest),
        };
        (if inside { from as usize } else { lane }, inside)
    };
    for mode in ["up", "down", "bfly", "idx"] {
        for width in [32usize, 16, 8, 4] {
            let segments = 32 - width;
            let c = if mode == "up" { segments << 8 } else { segments << 8 | 31 };
            for b in [0, 1, 2, 3, 5, 16, 31] {
                let body = format!(
                    "shfl.sync.{mode}.b32 %w6|%q, %a, {b}, {c}, 0xffffffff; selp.b32 %w7, 1, 0, %q; mov.b64 %d, {{%w6, %w7}};"
                );
                check(&bench, &body, 64, &[32], |inputs, lane| {
                    let (from, inside) = source(mode, lane, b, c);
                    inputs[from][0] & 0xffff_ffff | u64::from(inside) << 32
                });
            }
        }
    }
    // Lanes may ask for different ones, and only members answer.
    let inside = format!("and.b32 %w6, %b, 15; add.u32 %w6, %w6, 3; shfl.sync.idx.b32 %d, %a, %w6, 31, {MEMBERS:#x};");
    check(&bench, &apart(&inside, "mov.b32 %d, 0;"), 32, &[32; 2], |inputs, lane| {
        if is_member(lane) { inputs[3 + (inputs[lane][1] & 15) as usize][0] & 0xffff_ffff } else { 0 }
    });
}

#[test]
fn barriers_reduce() {
    let bench = Bench::new();
    let all = lanes();
    let predicate = "setp.gt.s32 %r, %a, 0;";
    for (op, d) in [("popc.u32", 32), ("and.pred", 1), ("or.pred", 1)] {
        for (threads, barrier) in [(128, "1".to_string()), (64, "%w6, 64".to_string())] {
            // The first two warps at barrier 2, the last two at 3.
            let select = "and.b32 %w6, %w0, 127; shr.u32 %w6, %w6, 6; add.u32 %w6, %w6, 2;";
            let body = format!("{predicate} {select} bar.red.{op} %d, {barrier}, %r;");
            for (inputs, got) in all.chunks(threads).zip(bench.run(&body, d, &[32], &all).chunks(threads)) {
                let votes = inputs.iter().filter(|input| input[0] as i32 > 0).count();
                let expected = match op {
                    "popc.u32" => votes as u64,
                    "and.pred" => (votes == threads).into(),
                    _ => (votes > 0).into(),
                };
                assert!(got.iter().all(|&got| got == expected), "bar.red.{op} of {threads}: {got:?}, not {expected}");
            }
        }
    }
}

#[test]
fn a_producer_arrives_and_a_consumer_waits() {
    let bench = Bench::new();
    let all = lanes();
    // The second half of a block reads what the first one writes, which does not wait for it.
    let body = ".shared .align 8 .b64 buffer[64];
    .reg .b64 %at;
    and.b32 %w4, %w0, 127;
    and.b32 %w5, %w4, 63;
    mov.u64 %at, buffer;
    mad.wide.u32 %at, %w5, 8, %at;
    setp.lt.u32 %q, %w4, 64;
    @!%q bra CONSUME;
    st.shared.b64 [%at], %a;
    bar.arrive 4, 128;
    mov.b64 %d, 0;
    bra END;
CONSUME:
    bar.sync 4, 128;
    ld.shared.b64 %d, [%at];
END:";
    for (inputs, got) in all.chunks(128).zip(bench.run(body, 64, &[64], &all).chunks(128)) {
        for n in 0..128 {
            assert_eq!(got[n], if n < 64 { 0 } else { inputs[n - 64][0] });
        }
    }
}
