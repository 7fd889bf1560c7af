//! Attention's kernels on the CPU.

use rayon::prelude::*;

use crate::device::cpu::attention::{Place, Saved, Shape, Target, backward, forward};
use crate::device::cpu::rows::sum2;
use crate::params;

/// Nothing is done to q and k.
fn plain(_: usize, _: usize, _: &mut [f32]) {}

pub fn fwd(p: &params::AttentionFwd, [q, k, v]: [&[f32]; 3], [out, logsumexp]: [&mut [f32]; 2]) {
    let [batch, queries, keys, heads, head_dim] = [p.batch, p.queries, p.keys, p.heads, p.head_dim].map(|n| n as usize);
    let (s, place) = (Shape { batch, queries, keys, heads, head_dim }, Place { stride: heads * head_dim, offset: 0 });
    let [out] = Target::places(s, out, [place], queries);
    forward(s, p.scale, [q, k, v].map(|x| (x, place)), plain, logsumexp, out);
}

pub fn delta(p: &params::AttentionDelta, [out, dout]: [&[f32]; 2], [delta]: [&mut [f32]; 1]) {
    let [queries, heads, d] = [p.queries, p.heads, p.head_dim].map(|n| n as usize);
    delta.par_chunks_mut(queries).enumerate().for_each(|(batch_head, delta)| {
        let (batch, head) = (batch_head / heads, batch_head % heads);
        for (row, delta) in delta.iter_mut().enumerate() {
            let at = ((batch * queries + row) * heads + head) * d;
            *delta = sum2(&dout[at..at + d], &out[at..at + d], |dout, out| dout * out);
        }
    });
}

pub fn bwd(
    p: &params::AttentionBwd,
    [q, k, v, _, logsumexp, delta, dout]: [&[f32]; 7],
    [dq, dk, dv, _]: [&mut [f32]; 4],
) {
    let [batch, queries, keys, heads, head_dim] = [p.batch, p.queries, p.keys, p.heads, p.head_dim].map(|n| n as usize);
    let (s, place) = (Shape { batch, queries, keys, heads, head_dim }, Place { stride: heads * head_dim, offset: 0 });
    let saved = Saved { inputs: [q, k, v].map(|x| (x, place)), logsumexp, delta, dout: (dout, place) };
    let [[dq], [dk], [dv]] =
        [(dq, queries), (dk, keys), (dv, keys)].map(|(x, rows)| Target::places(s, x, [place], rows));
    backward(s, p.scale, &saved, plain, plain, [dq, dk, dv]);
}

pub fn bwd_sum(p: &params::AttentionBwdSum, []: [&[f32]; 0], [dq, dq_parts]: [&mut [f32]; 2]) {
    let elements = p.elements as usize;
    for (i, dq) in dq.iter_mut().enumerate() {
        *dq = dq_parts.iter().skip(i).step_by(elements).sum();
    }
}
