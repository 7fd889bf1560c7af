//! mma, ldmatrix, stmatrix and movmatrix: where each element of a matrix lies, from the tables of PTX.
//!
//! Source: PTX ISA 9.0, section 9.7.14.5, "Matrix multiply-accumulate operation using mma instruction" and "Warp-level matrix load and
//! store instructions". Elements of products are small integers, which every type holds and whose sums are exact; how sums are rounded
//! is for `tests/hardware`.

use half::{bf16, f16};

use super::harness::{Bench, Inputs, Numbers};

/// Rows of A and D, columns of B and D.
const M: usize = 16;
const N: usize = 8;

/// A type of elements: its name, its bits, and how it holds an integer.
#[derive(Clone, Copy)]
struct Element {
    name: &'static str,
    bits: usize,
    encode: fn(i64) -> u32,
    decode: fn(u32) -> f64,
}

const F32: Element =
    Element { name: "f32", bits: 32, encode: |v| (v as f32).to_bits(), decode: |word| f32::from_bits(word).into() };
const F16: Element = Element {
    name: "f16",
    bits: 16,
    encode: |v| f16::from_f64(v as f64).to_bits().into(),
    decode: |word| f16::from_bits(word as u16).into(),
};
const BF16: Element = Element { name: "bf16", encode: |v| bf16::from_f64(v as f64).to_bits().into(), ..F16 };
const TF32: Element = Element { name: "tf32", ..F32 };
const S32: Element = Element { name: "s32", bits: 32, encode: |v| v as u32, decode: |word| (word as i32).into() };
const S8: Element = Element { name: "s8", bits: 8, encode: |v| v as u8 as u32, decode: |_| 0.0 };
const U8: Element = Element { name: "u8", ..S8 };

/// k, D and C, A, B: all that there is.
const PRODUCTS: [(usize, Element, Element, Element); 13] = [
    (16, F32, BF16, BF16),
    (8, F32, BF16, BF16),
    (16, F32, F16, F16),
    (8, F32, F16, F16),
    (16, F16, F16, F16),
    (8, F16, F16, F16),
    (8, F32, TF32, TF32),
    (4, F32, TF32, TF32),
    (32, S32, S8, S8),
    (32, S32, U8, S8),
    (32, S32, S8, U8),
    (32, S32, U8, U8),
    (16, S32, S8, S8),
];

/// Registers of 32 bits that hold a matrix's elements of a lane: element `n` of register `r` is at `place(r, n)`.
fn fragment(element: Element, registers: usize, place: impl Fn(usize, usize) -> i64) -> Vec<u32> {
    let per_word = 32 / element.bits;
    let word = |r: usize| (0..per_word).fold(0, |word, n| word | (element.encode)(place(r, n)) << (n * element.bits));
    (0..registers).map(word).collect()
}

#[test]
fn products_of_matrices() {
    let (bench, mut numbers) = (Bench::new(), Numbers(31));
    for (k, result, left, right) in PRODUCTS {
        // Even the largest sums are below 2^11, which f16 holds.
        let mut matrix = |element: Element, rows: usize, columns: usize| -> Vec<Vec<i64>> {
            let low = if element.name == "u8" { 0 } else { -7 };
            let size = if element.name == "u8" { 200 } else { 15 };
            (0..rows).map(|_| (0..columns).map(|_| low + (numbers.next() >> 20) as i64 % size).collect()).collect()
        };
        let (a, b, c) = (matrix(left, M, k), matrix(right, k, N), matrix(result, M, N));
        let (a_words, b_words) = (M * k * left.bits / 1024, N * k * right.bits / 1024);
        let d_words = M * N * result.bits / 1024;
        let (a_per, b_per, d_per) = (32 / left.bits, 32 / right.bits, 32 / result.bits);
        // Row and column of D and C: element n of register r.
        let place = |lane: usize, r: usize, n: usize| {
            let at = r * d_per + n;
            (lane / 4 + 8 * (at / 2), lane % 4 * 2 + at % 2)
        };
        let mut input = vec![];
        for lane in 0..32 {
            let (group, within) = (lane / 4, lane % 4);
            input.extend(fragment(left, a_words, |r, n| a[group + 8 * (r % 2)][(within + 4 * (r / 2)) * a_per + n]));
            input.extend(fragment(right, b_words, |r, n| b[(within + 4 * r) * b_per + n][group]));
            input.extend(fragment(result, d_words, |r, n| {
                let (row, column) = place(lane, r, n);
                c[row][column]
            }));
        }
        let registers = |name: &str, count: usize| (0..count).map(|n| format!("%{name}{n}")).collect::<Vec<_>>();
        let all = [registers("a", a_words), registers("b", b_words), registers("c", d_words)];
        let load: String = all
            .iter()
            .flatten()
            .zip(0..)
            .map(|(register, n)| format!("ld.global.b32 {register}, [%l0+{}];\n", 4 * n))
            .collect();
        let [a_list, b_list, c_list] = all.each_ref().map(|names| names.join(", "));
        let d = registers("d", d_words);
        let store: String =
            d.iter().zip(0..).map(|(register, n)| format!("st.global.b32 [%l1+{}], {register};\n", 4 * n)).collect();
        let types = [result, left, right, result].map(|element| element.name).join(".");
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64
            .visible .entry k(.param .u64 from, .param .u64 to, .param .u32 count) {{
            .reg .b32 %a<8>, %b<8>, %c<8>, %d<8>, %lane; .reg .b64 %l<4>;
            ld.param.u64 %l0, [from]; ld.param.u64 %l1, [to]; mov.u32 %lane, %tid.x;
            mad.wide.u32 %l0, %lane, {}, %l0; mad.wide.u32 %l1, %lane, {}, %l1;
            {load}
            mma.sync.aligned.m16n8k{k}.row.col.{types} {{{}}}, {{{a_list}}}, {{{b_list}}}, {{{c_list}}};
            {store} ret; }}",
            4 * (a_words + b_words + d_words),
            4 * d_words,
            d.join(", "),
        );
        let bytes: Vec<u8> = input.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let out = bench.launch(&text, [1, 32], &bytes, 32 * d_words * 4, 0);
        for lane in 0..32 {
            for (r, n) in (0..d_words).flat_map(|r| (0..d_per).map(move |n| (r, n))) {
                let (row, column) = place(lane, r, n);
                let expected: i64 = (0..k).map(|k| a[row][k] * b[k][column]).sum::<i64>() + c[row][column];
                let at = 4 * (lane * d_words + r);
                let word = u32::from_le_bytes(out[at..at + 4].try_into().expect("4 bytes"));
                let got = (result.decode)(word >> (n * result.bits));
                assert_eq!(got, expected as f64, "m16n8k{k}.{types}: D[{row}, {column}]");
            }
        }
    }
}

/// A tile of 32 rows of 16 bytes for each warp, of which lane `l` has the row's words in a and b; the address of the row of lane
/// 5·l + 3 is in %w5: every lane gives another one.
const TILE: &str = ".shared .align 16 .b8 tile[2048]; .reg .b32 %at; .reg .b32 %x<4>;
    and.b32 %w4, %w0, 127;
    mov.u32 %at, tile;
    mad.lo.u32 %w5, %w4, 16, %at;
    mov.u32 %w6, %w5;
    and.b32 %w3, %w0, 31;
    sub.u32 %w4, %w4, %w3;
    mad.lo.u32 %w3, %w3, 5, 3;
    and.b32 %w3, %w3, 31;
    add.u32 %w4, %w4, %w3;
    mad.lo.u32 %w5, %w4, 16, %at;";

fn rows() -> Vec<Inputs> {
    let mut numbers = Numbers(32);
    (0..128).map(|_| [numbers.next(), numbers.next(), 0]).collect()
}

/// Element `column` of the row that a lane has.
fn element(rows: &[Inputs], lane: usize, column: usize) -> u64 {
    rows[lane][column / 4] >> (16 * (column % 4)) & 0xffff
}

/// The row whose address lane `l` gives.
fn addressed(lane: usize) -> usize {
    (5 * lane + 3) % 32
}

/// Row and column of element `n` in a lane's register.
fn held(lane: usize, n: usize, transposed: bool) -> (usize, usize) {
    let (row, column) = (lane / 4, 2 * (lane % 4) + n);
    if transposed { (column, row) } else { (row, column) }
}

#[test]
fn matrices_are_loaded() {
    let (bench, all) = (Bench::new(), rows());
    for (count, suffix) in [(1, ""), (2, ""), (4, ""), (1, ".trans"), (2, ".trans"), (4, ".trans")] {
        let registers = ["%x0", "%x1", "%x2", "%x3"][..count].join(", ");
        for matrix in 0..count {
            let body = format!(
                "{TILE} st.shared.v2.b64 [%w6], {{%a, %b}}; bar.warp.sync 0xffffffff;
                ldmatrix.sync.aligned.m8n8.x{count}{suffix}.shared.b16 {{{registers}}}, [%w5]; mov.b32 %d, %x{matrix};"
            );
            for (warp, (rows, got)) in all.chunks(32).zip(bench.run(&body, 32, &[64; 2], &all).chunks(32)).enumerate() {
                for lane in 0..32 {
                    let [low, high] = [0, 1].map(|n| {
                        let (row, column) = held(lane, n, !suffix.is_empty());
                        element(rows, addressed(8 * matrix + row), column)
                    });
                    assert_eq!(
                        got[lane],
                        low | high << 16,
                        "x{count}{suffix}, matrix {matrix}, warp {warp}, lane {lane}"
                    );
                }
            }
        }
    }
}

#[test]
fn matrices_are_stored() {
    let (bench, all) = (Bench::new(), rows());
    for (count, suffix) in [(1, ""), (2, ""), (4, ""), (1, ".trans"), (2, ".trans"), (4, ".trans")] {
        let registers = ["%x0", "%x1", "%x2", "%x3"][..count].join(", ");
        for half in 0..2 {
            let body = format!(
                "{TILE} st.shared.v2.b64 [%w6], {{%b, %a}}; mov.b64 {{%x0, %x1}}, %a; mov.b64 {{%x2, %x3}}, %b;
                bar.warp.sync 0xffffffff;
                stmatrix.sync.aligned.m8n8.x{count}{suffix}.shared.b16 [%w5], {{{registers}}};
                bar.warp.sync 0xffffffff; ld.shared.b64 %d, [%w6+{}];",
                8 * half
            );
            for (lanes, got) in all.chunks(32).zip(bench.run(&body, 64, &[64; 2], &all).chunks(32)) {
                // Rows as they were, and then the elements of every register.
                let mut tile: Vec<[u64; 8]> = lanes
                    .iter()
                    .map(|[a, b, _]| std::array::from_fn(|n| [b, a][n / 4] >> (16 * (n % 4)) & 0xffff))
                    .collect();
                for (matrix, lane, n) in (0..count * 64).map(|at| (at / 64, at / 2 % 32, at % 2)) {
                    let (row, column) = held(lane, n, !suffix.is_empty());
                    tile[addressed(8 * matrix + row)][column] = element(lanes, lane, 2 * matrix + n);
                }
                for lane in 0..32 {
                    let expected = (0..4).fold(0, |word, n| word | tile[lane][4 * half + n] << (16 * n));
                    assert_eq!(got[lane], expected, "x{count}{suffix}, row {lane}");
                }
            }
        }
    }
}

#[test]
fn matrices_are_transposed_in_registers() {
    let (bench, all) = (Bench::new(), rows());
    let got = bench.run("movmatrix.sync.aligned.m8n8.trans.b16 %d, %a;", 32, &[32], &all);
    for (lanes, got) in all.chunks(32).zip(got.chunks(32)) {
        let mut matrix = [[0; 8]; 8];
        for (lane, n) in (0..64).map(|at| (at / 2, at % 2)) {
            let (row, column) = held(lane, n, false);
            matrix[row][column] = element(lanes, lane, n);
        }
        for lane in 0..32 {
            let [low, high] = [0, 1].map(|n| {
                let (row, column) = held(lane, n, true);
                matrix[row][column]
            });
            assert_eq!(got[lane], low | high << 16, "lane {lane}");
        }
    }
}

#[test]
fn what_is_no_product_is_refused() {
    let bench = Bench::new();
    let body = |shape: &str| {
        format!(
            ".reg .b32 %x<9>; mma.sync.aligned.{shape} {{%x0, %x1, %x2, %x3}}, {{%x4, %x5}}, {{%x6}}, {{%x0, %x1, %x2, %x3}};"
        )
    };
    assert!(bench.loads(&format!("{} mov.b32 %d, 0;", body("m16n8k8.row.col.f32.f16.f16.f32")), 32, &[]));
    for shape in
        ["m16n8k8.row.col.f32.f16.bf16.f32", "m16n8k8.col.row.f32.f16.f16.f32", "m8n8k4.row.col.f32.f16.f16.f32"]
    {
        assert!(!bench.loads(&format!("{} mov.b32 %d, 0;", body(shape)), 32, &[]), "{shape}");
    }
}
