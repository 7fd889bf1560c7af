//! Kernels (`language/`) that use PTX beyond straight code, against the same program on the host: functions, jumps through tables,
//! pointers into every memory, structs, vectors, and loops that lanes leave at different times. Also what is refused, and where.

mod support;

use softgpu::counters::Counters;
use softgpu::exec::launch::{Config, Machine};
use softgpu::exec::program::LoadedModule;

/// A module on its machine, and its buffers.
struct Bench {
    machine: Machine,
    module: LoadedModule,
}

impl Bench {
    fn new(ptx: &str, seed: u64) -> Bench {
        let machine = support::machine(seed);
        let module = LoadedModule::load(ptx, &machine.arena).unwrap_or_else(|error| panic!("{error}"));
        Bench { machine, module }
    }

    /// The kernels in CUDA C++.
    fn compiled(seed: u64) -> Bench {
        let path = support::folder("language").join("kernels.ptx");
        Bench::new(&std::fs::read_to_string(path).expect("the kernels"), seed)
    }

    fn allocate(&self, bytes: usize) -> u64 {
        self.machine.arena.allocate(bytes as u64, "data").expect("room")
    }

    fn upload(&self, values: &[[u8; 4]]) -> u64 {
        let address = self.allocate(values.len() * 4);
        self.machine.arena.copy_in(address, values.as_flattened()).expect("a buffer");
        address
    }

    fn ints(&self, values: &[i32]) -> u64 {
        self.upload(&values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    fn floats(&self, values: &[f32]) -> u64 {
        self.upload(&values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    fn download<const N: usize, T>(&self, address: u64, count: usize, of: fn([u8; N]) -> T) -> Vec<T> {
        let mut bytes = vec![0; N * count];
        self.machine.arena.copy_out(address, &mut bytes).expect("a buffer");
        bytes.chunks(N).map(|part| of(part.try_into().expect("as long"))).collect()
    }

    /// Runs a kernel, with parameters as their bytes.
    fn run(&self, kernel: &str, blocks: u32, threads: u32, params: &[&[u8]]) -> Counters {
        let program = &self.module.kernels[kernel];
        assert_eq!(program.params.len(), params.len(), "parameters of {kernel}");
        let mut bytes = vec![0; program.param_bytes as usize];
        for (param, value) in program.params.iter().zip(params) {
            assert_eq!(param.bytes as usize, value.len(), "a parameter of {kernel}");
            bytes[param.offset as usize..][..value.len()].copy_from_slice(value);
        }
        let config = Config { grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes: 0, cooperative: false };
        let outcome = softgpu::exec::launch::launch(&self.machine, program, &config, &bytes).expect("it launches");
        assert!(outcome.findings.is_empty(), "{}", outcome.findings[0]);
        outcome.counters
    }
}

const SEEDS: std::ops::Range<u64> = 0..3;

fn numbers(count: i32) -> Vec<i32> {
    (0..count).map(|n| n * 7919 % 401 + 1).collect()
}

#[test]
fn functions_are_called() {
    let (input, threads) = (numbers(64), 64i32);
    for seed in SEEDS {
        let bench = Bench::compiled(seed);
        let (out, blended, data) = (bench.allocate(256), bench.allocate(256), bench.ints(&input));
        bench.run("calls", 1, 64, &[&out.to_le_bytes(), &blended.to_le_bytes(), &data.to_le_bytes()]);
        let (mut ints, mut floats) = (vec![], vec![]);
        for i in 0..threads {
            // exchange() gives (i + 100, in[i]).
            let (a, b) = ((i + 100) as f32, input[i as usize] as f32);
            floats.push(0.25f32.mul_add(b - a, a));
            let mut trail = [0; 4];
            let n = if i % 3 == 0 {
                -1
            } else {
                trail[i as usize % 4] += i;
                trail[(i + 1) as usize % 4] += i + 1;
                i + 10 * (i + 1)
            };
            ints.push(n + 1000 * trail[i as usize % 4]);
        }
        assert_eq!(bench.download(out, 64, i32::from_le_bytes), ints);
        assert_eq!(bench.download(blended, 64, f32::from_le_bytes), floats);
    }
}

#[test]
fn every_lane_has_its_case() {
    let input = numbers(96);
    let case = |(i, &x): (usize, &i32)| match i % 9 {
        0 => x + 3,
        1 => x * 5,
        2 => x ^ 0x55,
        3 => x << 3,
        4 => -(x - 77),
        5 => -x,
        6 => x % 10,
        7 if x > 100 => 1,
        7 => x,
        _ => 12345,
    };
    let expected: Vec<i32> = input.iter().enumerate().map(case).collect();
    for seed in SEEDS {
        let bench = Bench::compiled(seed);
        let (out, data) = (bench.allocate(384), bench.ints(&input));
        bench.run("cases", 3, 32, &[&out.to_le_bytes(), &data.to_le_bytes()]);
        assert_eq!(bench.download(out, 96, i32::from_le_bytes), expected);
    }
}

#[test]
fn pointers_point_into_every_memory() {
    let input = numbers(64);
    let expected: Vec<i32> = (0..64)
        .map(|i| {
            let four = |at: usize| input[at..at + 4].iter().sum::<i32>();
            11 + match i % 4 {
                0 => four(i / 4 * 4),
                1 => four(i / 8 * 8),
                2 => 4 * input[i] + 6,
                _ => 2 + 3 + 5 + 7,
            }
        })
        .collect();
    for seed in SEEDS {
        let bench = Bench::compiled(seed);
        let (out, data) = (bench.allocate(256), bench.ints(&input));
        bench.run("spaces", 1, 64, &[&out.to_le_bytes(), &data.to_le_bytes()]);
        assert_eq!(bench.download(out, 64, i32::from_le_bytes), expected);
    }
}

#[test]
fn structs_are_arguments() {
    let bench = Bench::compiled(0);
    let (scale, small, tag, values) = (1.5f64, [3i16, -4, 5], 100u8, [0.5f32, 1.5, -2.5, 3.5, 4.5]);
    let mut wide = scale.to_le_bytes().to_vec();
    wide.extend(small.iter().flat_map(|v| v.to_le_bytes()));
    wide.extend([tag, 0]);
    wide.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    wide.resize(40, 0);
    let (out, pointed) = (bench.allocate(256), bench.upload(wide.as_chunks::<4>().0));
    bench.run("structs", 1, 32, &[&out.to_le_bytes(), &wide, &pointed.to_le_bytes()]);
    let expected: Vec<f64> = (0..32)
        .map(|i| {
            let by_value = scale * f64::from(small[i % 3]) + f64::from(values[i % 5]) + f64::from(tag);
            by_value + f64::from(values[i % 5] * f32::from(small[2]))
        })
        .collect();
    assert_eq!(bench.download(out, 32, f64::from_le_bytes), expected);
}

#[test]
fn vectors_of_every_width() {
    let bench = Bench::compiled(0);
    let input: Vec<f32> = (0..128).map(|n| n as f32 * 1.5 + 1.0).collect();
    let [wide, four, bytes, halves] = [512, 512, 128, 128].map(|bytes| bench.allocate(bytes));
    let data = bench.floats(&input);
    let params = [wide, four, bytes, halves, data].map(u64::to_le_bytes);
    bench.run("vectors", 1, 32, &params.each_ref().map(|bytes| &bytes[..]));
    let quads = input.chunks(4);
    let doubles: Vec<f64> = quads.clone().flat_map(|v| [f64::from(v[0] + v[1]), f64::from(v[2] + v[3])]).collect();
    assert_eq!(bench.download(wide, 64, f64::from_le_bytes), doubles);
    let turned: Vec<f32> = quads.clone().flat_map(|v| v.iter().rev().copied()).collect();
    assert_eq!(bench.download(four, 128, f32::from_le_bytes), turned);
    let small: Vec<u8> = input.iter().map(|&v| v as u8).collect();
    assert_eq!(bench.download(bytes, 128, u8::from_le_bytes), small);
    let pairs: Vec<i16> = quads.flat_map(|v| [v[0] as i16, -v[3] as i16]).collect();
    assert_eq!(bench.download(halves, 64, i16::from_le_bytes), pairs);
}

#[test]
fn lanes_leave_loops_and_meet_again() {
    let input = numbers(64);
    let steps = |mut x: i32| {
        let mut steps = 0;
        while x != 1 && steps < 200 {
            if x % 2 != 0 {
                x = 3 * x + 1;
                if x > 4000 {
                    continue;
                }
            } else {
                x /= 2;
            }
            steps += 1;
        }
        steps
    };
    let of = |i: usize| steps(input[i]);
    let expected: Vec<i32> = (0..50).map(|i| of(i) + if i < 32 { 1000 * of(i ^ 1) } else { 0 }).collect();
    for seed in SEEDS {
        let bench = Bench::compiled(seed);
        let (out, data) = (bench.allocate(256), bench.ints(&input));
        bench.run("loops", 1, 64, &[&out.to_le_bytes(), &data.to_le_bytes()]);
        assert_eq!(bench.download(out, 50, i32::from_le_bytes), expected);
    }
}

/// A kernel that stores %d of each of 64 threads; x is the thread's number.
fn kernel(body: &str) -> String {
    format!(
        ".version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 to) {{
    .reg .pred %p<4>;
    .reg .b32 %x, %d, %r<8>;
    .reg .b64 %l<4>;
    mov.u32 %x, %tid.x;
    mov.u32 %d, 0;
{body}
    ld.param.u64 %l0, [to];
    mad.wide.u32 %l0, %x, 4, %l0;
    st.global.u32 [%l0], %d;
    ret;
}}
"
    )
}

fn run(body: &str, seed: u64) -> Vec<u32> {
    let bench = Bench::new(&kernel(body), seed);
    let out = bench.allocate(256);
    bench.run("k", 1, 64, &[&out.to_le_bytes()]);
    bench.download(out, 64, u32::from_le_bytes)
}

/// As LLVM writes a switch.
const TABLE: &str = "
    rem.u32 %r1, %x, 5;
    setp.gt.u32 %p1, %x, 60;
$L_brx_0: .branchtargets
    $L_0,
    $L_1,
    $L_2,
    $L_1;
    setp.gt.u32 %p2, %r1, 3;
    @%p2 bra $L_3;
    @!%p1 brx.idx %r1, $L_brx_0;
    mov.u32 %d, 77;
    bra $L_3;
$L_0:
    add.u32 %d, %x, 100;
    bra $L_3;
$L_1:
    add.u32 %d, %x, 200;
    bra $L_3;
$L_2:
    add.u32 %d, %x, 300;
$L_3:
    activemask.b32 %r2;
    popc.b32 %r2, %r2;
    mad.lo.u32 %d, %r2, 1000, %d;";

#[test]
fn jumps_go_through_tables() {
    for seed in SEEDS {
        let expected: Vec<u32> = (0..64)
            .map(|x| {
                let d = match x % 5 {
                    4 => 0,
                    _ if x > 60 => 77,
                    0 => x + 100,
                    2 => x + 300,
                    _ => x + 200,
                };
                // All lanes have met again.
                d + 32_000
            })
            .collect();
        assert_eq!(run(TABLE, seed), expected);
    }
}

#[test]
fn a_jump_beyond_its_table_ends_the_launch() {
    let bench = Bench::new(&kernel(&TABLE.replace("%p2, %r1, 3", "%p2, %r1, 4")), 0);
    let (out, program) = (bench.allocate(256), &bench.module.kernels["k"]);
    let config = Config { grid: [1; 3], block: [64, 1, 1], shared_bytes: 0, cooperative: false };
    let outcome =
        softgpu::exec::launch::launch(&bench.machine, program, &config, &out.to_le_bytes()).expect("a launch");
    let fault = outcome.fault.expect("it ends");
    let line = kernel(TABLE).lines().position(|line| line.contains("brx.idx")).expect("the jump") + 1;
    assert_eq!((fault.message.as_str(), fault.ptx_line as usize), ("brx.idx with 4 of 4 targets", line));
}

#[test]
fn what_is_not_supported_is_refused_with_its_line() {
    let line_of = |body: &str| match LoadedModule::load(&kernel(body), &support::machine(0).arena) {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    for (body, message) in [
        ("    wgmma.fence.sync.aligned;", "unsupported instruction wgmma.fence.sync.aligned"),
        ("    add.f128 %d, %d, %d;", "unsupported instruction add.f128"),
        ("    tex.2d.v4.f32.s32 {%d, %d, %d, %d}, [t, {%x, %x}];", ""),
        ("    call (%d), %l0, (%x), proto;", ""),
        ("    mov.u32 %d, %nothing;", "unsupported special register %nothing"),
        ("    bra NOWHERE;", "there is no label 'NOWHERE'"),
        ("    brx.idx %x, NOWHERE;", "no '.branchtargets' before this is named 'NOWHERE'"),
        ("    add.u32 %d, %unknown, 1;", ""),
        ("    add.u64 %d, %l0, 1;", "a register of add.u64 does not have the width of U64"),
    ] {
        let error = line_of(body).unwrap_or_else(|| panic!("{body} loads"));
        assert!(error.starts_with("PTX line 10: ") && error.contains(message), "{body}: {error}");
    }
    let recursive = ".version 8.0\n.target sm_80\n.address_size 64\n.func f() {\n  call f;\n  ret;\n}\n.entry k() {\n  call f;\n  ret;\n}\n";
    let error = LoadedModule::load(recursive, &support::machine(0).arena).expect_err("it calls itself").to_string();
    assert!(error.starts_with("PTX line 5: "), "{error}");
}

#[test]
fn costs_are_counted() {
    let body = "
    .local .align 4 .b8 own[8];
    .reg .f32 %f<5>;
    st.local.u32 [own], %x;
    ld.local.u32 %r0, [own];
    bar.sync 0;
    bar.sync 1;
    mov.f32 %f0, 0f3F800000;
    fma.rn.f32 %f1, %f0, %f0, %f0;
    add.rn.f32 %f2, %f0, %f1;
    mov.f32 %f3, %f2;
    mov.f32 %f4, %f2;
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%x, %x, %x, %x}, {%x, %x}, {%f1, %f2, %f3, %f4};
    setp.lt.u32 %p0, %x, 40;
    @%p0 bra DONE;
    add.u32 %d, %d, 1;
DONE:";
    let bench = Bench::new(&kernel(body), 0);
    let out = bench.allocate(256);
    let counters = bench.run("k", 1, 64, &[&out.to_le_bytes()]);
    // Of two warps: a store and a load of 4 bytes by every lane, two barriers, a product of 16 x 8 x 16, and one branch that divides
    // the second warp.
    assert_eq!((counters.local_bytes, counters.barriers), (2 * 4 * 64, 4));
    assert_eq!((counters.tensor_flops, counters.fp32_flops), (2 * 2 * 16 * 8 * 16, 3 * 64));
    assert_eq!((counters.divergent_branches, counters.global_store_bytes), (1, 256));
}

#[test]
fn names_live_in_their_scopes() {
    // Inline assembly has registers without '%', and labels of its own; hexadecimal literals are unsigned.
    let body = "
    {
    .reg .u32 t;
    .reg .pred p;
    mov.u32 t, 0xFFFFFFF0U;
    add.u32 t, t, %x;
    setp.lt.u32 p, %x, 16;
    @p bra LABEL;
    mov.u32 t, 5;
LABEL:
    add.u32 %d, t, 1;
    }
    {
    .reg .u32 t;
    mov.u32 t, 7;
    setp.ne.u32 %p0, %x, 20;
    @%p0 bra LABEL;
    add.u32 %d, %d, t;
LABEL:
    }";
    let expected: Vec<u32> = (0..64u32)
        .map(|x| if x < 16 { 0xffff_fff1u32.wrapping_add(x) } else { 6 + if x == 20 { 7 } else { 0 } })
        .collect();
    assert_eq!(run(body, 0), expected);
}
