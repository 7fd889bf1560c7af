//! Tensors: contiguous, shaped, typed blocks of device memory.
//!
//! There are no strides and no views with holes: reshapes are free, everything else is a kernel.
//! Layout is channels-last everywhere: an image batch is (B, H, W, C), tokens are (B, N, C) with
//! N = H·W, and the two are the same memory.

use std::fmt;
use std::sync::Arc;

use half::bf16;

use crate::device::{Device, Storage, cuda};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::{cast, fill};

/// A tensor; clones share the memory, and memory that is shared cannot be written.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    shape: Vec<usize>,
    dtype: DType,
}

impl Tensor {
    /// Memory of unspecified contents, for a kernel to fill.
    pub fn uninit(device: &Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        Ok(Tensor { storage: Arc::new(device.allocate(bytes)?), shape: shape.to_vec(), dtype })
    }

    /// Memory of unspecified contents with the shape, dtype and device of `self`.
    pub fn uninit_like(&self) -> Result<Tensor> {
        Tensor::uninit(self.device(), &self.shape, self.dtype)
    }

    /// All zeros, f32.
    pub fn zeros(device: &Device, shape: &[usize]) -> Result<Tensor> {
        fill::full(device, shape, DType::F32, 0.0)
    }

    /// The values of `data` in row-major order, f32.
    ///
    /// # Errors
    /// When `data` does not hold exactly the shape's number of elements.
    pub fn from_slice(device: &Device, shape: &[usize], data: &[f32]) -> Result<Tensor> {
        Tensor::from_bytes(device, shape, DType::F32, bytemuck::cast_slice(data))
    }

    /// Writes `data` over the tensor's f32 values, in place.
    ///
    /// # Errors
    /// When the lengths differ, the tensor is not f32, or something else refers to its memory.
    pub fn write(&mut self, data: &[f32]) -> Result<()> {
        if self.dtype != DType::F32 || self.numel() != data.len() {
            let message = format!("{} f32 cannot overwrite {:?} of {}", data.len(), self.shape, self.dtype);
            return Err(Error::shape("tensor", message));
        }
        let device = self.device().clone();
        let storage = self.storage_mut();
        let storage = storage.ok_or_else(|| Error::shape("tensor", "memory that is shared is not written"))?;
        device.upload(bytemuck::cast_slice(data), storage)
    }

    /// Copies the values of `from`, which has the same shape and dtype, over this tensor's, in place.
    ///
    /// # Errors
    /// When they differ, or something else refers to this tensor's memory.
    pub fn copy_from(&mut self, from: &Tensor) -> Result<()> {
        if (self.shape.as_slice(), self.dtype) != (from.shape(), from.dtype) || !self.device().same(from.device()) {
            return Err(Error::shape("tensor", format!("{from:?} cannot overwrite {self:?}")));
        }
        let device = self.device().clone();
        let storage = self.storage_mut();
        let storage = storage.ok_or_else(|| Error::shape("tensor", "memory that is shared is not written"))?;
        device.copy(&from.storage, storage)
    }

    /// Unsigned integers such as labels, in row-major order.
    pub fn from_u32(device: &Device, shape: &[usize], data: &[u32]) -> Result<Tensor> {
        Tensor::from_bytes(device, shape, DType::U32, bytemuck::cast_slice(data))
    }

    /// A tensor of bf16.
    ///
    /// # Errors
    /// When there is not a value for every element of `shape`.
    pub fn from_bf16(device: &Device, shape: &[usize], data: &[bf16]) -> Result<Tensor> {
        Tensor::from_bytes(device, shape, DType::Bf16, bytemuck::cast_slice(data))
    }

    fn from_bytes(device: &Device, shape: &[usize], dtype: DType, bytes: &[u8]) -> Result<Tensor> {
        let mut tensor = Tensor::uninit(device, shape, dtype)?;
        if tensor.bytes() != bytes.len() {
            let message = format!("{} elements cannot fill shape {shape:?}", bytes.len() / dtype.size());
            return Err(Error::shape("tensor", message));
        }
        let storage = Arc::get_mut(&mut tensor.storage).expect("a new tensor is not shared");
        device.upload(bytes, storage)?;
        Ok(tensor)
    }

    /// A scalar, shape (1).
    pub fn scalar(device: &Device, value: f32) -> Result<Tensor> {
        fill::full(device, &[1], DType::F32, value)
    }

    /// The stand-in for an optional tensor that is not there: an empty slice on the CPU, a null pointer on CUDA.
    pub fn absent(device: &Device) -> Result<Tensor> {
        Tensor::uninit(device, &[0], DType::F32)
    }

    /// Whether this is [`Tensor::absent`].
    pub fn is_absent(&self) -> bool {
        self.shape == [0]
    }

    /// The values on the host, as f32 (bf16 is widened); waits for the device.
    ///
    /// # Errors
    /// When the device fails, or the tensor holds integers.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let mut bytes = vec![0f32; self.bytes().div_ceil(4)];
        self.device().download(&self.storage, &mut bytemuck::cast_slice_mut(&mut bytes)[..self.bytes()])?;
        match self.dtype {
            DType::F32 => Ok(bytes),
            DType::Bf16 => {
                let halves: &[bf16] = &bytemuck::cast_slice(&bytes)[..self.numel()];
                Ok(halves.iter().map(|v| v.to_f32()).collect())
            }
            DType::U32 => Err(Error::shape("to_vec", "the tensor holds integers")),
        }
    }

    /// The one value of a one-element tensor.
    pub fn to_scalar(&self) -> Result<f32> {
        match self.to_vec()?[..] {
            [value] => Ok(value),
            _ => Err(Error::shape("to_scalar", format!("shape {:?} is not one element", self.shape))),
        }
    }

    /// A converted copy (or the same memory where the dtype already fits); rounds to nearest even.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        match (self.dtype, dtype) {
            (from, to) if from == to => Ok(self.clone()),
            (DType::F32, DType::Bf16) | (DType::Bf16, DType::F32) if !self.device().is_cpu() => cast::cast(self),
            (DType::F32, DType::Bf16) => {
                let halves: Vec<bf16> = self.to_vec()?.into_iter().map(bf16::from_f32).collect();
                Tensor::from_bf16(self.device(), &self.shape, &halves)
            }
            (DType::Bf16, DType::F32) => Tensor::from_slice(self.device(), &self.shape, &self.to_vec()?),
            (from, to) => Err(Error::shape("to_dtype", format!("{from} does not convert to {to}"))),
        }
    }

    /// The same memory under another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if shape.iter().product::<usize>() != self.numel() {
            return Err(Error::shape("reshape", format!("{:?} does not become {shape:?}", self.shape)));
        }
        Ok(Tensor { storage: self.storage.clone(), shape: shape.to_vec(), dtype: self.dtype })
    }

    /// The lengths of the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The lengths of exactly `N` dimensions.
    ///
    /// # Errors
    /// Names `op` when the tensor has another number of dimensions.
    pub fn dims<const N: usize>(&self, op: &'static str) -> Result<[usize; N]> {
        self.shape[..]
            .try_into()
            .map_err(|_| Error::shape(op, format!("needs {N} dimensions, got shape {:?}", self.shape)))
    }

    /// (rows, columns) with the last dimension as columns.
    pub fn rows_cols(&self) -> (usize, usize) {
        let cols = self.shape.last().copied().unwrap_or(1);
        (self.numel() / cols.max(1), cols)
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The bytes of the elements.
    pub fn bytes(&self) -> usize {
        self.numel() * self.dtype.size()
    }

    /// Where the tensor lives.
    pub fn device(&self) -> &Device {
        self.storage.device()
    }

    pub(crate) fn storage_mut(&mut self) -> Option<&mut Storage> {
        Arc::get_mut(&mut self.storage)
    }

    /// Whether no other tensor shares this memory, so that it can be written in place.
    pub fn is_unique(&mut self) -> bool {
        self.storage_mut().is_some()
    }

    pub(crate) fn cpu_words(&self) -> &[f32] {
        self.storage.cpu_words()
    }

    pub(crate) fn cpu_words_mut(&mut self) -> &mut [f32] {
        Arc::get_mut(&mut self.storage).expect("launch checked that the memory is not shared").cpu_words_mut()
    }

    pub(crate) fn cuda(&self) -> Option<&cuda::Slice> {
        self.storage.cuda()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?} {} on {})", self.shape, self.dtype, self.device().name())
    }
}
