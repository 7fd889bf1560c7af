//! Kernels that another compiler than nvcc made, Triton (`third_party/`), against definitions in f64, at shapes that fill no tile.

mod support;

use std::collections::HashMap;

use half::{bf16, f16};
use serde::Deserialize;
use softgpu::exec::launch::Config;
use softgpu::exec::program::LoadedModule;

/// The file beside a kernel's PTX.
#[derive(Deserialize)]
struct About {
    kernel: String,
    shared_bytes: u32,
    num_warps: u32,
    parameters: Vec<Parameter>,
    constants: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    kind: String,
}

/// An argument: numbers are rounded to what the parameter holds.
enum Arg<'a> {
    In(&'a [f64]),
    /// So many numbers, of which none is set.
    Out(usize),
    Int(usize),
    Float(f64),
}

impl About {
    fn constant(&self, name: &str) -> usize {
        self.constants[name].as_u64().expect("an integer constant") as usize
    }
}

fn about(name: &str) -> About {
    let path = support::folder("third_party").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn width(kind: &str) -> usize {
    match kind {
        "*fp16" | "*bf16" => 2,
        "*fp32" | "*i32" => 4,
        _ => panic!("'{kind}' is not a pointer that this test knows"),
    }
}

fn encode(kind: &str, value: f64) -> Vec<u8> {
    match kind {
        "*fp16" => f16::from_f64(value).to_le_bytes().to_vec(),
        "*bf16" => bf16::from_f64(value).to_le_bytes().to_vec(),
        "*fp32" => (value as f32).to_le_bytes().to_vec(),
        _ => (value as i32).to_le_bytes().to_vec(),
    }
}

fn decode(kind: &str, bytes: &[u8]) -> f64 {
    let two = || [bytes[0], bytes[1]];
    let four = || [bytes[0], bytes[1], bytes[2], bytes[3]];
    match kind {
        "*fp16" => f16::from_le_bytes(two()).to_f64(),
        "*bf16" => bf16::from_le_bytes(two()).to_f64(),
        "*fp32" => f32::from_le_bytes(four()).into(),
        _ => i32::from_le_bytes(four()).into(),
    }
}

/// Launches a kernel and returns all its buffers by name. Nothing may be found; outputs must be whole.
fn run(name: &str, grid: [u32; 3], seed: u64, args: &[(&str, Arg)]) -> HashMap<String, Vec<f64>> {
    let about = about(name);
    let ptx = std::fs::read_to_string(support::folder("third_party").join(format!("{name}.ptx")))
        .expect("PTX beside the JSON");
    let machine = support::machine(seed);
    let module = LoadedModule::load(&ptx, &machine.arena).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (mut values, mut buffers) = (vec![], vec![]);
    for Parameter { name: parameter, kind } in &about.parameters {
        let arg = args.iter().find(|(name, _)| name == parameter).map(|(_, arg)| arg);
        let mut buffer = |numbers: usize, content: Option<&[f64]>| {
            let address = machine.arena.allocate((numbers * width(kind)) as u64, parameter).expect("room for a buffer");
            if let Some(content) = content {
                let bytes: Vec<u8> = content.iter().flat_map(|&value| encode(kind, value)).collect();
                machine.arena.copy_in(address, &bytes).expect("a buffer");
            }
            buffers.push((parameter, kind, address, numbers));
            address
        };
        values.push(match (kind.as_str(), arg) {
            ("null", None) => 0,
            ("i32", Some(&Arg::Int(value))) => value as u64,
            ("fp32", Some(&Arg::Float(value))) => u64::from((value as f32).to_bits()),
            (_, Some(&Arg::In(content))) => buffer(content.len(), Some(content)),
            (_, Some(&Arg::Out(numbers))) => buffer(numbers, None),
            _ => panic!("{name}: no argument for {parameter}, which is {kind}"),
        });
    }
    let config =
        Config { grid, block: [about.num_warps * 32, 1, 1], shared_bytes: about.shared_bytes, cooperative: false };
    let outcome = support::run(&machine, &module, &about.kernel, &config, &values);
    let told: String = outcome.findings.iter().map(|finding| format!("\n    {finding}")).collect();
    assert!(outcome.findings.is_empty(), "{name}, seed {seed}:{told}");
    let read = |(parameter, kind, address, numbers): (&String, &String, u64, usize)| {
        let mut bytes = vec![0; numbers * width(kind)];
        let unwritten = machine.arena.copy_out(address, &mut bytes).expect("a buffer");
        assert_eq!(unwritten, 0, "{name}: bytes of {parameter} that nothing wrote");
        (parameter.clone(), bytes.chunks(width(kind)).map(|bytes| decode(kind, bytes)).collect())
    };
    buffers.into_iter().map(read).collect()
}

/// Numbers from -1 to 1 that a type of this name holds exactly.
fn numbers(kind: &str, seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..count).map(|_| decode(kind, &encode(kind, next()))).collect()
}

/// Each `value` is within `relative` of the expected one, plus `absolute`.
fn close(what: &str, values: &[f64], expected: &[f64], relative: f64, absolute: f64) {
    assert_eq!(values.len(), expected.len(), "{what}");
    for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
        let far = (value - expected).abs();
        // NaN is far.
        assert!(far <= relative * expected.abs() + absolute, "{what}[{at}] is {value}, not {expected}");
    }
}

/// Half a unit in the last place, with room for sums in another order.
const F16: f64 = 0.6 / 1024.0;
const BF16: f64 = 0.6 / 128.0;
const F32: f64 = 4e-6;

const SEEDS: u64 = 4;

#[test]
fn softmax() {
    let (rows, columns, stride) = (7, 781, 800);
    let x = numbers("*fp32", 1, rows * stride).into_iter().map(|v| v * 8.0).collect::<Vec<_>>();
    let mut y = vec![0.0; rows * columns];
    for row in 0..rows {
        let x = &x[row * stride..][..columns];
        let top = x.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = x.iter().map(|v| (v - top).exp()).sum();
        y[row * columns..][..columns].iter_mut().zip(x).for_each(|(y, x)| *y = (x - top).exp() / sum);
    }
    for seed in 0..SEEDS {
        let strides = [("stride_y", Arg::Int(columns)), ("stride_x", Arg::Int(stride)), ("columns", Arg::Int(columns))];
        let args = [("x", Arg::In(&x)), ("y", Arg::Out(rows * columns))].into_iter().chain(strides).collect::<Vec<_>>();
        let got = run("softmax", [rows as u32, 1, 1], seed, &args);
        close("y", &got["y"], &y, F32, 1e-12);
    }
}

/// Mean and reciprocal deviation of each row.
fn statistics(x: &[f64], columns: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
    let mean = |row: &[f64]| row.iter().sum::<f64>() / columns as f64;
    let rows = x.chunks(columns).map(|row| {
        let mu = mean(row);
        (mu, 1.0 / (row.iter().map(|v| (v - mu) * (v - mu)).sum::<f64>() / columns as f64 + eps).sqrt())
    });
    rows.unzip()
}

#[test]
fn layer_norm_forward() {
    let (rows, columns, eps) = (5, 600, 1e-5);
    let (x, weight, bias) =
        (numbers("*fp16", 2, rows * columns), numbers("*fp16", 3, columns), numbers("*fp16", 4, columns));
    let (mean, rstd) = statistics(&x, columns, eps);
    let at = |i: usize| (x[i] - mean[i / columns]) * rstd[i / columns] * weight[i % columns] + bias[i % columns];
    let y: Vec<f64> = (0..rows * columns).map(at).collect();
    for seed in 0..SEEDS {
        let got = run(
            "layer_norm_forward",
            [rows as u32, 1, 1],
            seed,
            &[
                ("y", Arg::Out(rows * columns)),
                ("x", Arg::In(&x)),
                ("weight", Arg::In(&weight)),
                ("bias", Arg::In(&bias)),
                ("mean", Arg::Out(rows)),
                ("rstd", Arg::Out(rows)),
                ("stride", Arg::Int(columns)),
                ("columns", Arg::Int(columns)),
                ("eps", Arg::Float(eps)),
            ],
        );
        close("mean", &got["mean"], &mean, F32, 1e-7);
        close("rstd", &got["rstd"], &rstd, F32, 0.0);
        close("y", &got["y"], &y, F16, 1e-6);
    }
}

#[test]
fn layer_norm_backward() {
    let (rows, columns, groups) = (10, 200, about("layer_norm_backward").constant("GROUPS"));
    let (x, dy, weight) =
        (numbers("*fp16", 5, rows * columns), numbers("*fp16", 6, rows * columns), numbers("*fp16", 7, columns));
    let (mean, rstd) = statistics(&x, columns, 1e-5);
    let round = |all: &[f64]| all.iter().map(|&v| decode("*fp32", &encode("*fp32", v))).collect::<Vec<_>>();
    let (mean, rstd) = (round(&mean), round(&rstd));
    let (mut dx, mut dweight, mut dbias) = (vec![0.0; rows * columns], vec![0.0; columns], vec![0.0; columns]);
    for row in 0..rows {
        let n = |i: usize| (x[row * columns + i] - mean[row]) * rstd[row];
        let g = |i: usize| weight[i] * dy[row * columns + i];
        let a = (0..columns).map(|i| n(i) * g(i)).sum::<f64>() / columns as f64;
        let b = (0..columns).map(g).sum::<f64>() / columns as f64;
        for i in 0..columns {
            dx[row * columns + i] = (g(i) - n(i) * a - b) * rstd[row];
            dweight[i] += dy[row * columns + i] * n(i);
            dbias[i] += dy[row * columns + i];
        }
    }
    let zeros = vec![0.0; 2 * groups];
    for seed in 0..SEEDS {
        let got = run(
            "layer_norm_backward",
            [rows as u32, 1, 1],
            seed,
            &[
                ("dx", Arg::Out(rows * columns)),
                ("dy", Arg::In(&dy)),
                ("dweight", Arg::Out(groups * columns)),
                ("dbias", Arg::Out(groups * columns)),
                ("x", Arg::In(&x)),
                ("weight", Arg::In(&weight)),
                ("mean", Arg::In(&mean)),
                ("rstd", Arg::In(&rstd)),
                ("locks", Arg::In(&zeros)),
                ("stride", Arg::Int(columns)),
                ("columns", Arg::Int(columns)),
            ],
        );
        close("dx", &got["dx"], &dx, F16, 1e-6);
        let blocks = columns.div_ceil(about("layer_norm_backward_sums").constant("BLOCK")) as u32;
        let sums = run(
            "layer_norm_backward_sums",
            [blocks, 1, 1],
            seed,
            &[
                ("dweight", Arg::Out(columns)),
                ("dbias", Arg::Out(columns)),
                ("dweight_groups", Arg::In(&got["dweight"])),
                ("dbias_groups", Arg::In(&got["dbias"])),
                ("groups", Arg::Int(groups)),
                ("columns", Arg::Int(columns)),
            ],
        );
        close("dweight", &sums["dweight"], &dweight, F32, 1e-5);
        close("dbias", &sums["dbias"], &dbias, F32, 1e-5);
    }
}

/// `c = a b` in tiles that end outside of the matrices; rows of b are longer than its columns.
fn product(name: &str, kind: &str, [m, n, k]: [usize; 3], relative: f64, inputs: f64) {
    let about = about(name);
    let stride = n.next_multiple_of(16);
    let (a, b) = (numbers(kind, 8, m * k), numbers(kind, 9, k * stride));
    let tiles = m.div_ceil(about.constant("BLOCK_M")) * n.div_ceil(about.constant("BLOCK_N"));
    for seed in 0..SEEDS {
        let got = run(
            name,
            [tiles as u32, 1, 1],
            seed,
            &[
                ("c", Arg::Out(m * n)),
                ("a", Arg::In(&a)),
                ("b", Arg::In(&b)),
                ("m", Arg::Int(m)),
                ("n", Arg::Int(n)),
                ("k", Arg::Int(k)),
                ("stride_a", Arg::Int(k)),
                ("stride_b", Arg::Int(stride)),
                ("stride_c", Arg::Int(n)),
            ],
        );
        for (at, value) in got["c"].iter().enumerate() {
            let terms = (0..k).map(|i| a[at / n * k + i] * b[i * stride + at % n]);
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size): (f64, f64), term| (sum + term, size + term.abs()));
            close(name, &[*value], &[sum], relative, size * inputs);
        }
    }
}

#[test]
fn matmul_f16() {
    product("matmul_f16", "*fp16", [70, 90, 144], F16, 1e-6);
}

#[test]
fn matmul_bf16() {
    product("matmul_bf16", "*bf16", [150, 70, 208], BF16, 1e-6);
}

/// Products of f32 go through TF32, which keeps 10 bits of what it is given.
#[test]
fn matmul_tf32() {
    product("matmul_f32", "*fp32", [33, 47, 80], F32, 2.0 / 1024.0);
}

fn attention(name: &str, kind: &str, [heads, queries, keys]: [usize; 3], relative: f64) {
    let about = about(name);
    let (head, causal) = (about.constant("HEAD"), about.constants["CAUSAL"] == true);
    let q = numbers(kind, 10, heads * queries * head);
    let (k, v) = (numbers(kind, 11, heads * keys * head), numbers(kind, 12, heads * keys * head));
    let scale = 0.3;
    let (mut out, mut lse) = (vec![], vec![]);
    for at in 0..heads * queries {
        let (first, seen) = (at / queries * keys, if causal { at % queries + 1 } else { keys });
        let score = |key: usize| (0..head).map(|d| q[at * head + d] * k[(first + key) * head + d]).sum::<f64>() * scale;
        let weights: Vec<f64> = (0..seen.min(keys)).map(|key| score(key).exp()).collect();
        let sum: f64 = weights.iter().sum();
        lse.push(sum.ln());
        let value =
            |d: usize| weights.iter().enumerate().map(|(key, w)| w / sum * v[(first + key) * head + d]).sum::<f64>();
        out.extend((0..head).map(value));
    }
    let grid = [queries.div_ceil(about.constant("BLOCK_M")) as u32, heads as u32, 1];
    for seed in 0..SEEDS {
        let got = run(
            name,
            grid,
            seed,
            &[
                ("out", Arg::Out(out.len())),
                ("lse", Arg::Out(lse.len())),
                ("q", Arg::In(&q)),
                ("k", Arg::In(&k)),
                ("v", Arg::In(&v)),
                ("scale", Arg::Float(scale)),
                ("queries", Arg::Int(queries)),
                ("keys", Arg::Int(keys)),
                ("stride_head_q", Arg::Int(queries * head)),
                ("stride_head_k", Arg::Int(keys * head)),
            ],
        );
        close("lse", &got["lse"], &lse, F32, 1e-5);
        // Weights are rounded before they are multiplied: an error of each, on values up to 1.
        close("out", &got["out"], &out, relative, relative);
    }
}

#[test]
fn attention_of_all_keys() {
    attention("attention", "*fp16", [2, 70, 90], F16);
}

#[test]
fn attention_of_earlier_keys() {
    attention("attention_causal", "*bf16", [2, 100, 100], BF16);
}

#[test]
fn scan_and_sort() {
    let (rows, columns) = (3, 201);
    let x = numbers("*fp32", 13, rows * columns);
    let (mut sums, mut order) = (vec![], x.clone());
    for row in x.chunks(columns) {
        sums.extend(row.iter().scan(0.0, |sum, v| {
            *sum += v;
            Some(*sum)
        }));
    }
    order.chunks_mut(columns).for_each(|row| row.sort_by(f64::total_cmp));
    for seed in 0..SEEDS {
        let got = run(
            "running_sums",
            [rows as u32, 1, 1],
            seed,
            &[
                ("sums", Arg::Out(x.len())),
                ("order", Arg::Out(x.len())),
                ("x", Arg::In(&x)),
                ("columns", Arg::Int(columns)),
            ],
        );
        close("sums", &got["sums"], &sums, F32, 1e-5);
        close("order", &got["order"], &order, 0.0, 0.0);
    }
}

/// Philox 4x32-10: the first word for a key of 64 bits and a counter of which one word is set. Source: Salmon et al., "Parallel random
/// numbers: as easy as 1, 2, 3" (2011).
fn philox(seed: u64, counter: u32) -> u32 {
    let (mut c, mut k) = ([counter, 0, 0, 0], [seed as u32, (seed >> 32) as u32]);
    for _ in 0..10 {
        let (a, b) = (0xd251_1f53u64 * u64::from(c[0]), 0xcd9e_8d57u64 * u64::from(c[2]));
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c[0]
}

#[test]
fn dropout() {
    let (n, p, key) = (1300, 0.25, 12345);
    let x = numbers("*fp32", 14, n);
    let uniform = |at: usize| {
        let word = philox(key, at as u32) as i32;
        f64::from(if word < 0 { -word - 1 } else { word }) * 4.656_612_734_2e-10
    };
    let y: Vec<f64> = (0..n).map(|at| if uniform(at) > p { x[at] / (1.0 - p) } else { 0.0 }).collect();
    assert!(y.iter().filter(|v| **v == 0.0).count() > n / 8, "the reference drops some");
    let blocks = n.div_ceil(about("dropout").constant("BLOCK")) as u32;
    for seed in 0..SEEDS {
        let got = run(
            "dropout",
            [blocks, 1, 1],
            seed,
            &[
                ("y", Arg::Out(n)),
                ("x", Arg::In(&x)),
                ("n", Arg::Int(n)),
                ("p", Arg::Float(p)),
                ("seed", Arg::Int(key as usize)),
            ],
        );
        close("y", &got["y"], &y, F32, 0.0);
    }
}
