//! One launch over a list of tensors: what would be a launch for each parameter of a model is one for all of them.

use bytemuck::Pod;

use super::launch::{Launch, moved};
use super::{Backend, Device, Geometry, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A kernel over groups of tensors, f32 but for what is only written.
///
/// `P` begins with the addresses of the `S` tensors that all groups share and of the `T` totals; then follow `R + W` arrays of as many
/// addresses as one launch takes groups, the arrays of their `count`s and `first_block`s, and the number of groups (`tensors`) and of
/// the first block's part (`first_part`). Other scalars follow.
pub struct ListKernel<P, const S: usize, const T: usize, const R: usize, const W: usize> {
    /// As of a [`Kernel`](super::Kernel).
    pub name: &'static str,
    /// The tensors that all groups read, by the names of the struct's fields.
    pub shared: [&'static str; S],
    /// The tensors that all groups write, by the names of the struct's fields.
    pub totals: [&'static str; T],
    /// The tensors of a group that are read, by the names of the struct's arrays. The first has the group's `count` of elements.
    pub reads: [&'static str; R],
    /// The tensors of a group that are written, likewise.
    pub writes: [&'static str; W],
    /// Of these the ones that are read as well.
    pub updates: &'static [&'static str],
    /// The body on the CPU, over all groups.
    pub cpu: ListBody<P, S, T, R, W>,
    /// The stem of the `.cu` file that holds the kernel.
    pub module: &'static str,
    /// Groups that one launch takes.
    pub groups: usize,
    /// Elements that one block takes.
    pub block_elements: usize,
}

/// A [`ListKernel`] on the CPU.
pub type ListBody<P, const S: usize, const T: usize, const R: usize, const W: usize> =
    fn(&P, [&[f32]; S], [&mut [f32]; T], Slices<R, W>);

/// The elements of all groups' tensors: of those that are read, and of those that are written.
pub type Slices<'a, const R: usize, const W: usize> = Vec<([&'a [f32]; R], [&'a mut [f32]; W])>;

/// The tensors of one group.
pub struct Group<'a, const R: usize, const W: usize> {
    /// Those that are read; the first has the group's elements.
    pub reads: [&'a Tensor; R],
    /// Those that are written.
    pub writes: [&'a mut Tensor; W],
}

impl<P, const S: usize, const T: usize, const R: usize, const W: usize> ListKernel<P, S, T, R, W> {
    /// The kernel without its types.
    pub fn info(&self) -> KernelInfo {
        let names = self.shared.iter().chain(&self.totals).chain(&self.reads).chain(&self.writes);
        KernelInfo {
            name: self.name,
            tensors: names.copied().collect(),
            params_bytes: size_of::<P>(),
            cuda_module: Some(self.module),
            tf32: false,
        }
    }

    /// Blocks that a group of `count` elements has.
    pub fn blocks(&self, count: usize) -> usize {
        count.div_ceil(self.block_elements)
    }
}

impl Device {
    /// Runs `kernel` over `groups`, in as few launches as they fit into.
    ///
    /// # Errors
    /// As [`Device::launch`].
    pub fn launch_list<P: Pod, const S: usize, const T: usize, const R: usize, const W: usize>(
        &self,
        kernel: &ListKernel<P, S, T, R, W>,
        params: P,
        shared: [&Tensor; S],
        mut totals: [&mut Tensor; T],
        mut groups: Vec<Group<R, W>>,
    ) -> Result<()> {
        let fail = |message: String| Error::Launch { kernel: kernel.name.to_string(), message };
        let own = groups.iter().flat_map(|group| group.reads.into_iter().zip(kernel.reads));
        for (tensor, name) in shared.iter().copied().zip(kernel.shared).chain(own) {
            if !tensor.device().same(self) || tensor.dtype() != DType::F32 {
                return Err(fail(format!("'{name}' is {tensor:?}, and must be f32 on {}", self.name())));
            }
        }
        let may_write = |tensor: &mut Tensor, name: &str| {
            if !tensor.device().same(self) {
                return Err(fail(format!("'{name}' lives on {}", tensor.device().name())));
            }
            match tensor.is_unique() {
                true => Ok(()),
                false => Err(fail(format!("'{name}' is written while another tensor shares its memory"))),
            }
        };
        for (tensor, name) in totals.iter_mut().zip(kernel.totals) {
            may_write(tensor, name)?;
        }
        for group in &mut groups {
            for (tensor, name) in group.writes.iter_mut().zip(kernel.writes) {
                may_write(tensor, name)?;
            }
        }
        match &self.0.backend {
            Backend::Cpu(_) => {
                if groups.iter().flat_map(|group| &group.writes).any(|tensor| tensor.dtype() != DType::F32) {
                    return Err(fail("the CPU computes in f32".to_string()));
                }
                let slices = groups.iter_mut().map(|Group { reads, writes }| {
                    (reads.map(Tensor::cpu_words), writes.each_mut().map(|tensor| tensor.cpu_words_mut()))
                });
                let totals = totals.each_mut().map(|tensor| tensor.cpu_words_mut());
                (kernel.cpu)(&params, shared.map(Tensor::cpu_words), totals, slices.collect());
                Ok(())
            }
            Backend::Cuda(_) | Backend::Plan(_) => {
                let mut first_part = 0;
                for groups in groups.chunks_mut(kernel.groups) {
                    first_part += self.launch_groups(kernel, params, &shared, &mut totals, groups, first_part)?;
                }
                Ok(())
            }
        }
    }

    /// One launch; returns its blocks.
    fn launch_groups<P: Pod, const S: usize, const T: usize, const R: usize, const W: usize>(
        &self,
        kernel: &ListKernel<P, S, T, R, W>,
        mut params: P,
        shared: &[&Tensor; S],
        totals: &mut [&mut Tensor; T],
        groups: &mut [Group<R, W>],
        first_part: usize,
    ) -> Result<usize> {
        let entry = format!("{}_{}", kernel.name, Math::F32.suffix());
        let (bytes, list) = (bytemuck::bytes_of_mut(&mut params), kernel.groups);
        let (arrays, counts) = (8 * (S + T), 8 * (S + T + (R + W) * list));
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let mut blocks = 0;
        for (i, group) in groups.iter().enumerate() {
            let count = group.reads[0].numel();
            put(counts + 4 * i, &(count as u32).to_ne_bytes());
            put(counts + 4 * (list + i), &(blocks as u32).to_ne_bytes());
            blocks += kernel.blocks(count);
        }
        put(counts + 8 * list, &(groups.len() as u32).to_ne_bytes());
        put(counts + 8 * list + 4, &(first_part as u32).to_ne_bytes());

        let own = groups.iter().flat_map(|group| group.reads.into_iter().chain(group.writes.iter().map(|t| &**t)));
        let all: Vec<&Tensor> = shared.iter().copied().chain(totals.iter().map(|t| &**t)).chain(own).collect();
        if let Some(launches) = self.0.launches.lock().expect("no panic while holding it").as_mut() {
            let again = |(t, name): (&&mut Tensor, _)| if kernel.updates.contains(&name) { moved(t, false) } else { 0 };
            let updated = groups.iter().flat_map(|group| group.writes.iter().zip(kernel.writes)).map(again);
            let bytes = all.iter().map(|t| moved(t, false)).chain(updated).sum();
            launches.push(Launch { entry: entry.clone(), bytes });
        }
        if let Backend::Cuda(cuda) = &self.0.backend {
            for (i, tensor) in all.into_iter().enumerate() {
                // The tensors of one group lie one after the other in `all`, and in as many arrays in the struct.
                let at = match i.checked_sub(S + T) {
                    None => 8 * i,
                    Some(i) => arrays + 8 * (i % (R + W) * list + i / (R + W)),
                };
                put(at, &cuda.address(tensor).to_ne_bytes());
            }
            let geometry = Geometry::blocks(blocks as u32);
            if blocks > 0 {
                cuda.enqueue(kernel.module, &entry, geometry, &mut params)?;
            }
        }
        Ok(blocks)
    }
}
