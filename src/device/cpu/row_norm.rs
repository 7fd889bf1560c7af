//! What layer norm and RMS norm share: rows normalised by their own statistics, then an affine map per column and a
//! modulation per batch entry, both optional (empty slices).
//!
//! With x̂ = (x − mean)·rstd: y = (x̂·weight + bias)·(1 + scale) + shift = x̂·a + c, where a = weight·(1 + scale) and
//! c = bias·(1 + scale) + shift are made once per task. RMS norm has mean 0 and no bias.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::{add_up, chunks_mut, rows_per_task, store, sum1, sum2};

/// The shape, and the parameters that forward and backward read.
pub struct RowNorm<'a> {
    /// Columns.
    pub cols: usize,
    /// Rows that share one row of `scale` and `shift`.
    pub rows_per_group: usize,
    /// (cols) or empty.
    pub weight: &'a [f32],
    /// (cols) or empty.
    pub bias: &'a [f32],
    /// (batch, cols) or empty.
    pub scale: &'a [f32],
    /// (batch, cols) or empty; backward does not need it.
    pub shift: &'a [f32],
}

/// A gated branch that joins the rows before they are normed; empty for none.
#[derive(Clone, Copy, Default)]
pub struct Join<'a> {
    /// (rows, cols)
    pub branch: &'a [f32],
    /// (groups, cols)
    pub gate: &'a [f32],
}

impl<'a> Join<'a> {
    /// A row of the branch and its gate.
    fn row(&self, row: usize, group: usize, cols: usize) -> (&'a [f32], &'a [f32]) {
        (&self.branch[row * cols..][..cols], &self.gate[group * cols..][..cols])
    }
}

/// What backward reads besides the parameters: `mean` is empty for RMS norm.
pub struct Saved<'a> {
    /// (rows, cols)
    pub x: &'a [f32],
    /// (rows) or empty.
    pub mean: &'a [f32],
    /// (rows)
    pub rstd: &'a [f32],
}

/// What [`RowNorm::parameter_gradients`] writes; each may be empty.
pub struct Gradients<'a> {
    /// (cols)
    pub dweight: &'a mut [f32],
    /// (cols)
    pub dbias: &'a mut [f32],
    /// (groups, cols)
    pub dscale: &'a mut [f32],
    /// (groups, cols)
    pub dshift: &'a mut [f32],
    /// (groups, cols)
    pub dgate: &'a mut [f32],
}

/// The next `len` elements, or none of a tensor that is empty from the beginning.
fn take_front<'a>(tensor: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let all = std::mem::take(tensor);
    let (front, rest) = all.split_at_mut(len.min(all.len()));
    *tensor = rest;
    front
}

impl RowNorm<'_> {
    /// Rows per task; no task spans two groups.
    fn task_rows(&self) -> usize {
        rows_per_task(self.cols).min(self.rows_per_group)
    }

    fn at(parameter: &[f32], i: usize, absent: f32) -> f32 {
        parameter.get(i).copied().unwrap_or(absent)
    }

    /// a and c of one entry of the batch.
    fn affine(&self, batch: usize) -> (Vec<f32>, Vec<f32>) {
        (0..self.cols)
            .map(|i| {
                let scale = 1.0 + Self::at(self.scale, batch * self.cols + i, 0.0);
                let shift = Self::at(self.shift, batch * self.cols + i, 0.0);
                (Self::at(self.weight, i, 1.0) * scale, Self::at(self.bias, i, 0.0) * scale + shift)
            })
            .unzip()
    }

    /// y, and the statistics of every row; an empty `mean` stands for RMS norm. With a branch those of x + gate·branch, which is `joined`.
    pub fn forward(
        &self,
        (x, join): (&[f32], Join),
        eps: f32,
        y: &mut [f32],
        [mean, rstd]: [&mut [f32]; 2],
        joined: &mut [f32],
    ) {
        let (cols, tasks, rows) = (self.cols, self.tasks(rstd.len()), rstd.len());
        let centred = !mean.is_empty();
        let statistics = self.cut(mean, 1, rows).into_iter().zip(self.cut(rstd, 1, rows));
        let outputs = self.cut(y, cols, rows).into_iter().zip(self.cut(joined, cols, rows)).zip(statistics);
        let work: Vec<_> = tasks.into_iter().zip(outputs).collect();
        work.into_par_iter().for_each(|((batch, first), ((y, joined), (mean, rstd)))| {
            let (a, c) = self.affine(batch);
            for (r, y) in y.chunks_exact_mut(cols).enumerate() {
                let mut x = &x[(first + r) * cols..][..cols];
                if !joined.is_empty() {
                    let (branch, gate) = join.row(first + r, batch, cols);
                    let sum = &mut joined[r * cols..][..cols];
                    for (((sum, x), branch), gate) in sum.iter_mut().zip(x).zip(branch).zip(gate) {
                        *sum = x + gate * branch;
                    }
                    x = sum;
                }
                let m = if centred { sum1(x, |x| x) / cols as f32 } else { 0.0 };
                let variance = sum1(x, |x| (x - m) * (x - m)) / cols as f32;
                let inverse = 1.0 / (variance + eps).sqrt();
                for (((y, x), a), c) in y.iter_mut().zip(x).zip(&a).zip(&c) {
                    *y = (x - m) * inverse * a + c;
                }
                rstd[r] = inverse;
                if centred {
                    mean[r] = m;
                }
            }
        });
    }

    /// (batch entry, first row) of every task over `rows` rows.
    fn tasks(&self, rows: usize) -> Vec<(usize, usize)> {
        let batches = 0..rows / self.rows_per_group;
        let firsts = |batch| (0..self.rows_per_group).step_by(self.task_rows()).map(move |r| (batch, r));
        batches.flat_map(firsts).map(|(batch, r)| (batch, batch * self.rows_per_group + r)).collect()
    }

    /// The rows of every task, of a tensor with `cols` columns.
    fn cut<'a>(&self, tensor: &'a mut [f32], cols: usize, rows: usize) -> Vec<&'a mut [f32]> {
        let batches = rows / self.rows_per_group;
        let per_batch = self.rows_per_group.div_ceil(self.task_rows());
        let cut = |batch| chunks_mut(batch, self.task_rows() * cols, per_batch);
        chunks_mut(tensor, self.rows_per_group * cols, batches).into_iter().flat_map(cut).collect()
    }

    /// dx, as [`RowNorm::backward_rows`] has it, and for each of `parts` equal parts of a group's rows, the last one shorter, its sums:
    /// (groups, parts, 2, cols). What is empty is left out. With a branch also dbranch = gate·dx, and third sums, of dx·branch.
    pub fn backward(
        &self,
        (saved, join): (&Saved, Join),
        [dy, dresidual]: [&[f32]; 2],
        parts: usize,
        mut dx: &mut [f32],
        sums: &mut [f32],
        mut dbranch: &mut [f32],
    ) {
        let (rows, per_group, cols) = (saved.rstd.len(), self.rows_per_group, self.cols);
        let (groups, per_part) = (rows / per_group, per_group.div_ceil(parts));
        let values = if dbranch.is_empty() { 2 } else { 3 };
        let work: Vec<_> = chunks_mut(sums, values * cols, groups * parts)
            .into_iter()
            .enumerate()
            .map(|(i, sums)| {
                let (group, part) = (i / parts, i % parts);
                let range = (part * per_part).min(per_group)..((part + 1) * per_part).min(per_group);
                let len = range.len() * cols;
                let of_part = (take_front(&mut dx, len), take_front(&mut dbranch, len));
                (group, group * per_group + range.start..group * per_group + range.end, of_part, sums)
            })
            .collect();
        work.into_par_iter().for_each(|(group, rows, (dx, dbranch), sums)| {
            sums.fill(0.0);
            let mut sums = sums.chunks_mut(cols);
            let [sum_dy, sum_dy_x, sum_dx_branch] = [(); 3].map(|()| sums.next().unwrap_or_default());
            self.backward_rows(saved, dy, group, rows.clone(), dx, [sum_dy, sum_dy_x]);
            if !dresidual.is_empty() {
                for (dx, more) in dx.iter_mut().zip(&dresidual[rows.start * cols..]) {
                    *dx += more;
                }
            }
            if dbranch.is_empty() {
                return;
            }
            for (row, (dx, dbranch)) in rows.zip(dx.chunks_exact(cols).zip(dbranch.chunks_exact_mut(cols))) {
                let (branch, gate) = join.row(row, group, cols);
                for ((dbranch, dx), gate) in dbranch.iter_mut().zip(dx).zip(gate) {
                    *dbranch = gate * dx;
                }
                for ((sum, dx), branch) in sum_dx_branch.iter_mut().zip(dx).zip(branch) {
                    *sum += dx * branch;
                }
            }
        });
    }

    /// The other gradients, from the sums that [`RowNorm::backward`] made. With A = Σ dy and D = Σ dy·x̂ over a group's rows:
    ///
    /// dshift = A, dscale = D·weight + A·bias, dweight = Σ over groups of (1 + scale)·D, dbias = Σ over groups of (1 + scale)·A. The third
    /// of `values` sums, where there is one, is dgate.
    pub fn parameter_gradients(&self, sums: &[f32], values: usize, groups: usize, to: Gradients) {
        let cols = self.cols;
        let total = |parts: &[f32]| add_up(parts.chunks(values * cols), values * cols);
        let totals: Vec<Vec<f64>> = sums.par_chunks(sums.len() / groups).map(total).collect();
        let (mut dweight, mut dbias) = (vec![0f64; cols], vec![0f64; cols]);
        let modulation = chunks_mut(to.dscale, cols, groups).into_iter().zip(chunks_mut(to.dshift, cols, groups));
        let outputs = modulation.zip(chunks_mut(to.dgate, cols, groups));
        for (group, (((dscale, dshift), dgate), totals)) in outputs.zip(&totals).enumerate() {
            let (a, rest) = totals.split_at(cols);
            let (d, of_branch) = rest.split_at(cols);
            store(dgate, of_branch);
            for i in 0..cols {
                let scale = 1.0 + f64::from(Self::at(self.scale, group * cols + i, 0.0));
                dweight[i] += scale * d[i];
                dbias[i] += scale * a[i];
            }
            for (i, dscale) in dscale.iter_mut().enumerate() {
                let (weight, bias) = (Self::at(self.weight, i, 1.0), Self::at(self.bias, i, 0.0));
                *dscale = (d[i] * f64::from(weight) + a[i] * f64::from(bias)) as f32;
            }
            store(dshift, a);
        }
        store(to.dweight, &dweight);
        store(to.dbias, &dbias);
    }

    /// dx = rstd·(dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂)) with dx̂ = dy·a, without its second term for RMS norm, of some rows of one
    /// group; and their sums A = Σ dy and D = Σ dy·x̂ are added to `sums`. What is empty is left out.
    fn backward_rows(
        &self,
        saved: &Saved,
        dy: &[f32],
        batch: usize,
        rows: Range<usize>,
        dx: &mut [f32],
        [sum_dy, sum_dy_x]: [&mut [f32]; 2],
    ) {
        let cols = self.cols;
        let (a, _) = self.affine(batch);
        let mut unit = vec![0f32; cols];
        let mut dunit = vec![0f32; cols];
        for (r, row) in rows.enumerate() {
            let (x, dy) = (&saved.x[row * cols..][..cols], &dy[row * cols..][..cols]);
            let (m, rstd) = (Self::at(saved.mean, row, 0.0), saved.rstd[row]);
            for (unit, x) in unit.iter_mut().zip(x) {
                *unit = (x - m) * rstd;
            }
            for (((sum_dy, sum_dy_x), dy), unit) in sum_dy.iter_mut().zip(sum_dy_x.iter_mut()).zip(dy).zip(&unit) {
                *sum_dy += dy;
                *sum_dy_x += dy * unit;
            }
            if dx.is_empty() {
                continue;
            }
            for ((dunit, dy), a) in dunit.iter_mut().zip(dy).zip(&a) {
                *dunit = dy * a;
            }
            let mean_dunit = if saved.mean.is_empty() { 0.0 } else { sum1(&dunit, |d| d) / cols as f32 };
            let mean_dunit_x = sum2(&dunit, &unit, |d, x| d * x) / cols as f32;
            for ((dx, dunit), unit) in dx[r * cols..][..cols].iter_mut().zip(&dunit).zip(&unit) {
                *dx = rstd * (dunit - mean_dunit - unit * mean_dunit_x);
            }
        }
    }
}
