//! The linear layer's kernels on the CPU.

use rayon::prelude::*;

use crate::device::cpu::gemm::{Panels, gemm, many_rows, scratch, strip_rows};
use crate::device::cpu::rows::{chunks_mut, column_sums, rows_per_task, store};
use crate::ops::activation::{gelu_erf, gelu_tanh, silu};
use crate::ops::matrix_tile;
use crate::params;

/// A product's right factor and the rows of its strips, if there are strips enough that each has its product, and what follows it, as one
/// task, while the sums are in the caches. If not, there is one product, of which columns are shared out, too.
fn strips(rows: usize, n: usize, k: usize, b: &[f32], strides: (usize, usize)) -> (Option<Panels>, usize) {
    match many_rows(rows) {
        true => (Some(Panels::new(n, k, b, strides)), strip_rows(rows)),
        false => (None, rows_per_task(n)),
    }
}

pub(super) fn fwd(
    p: &params::LinearFwd,
    [x, weight, bias, residual, gate]: [&[f32]; 5],
    [y, sums, branch]: [&mut [f32]; 3],
) {
    let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
    let identity = p.activation == params::LINEAR_IDENTITY;
    let columns = if p.activation == params::LINEAR_SWIGLU { 2 * outputs } else { outputs };
    let (panels, task) = strips(rows, columns, inputs, weight, (1, inputs));
    if panels.is_none() {
        let to = if identity { &mut *y } else { &mut *sums };
        if !bias.is_empty() {
            to.par_chunks_exact_mut(columns).with_min_len(16).for_each(|row| row.copy_from_slice(bias));
        }
        gemm(rows, columns, inputs, x, (inputs, 1), weight, (1, inputs), to, columns, !bias.is_empty());
    }

    let tasks = rows.div_ceil(task);
    let (sums, branch) = (chunks_mut(sums, task * columns, tasks), chunks_mut(branch, task * outputs, tasks));
    y.par_chunks_mut(task * outputs).zip(sums).zip(branch).enumerate().for_each(|(t, ((y, sums), branch))| {
        let (first, rows) = (t * task, y.len() / outputs);
        if let Some(panels) = &panels {
            let x = &x[first * inputs..][..rows * inputs];
            panels.product(x, if identity { &mut *y } else { &mut *sums }, bias, false);
        }
        match p.activation {
            params::LINEAR_IDENTITY => {}
            params::ACTIVATION_SILU => map(y, sums, |s| silu(s).0),
            params::ACTIVATION_GELU_ERF => map(y, sums, |s| gelu_erf(s).0),
            params::ACTIVATION_GELU_TANH => map(y, sums, |s| gelu_tanh(s).0),
            _ => y.chunks_exact_mut(outputs).zip(sums.chunks_exact(columns)).for_each(|(y, s)| swiglu_row(s, y)),
        }
        if !branch.is_empty() {
            branch.copy_from_slice(y);
        }
        if residual.is_empty() {
            return;
        }
        for (row, y) in (first..).zip(y.chunks_exact_mut(outputs)) {
            let x = &residual[row * outputs..][..outputs];
            let gate =
                if gate.is_empty() { gate } else { &gate[row / p.rows_per_gate as usize * outputs..][..outputs] };
            add_gated(x, gate, y);
        }
    });
}

fn map(y: &mut [f32], s: &[f32], f: impl Fn(f32) -> f32) {
    y.iter_mut().zip(s).for_each(|(y, &s)| *y = f(s));
}

/// A function of its own, like those below, whose arguments the compiler knows not to overlap: inlined it does not vectorise.
#[inline(never)]
fn swiglu_row(s: &[f32], y: &mut [f32]) {
    let (gate, value) = s.split_at(y.len());
    for ((y, &gate), value) in y.iter_mut().zip(gate).zip(value) {
        *y = silu(gate).0 * value;
    }
}

#[inline(never)]
fn add_gated(x: &[f32], gate: &[f32], y: &mut [f32]) {
    if gate.is_empty() {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    } else {
        y.iter_mut().zip(x).zip(gate).for_each(|((y, x), gate)| *y = x + gate * *y);
    }
}

pub(super) fn bwd_input(p: &params::LinearBwdInput, [dy, weight, sums, dresidual]: [&[f32]; 4], [dx]: [&mut [f32]; 1]) {
    let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
    let columns = if p.activation == params::LINEAR_SWIGLU { 2 * inputs } else { inputs };
    let identity = p.activation == params::LINEAR_IDENTITY;
    let (panels, task) = strips(rows, inputs, outputs, weight, (inputs, 1));
    // The product's gradient by f(s), of all rows if they are few, and else of a strip.
    let d_rows = if identity {
        0
    } else if panels.is_none() {
        rows
    } else {
        task
    };
    let mut few = scratch(if panels.is_none() { d_rows * inputs } else { 0 });
    if panels.is_none() {
        dx[..dresidual.len()].copy_from_slice(dresidual);
        let to = if identity { &mut *dx } else { &mut few[..] };
        gemm(rows, inputs, outputs, dy, (outputs, 1), weight, (inputs, 1), to, inputs, !dresidual.is_empty());
    }
    let few = &few;
    dx.par_chunks_mut(task * columns).enumerate().for_each(|(t, dx)| {
        let (first, rows) = (t * task, dx.len() / columns);
        let dy = &dy[first * outputs..][..rows * outputs];
        if identity {
            if let Some(panels) = &panels {
                if !dresidual.is_empty() {
                    dx.copy_from_slice(&dresidual[first * columns..][..dx.len()]);
                }
                panels.product(dy, dx, &[], !dresidual.is_empty());
            }
            return;
        }
        let mut strip = scratch(if panels.is_some() { d_rows * inputs } else { 0 });
        let d = match &panels {
            Some(panels) => {
                let strip = &mut strip[..rows * inputs];
                panels.product(dy, strip, &[], false);
                strip
            }
            None => &few[first * inputs..][..rows * inputs],
        };
        let sums = &sums[first * columns..][..dx.len()];
        match p.activation {
            params::ACTIVATION_SILU => through(sums, d, dx, silu),
            params::ACTIVATION_GELU_ERF => through(sums, d, dx, gelu_erf),
            params::ACTIVATION_GELU_TANH => through(sums, d, dx, gelu_tanh),
            _ => {
                let rows = sums.chunks_exact(columns).zip(d.chunks_exact(inputs));
                dx.chunks_exact_mut(columns).zip(rows).for_each(|(dx, (s, d))| through_swiglu(s, d, dx));
            }
        }
    });
}

fn through(s: &[f32], d: &[f32], dx: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    dx.iter_mut().zip(s).zip(d).for_each(|((dx, &s), d)| *dx = d * f(s).1);
}

#[inline(never)]
fn through_swiglu(s: &[f32], d: &[f32], dx: &mut [f32]) {
    let ((gate, value), (dgate, dvalue)) = (s.split_at(d.len()), dx.split_at_mut(d.len()));
    for ((((dgate, dvalue), &gate), value), d) in dgate.iter_mut().zip(dvalue).zip(gate).zip(value).zip(d) {
        let (f, slope) = silu(gate);
        *dgate = d * value * slope;
        *dvalue = d * f;
    }
}

/// The whole of it, whatever `blocks` is: no part is left to [`bwd_weight_sum`].
pub(super) fn bwd_weight(p: &params::LinearBwdWeight, [x, dy]: [&[f32]; 2], [dweight, dbias, _, _]: [&mut [f32]; 4]) {
    let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
    gemm(outputs, inputs, rows, dy, (1, outputs), x, (inputs, 1), dweight, inputs, false);
    if !dbias.is_empty() {
        store(dbias, &column_sums(dy, outputs));
    }
}

pub(super) fn bwd_weight_sum(
    p: &params::LinearBwdWeightSum,
    [partial, partial_bias]: [&[f32]; 2],
    [dweight, dbias]: [&mut [f32]; 2],
) {
    let shape = [p.tile_rows, p.tile_columns];
    let tiles = [p.outputs.div_ceil(p.tile_rows), p.inputs.div_ceil(p.tile_columns)];
    let rest = tiles[0] * tiles[1] % p.blocks;
    let share = (rest * p.slabs).div_ceil(p.blocks);
    for tile in 0..rest {
        let (first, last) = (tile * p.slabs / share, (tile * p.slabs + p.slabs - 1) / share);
        if first == last {
            continue;
        }
        let [row, column] = matrix_tile::place(tiles[0] * tiles[1] - rest + tile, tiles, shape);
        let columns = p.tile_columns.min(p.inputs - column) as usize;
        for r in 0..p.tile_rows.min(p.outputs - row) {
            let sum = |part: &[f32], at: usize, length: usize| -> f32 {
                (first..=last).map(|block| part[((block + tile) * p.tile_rows + r) as usize * length + at]).sum()
            };
            let to = &mut dweight[((row + r) * p.inputs + column) as usize..][..columns];
            to.iter_mut().enumerate().for_each(|(c, to)| *to = sum(partial, c, p.tile_columns as usize));
            if column == 0 && !dbias.is_empty() {
                dbias[(row + r) as usize] = sum(partial_bias, 0, 1);
            }
        }
    }
}

pub(super) fn bwd_bias(p: &params::LinearBwdBias, [dy]: [&[f32]; 1], [dbias]: [&mut [f32]; 1]) {
    store(dbias, &column_sums(dy, p.outputs as usize));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as blocks of `linear_bwd_weight` leave them, each holding the number of its slabs: sums must be all slabs of a tile, and tiles
    /// that one block has made whole must stay as they are.
    #[test]
    fn parts_of_a_tile_add_up() {
        const WHOLE: f32 = -1.0;
        for (blocks, slabs, [tiles_m, tiles_n]) in
            [(4, 9, [1, 1]), (3, 8, [2, 1]), (7, 5, [3, 3]), (4, 6, [3, 2]), (5, 4, [9, 2])]
        {
            let (tile_rows, tile_columns) = (3, 4);
            let (outputs, inputs) = (tile_rows * tiles_m - 1, tile_columns * tiles_n - 1);
            let p = params::LinearBwdWeightSum {
                inputs,
                outputs,
                blocks,
                slabs,
                tile_rows,
                tile_columns,
                ..Default::default()
            };
            let rest = tiles_m * tiles_n % blocks;
            let share = (rest * slabs).div_ceil(blocks);
            let slots = (blocks + rest) as usize;
            let (mut partial, mut partial_bias) = (vec![f32::NAN; slots * 12], vec![f32::NAN; slots * 3]);
            let mut makers = vec![0; rest as usize];
            for (block, tile) in (0..blocks).flat_map(|block| (0..rest).map(move |tile| (block, tile))) {
                let begin = (block * share).max(tile * slabs);
                let end = ((block + 1) * share).min((tile + 1) * slabs);
                if begin < end {
                    let slot = (block + tile) as usize;
                    assert!(partial_bias[slot * 3].is_nan(), "two parts have slot {slot}");
                    partial[slot * 12..][..12].fill((end - begin) as f32);
                    partial_bias[slot * 3..][..3].fill((end - begin) as f32);
                    makers[tile as usize] += 1;
                }
            }
            let (mut dweight, mut dbias) = (vec![WHOLE; (outputs * inputs) as usize], vec![WHOLE; outputs as usize]);
            bwd_weight_sum(&p, [&partial, &partial_bias], [&mut dweight, &mut dbias]);
            for tile in 0..tiles_m * tiles_n {
                let shared = tile.checked_sub(tiles_m * tiles_n - rest).is_some_and(|rest| makers[rest as usize] > 1);
                let want = if shared { slabs as f32 } else { WHOLE };
                let [row, column] = matrix_tile::place(tile, [tiles_m, tiles_n], [tile_rows, tile_columns]);
                for r in row..(row + tile_rows).min(outputs) {
                    let columns = column..(column + tile_columns).min(inputs);
                    assert!(
                        columns.clone().all(|c| dweight[(r * inputs + c) as usize] == want),
                        "{blocks} {slabs} {tile}"
                    );
                    assert!(column > 0 || dbias[r as usize] == want, "{blocks} {slabs} {tile}: bias");
                }
            }
        }
    }
}
