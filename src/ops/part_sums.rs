//! The second half of sums over rows: adds up the partial sums of a kernel's blocks.

use rayon::prelude::*;

use crate::device::cpu::rows::{add_up, chunks_mut, store};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const SUMS: Kernel<params::PartSums, 2, 2> = Kernel {
    name: "part_sums",
    reads: ["like", "sums"],
    writes: ["first", "second"],
    cpu: sums_cpu,
    cuda: Some(CudaKernel::new("part_sums", |p, _| Geometry {
        grid: [p.columns.div_ceil(params::PART_SUMS_COLUMNS), p.groups, 1],
        block: [params::PART_SUMS_BLOCK, 1, 1],
        shared_bytes: 0,
    })),
};

/// Adds up `sums` (groups, parts, values, columns), with one or two values, over the parts: into (groups, columns) tensors of the dtype of
/// `like`, each of them absent or not.
pub(super) fn add_parts(like: &Tensor, sums: &Tensor, to: [&mut Tensor; 2]) -> Result<()> {
    let [groups, parts, values, columns] = sums.dims::<4>("part_sums")?.map(|n| n as u32);
    sums.device().launch(
        &SUMS,
        params::PartSums { groups, parts, values, columns, ..Default::default() },
        [like, sums],
        to,
    )
}

fn sums_cpu(p: &params::PartSums, [_, sums]: [&[f32]; 2], [first, second]: [&mut [f32]; 2]) {
    let [groups, parts, values, columns] = [p.groups, p.parts, p.values, p.columns].map(|n| n as usize);
    let outputs = chunks_mut(first, columns, groups).into_par_iter().zip(chunks_mut(second, columns, groups));
    outputs.zip(sums.par_chunks(parts * values * columns)).for_each(|((first, second), sums)| {
        let totals = add_up(sums.chunks(values * columns), values * columns);
        store(first, &totals[..columns]);
        store(second, &totals[columns..]);
    });
}

pub(super) fn kernel() -> KernelInfo {
    SUMS.info()
}
