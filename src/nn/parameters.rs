//! Parameters by the reference implementation's names.
//!
//! Memory and files differ in two ways, which [`Parameters::export`] and [`Parameters::import`] alone know.
//! Inside, convolution weights are (O, kh, kw, I); files carry the reference's (O, I, kh, kw). Every four-dimensional parameter is a
//! convolution, so the rule needs no table. And a parameter may have zeros inside that files do not have ([`Init::padded`]).

use std::cell::RefCell;
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::conv2d::with_channels;
use crate::ops::transpose::transpose;
use crate::random;
use crate::tape::{Gradients, Tape, Var};
use crate::tensor::Tensor;

/// A parameter's place in its [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(usize);

#[derive(Clone)]
struct Parameter {
    name: String,
    value: Tensor,
    /// The rounded copy that matrix products take, where they do not take f32.
    rounded: Option<Tensor>,
    trainable: bool,
    padded: Option<Padded>,
}

/// What files hold of a parameter that has zeros inside, behind each of its `parts` equal parts.
#[derive(Clone)]
struct Padded {
    parts: usize,
    shape: Vec<usize>,
}

impl Padded {
    /// `tensor` with the zeros or without them, as `shape` has it.
    fn fit(&self, tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
        with_channels(tensor, tensor.numel() / self.parts, shape.iter().product::<usize>() / self.parts, shape)
    }
}

/// A model's parameters in the order they were made: f32, with a bf16 copy of every matrix beside it
/// where the model computes in bf16 ([`Parameters::compute_in`]).
pub struct Parameters {
    device: Device,
    entries: Vec<Parameter>,
    dtype: DType,
}

/// How a new parameter is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// All the same value.
    Constant(f32),
    /// Uniform in ±bound.
    Uniform(f32),
    /// Normal around 0 with this standard deviation.
    Normal(f32),
}

impl Fill {
    /// Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).
    pub fn xavier(inputs: usize, outputs: usize) -> Fill {
        Fill::Uniform((6.0 / (inputs + outputs) as f32).sqrt())
    }
}

impl Parameters {
    /// No parameters yet.
    pub fn new(device: &Device) -> Parameters {
        Parameters { device: device.clone(), entries: Vec::new(), dtype: DType::F32 }
    }

    /// Where the parameters live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the model computes in: the dtype of its activations and of the matrices on a tape.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Every parameter's id, in order.
    pub fn ids(&self) -> impl Iterator<Item = ParamId> + use<> {
        (0..self.entries.len()).map(ParamId)
    }

    /// The id of the parameter called `name`.
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.entries.iter().position(|p| p.name == name).map(ParamId)
    }

    /// The reference's name of a parameter.
    pub fn name(&self, id: ParamId) -> &str {
        &self.entries[id.0].name
    }

    /// A parameter's value.
    pub fn value(&self, id: ParamId) -> &Tensor {
        &self.entries[id.0].value
    }

    /// Replaces a parameter's value, and its rounded copy.
    pub fn set(&mut self, id: ParamId, value: Tensor) -> Result<()> {
        let parameter = &mut self.entries[id.0];
        if let Some(rounded) = &mut parameter.rounded {
            *rounded = value.to_dtype(rounded.dtype())?;
        }
        parameter.value = value;
        Ok(())
    }

    /// The same parameters with other values for some: the others share their memory, so that neither set can be trained
    /// while both are there.
    pub fn with(&self, values: impl IntoIterator<Item = (ParamId, Tensor)>) -> Result<Parameters> {
        let mut copy = Parameters { device: self.device.clone(), entries: self.entries.clone(), dtype: self.dtype };
        for (id, value) in values {
            copy.set(id, value)?;
        }
        Ok(copy)
    }

    /// Every parameter's value and its rounded copy, to be updated in place together.
    pub fn values_mut(&mut self) -> impl Iterator<Item = (ParamId, (&mut Tensor, Option<&mut Tensor>))> {
        self.entries.iter_mut().enumerate().map(|(i, p)| (ParamId(i), (&mut p.value, p.rounded.as_mut())))
    }

    /// Lets the model compute in `dtype` from now on: matrices and convolutions get a rounded copy beside their f32 values.
    /// Vectors (biases, scales of norms) stay f32 alone.
    pub fn compute_in(&mut self, dtype: DType) -> Result<()> {
        for parameter in &mut self.entries {
            let rounds = dtype != DType::F32 && parameter.value.shape().len() > 1;
            parameter.rounded = rounds.then(|| parameter.value.to_dtype(dtype)).transpose()?;
        }
        self.dtype = dtype;
        Ok(())
    }

    /// Whether an optimizer updates the parameter.
    pub fn is_trainable(&self, id: ParamId) -> bool {
        self.entries[id.0].trainable
    }

    /// Leaves the parameter as it is from now on.
    pub fn freeze(&mut self, id: ParamId) {
        self.entries[id.0].trainable = false;
    }

    /// The number of scalars in all parameters, as files hold them.
    pub fn numel(&self) -> usize {
        self.ids().map(|id| self.export_shape(id).iter().product::<usize>()).sum()
    }

    /// SHA-256 of all values, hexadecimal: of every parameter by name, its name, shape and values as files hold them. Files
    /// that hold the same weights in different ways have one hash.
    pub fn sha256(&self) -> Result<String> {
        let mut ids: Vec<_> = self.ids().collect();
        ids.sort_by_key(|&id| self.name(id).to_owned());
        let mut hash = Sha256::new();
        for id in ids {
            hash.update(self.name(id).as_bytes());
            hash.update([0]);
            self.export_shape(id).iter().for_each(|&side| hash.update((side as u64).to_le_bytes()));
            let values = self.export(id, self.value(id))?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hash.update(bytes);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A parameter's shape in the reference's files.
    pub fn export_shape(&self, id: ParamId) -> Vec<usize> {
        match (&self.entries[id.0].padded, self.value(id).shape()) {
            (Some(padded), _) => padded.shape.clone(),
            (None, &[o, kh, kw, i]) => vec![o, i, kh, kw],
            (None, shape) => shape.to_vec(),
        }
    }

    /// The values of `tensor`, which has the shape of parameter `id`, as the reference's files hold them.
    pub fn export(&self, id: ParamId, tensor: &Tensor) -> Result<Vec<f32>> {
        match (&self.entries[id.0].padded, self.value(id).shape()) {
            (Some(padded), _) => padded.fit(tensor, &padded.shape)?.to_vec(),
            (None, &[o, kh, kw, i]) => transpose(&tensor.reshape(&[o, kh * kw, i])?)?.to_vec(),
            (None, _) => tensor.to_vec(),
        }
    }

    /// The reverse of [`Parameters::export`]: a tensor as this engine keeps it.
    ///
    /// # Errors
    /// Names the parameter when the shape is not the parameter's.
    pub fn import(&self, id: ParamId, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        let expected = self.export_shape(id);
        if shape != expected || values.len() != expected.iter().product::<usize>() {
            let name = self.name(id);
            return Err(Error::Checkpoint(format!("{name} has shape {shape:?}, and the model needs {expected:?}")));
        }
        let own = self.value(id).shape();
        match (&self.entries[id.0].padded, own) {
            (Some(padded), _) => padded.fit(&Tensor::from_slice(&self.device, shape, values)?, own),
            (None, &[o, kh, kw, i]) => {
                transpose(&Tensor::from_slice(&self.device, &[o, i, kh * kw], values)?)?.reshape(own)
            }
            (None, _) => Tensor::from_slice(&self.device, own, values),
        }
    }
}

/// Makes parameters under a dotted prefix. Each is drawn from its own random stream, named by
/// the seed and its full name, so that a model's values do not depend on the order of making.
pub struct Init<'a> {
    params: &'a mut Parameters,
    seed: u64,
    prefix: String,
}

impl<'a> Init<'a> {
    /// Makes parameters into `params`.
    pub fn new(params: &'a mut Parameters, seed: u64) -> Init<'a> {
        Init { params, seed, prefix: String::new() }
    }

    /// The same, under `prefix.name`.
    pub fn within(&mut self, name: impl AsRef<str>) -> Init<'_> {
        let prefix = format!("{}{}.", self.prefix, name.as_ref());
        Init { params: self.params, seed: self.seed, prefix }
    }

    /// A new parameter `prefix.name`.
    pub fn tensor(&mut self, name: &str, shape: &[usize], fill: Fill) -> Result<ParamId> {
        let name = format!("{}{name}", self.prefix);
        let value = match fill {
            Fill::Constant(value) => {
                Tensor::from_slice(&self.params.device, shape, &vec![value; shape.iter().product()])?
            }
            Fill::Uniform(bound) => {
                random::uniform(&self.params.device, shape, self.seed, random::stream(&name), -bound, bound)?
            }
            Fill::Normal(deviation) => {
                let values = random::normal(&self.params.device, shape, self.seed, random::stream(&name))?.to_vec()?;
                let values: Vec<f32> = values.iter().map(|value| deviation * value).collect();
                Tensor::from_slice(&self.params.device, shape, &values)?
            }
        };
        Ok(self.push(Parameter { name, value, rounded: None, trainable: true, padded: None }))
    }

    /// As [`Init::tensor`] in files, of the first shape. In memory each of its `parts` equal parts is followed by zeros, up to the second
    /// shape. They stay zeros in training if their gradients are zeros.
    pub fn padded(&mut self, name: &str, shapes: [&[usize]; 2], parts: usize, fill: Fill) -> Result<ParamId> {
        let [shape, own] = shapes;
        let id = self.tensor(name, shape, fill)?;
        let parameter = &mut self.params.entries[id.0];
        let padded = Padded { parts, shape: shape.to_vec() };
        parameter.value = padded.fit(&parameter.value, own)?;
        parameter.padded = Some(padded);
        Ok(id)
    }

    /// A parameter `prefix.name` that is what it is: saved with the others, and never trained.
    pub fn fixed(&mut self, name: &str, value: Tensor) -> ParamId {
        let name = format!("{}{name}", self.prefix);
        self.push(Parameter { name, value, rounded: None, trainable: false, padded: None })
    }

    fn push(&mut self, parameter: Parameter) -> ParamId {
        self.params.entries.push(parameter);
        ParamId(self.params.entries.len() - 1)
    }

    /// The device that the parameters are made on.
    pub fn device(&self) -> &Device {
        &self.params.device
    }
}

/// One forward pass: a tape, and the parameters that were used on it.
pub struct Forward<'a> {
    tape: &'a Tape,
    /// Absent where every parameter that is used is there already.
    params: Option<&'a Parameters>,
    used: RefCell<HashMap<ParamId, Var>>,
    dtype: DType,
    checkpointing: bool,
}

impl<'a> Forward<'a> {
    /// A pass over `tape` with these parameters.
    pub fn new(tape: &'a Tape, params: &'a Parameters) -> Forward<'a> {
        let (used, dtype) = (RefCell::default(), params.dtype());
        Forward { tape, params: Some(params), used, dtype, checkpointing: false }
    }

    /// What the model computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Lets [`Forward::checkpoint`] keep nothing of what it runs.
    pub fn checkpointing(self, on: bool) -> Forward<'a> {
        Forward { checkpointing: on, ..self }
    }

    /// The tape.
    pub fn tape(&self) -> &'a Tape {
        self.tape
    }

    /// A parameter on the tape, in the dtype that the model computes in: a leaf, or a constant when it is frozen.
    pub fn param(&self, id: ParamId) -> Var {
        let leaf = || {
            let params = self.params.expect("a block that runs again uses the parameters that it used before");
            let Parameter { value, rounded, .. } = &params.entries[id.0];
            let value = rounded.as_ref().unwrap_or(value).clone();
            if params.is_trainable(id) { self.tape.leaf(value) } else { self.tape.constant(value) }
        };
        self.used.borrow_mut().entry(id).or_insert_with(leaf).clone()
    }

    /// An optional parameter; one that is not there is absent.
    pub fn optional(&self, id: Option<ParamId>) -> Result<Var> {
        match id {
            Some(id) => Ok(self.param(id)),
            None => self.absent(),
        }
    }

    /// What stands for an optional input that is not there.
    pub fn absent(&self) -> Result<Var> {
        Ok(self.tape.constant(Tensor::absent(self.tape.device())?))
    }

    /// The trainable parameters used so far, in order.
    pub fn trainable(&self) -> Vec<(ParamId, Var)> {
        let used = self.used.borrow();
        let mut vars: Vec<_> = used.iter().filter(|(_, v)| v.requires_grad()).map(|(&id, v)| (id, v.clone())).collect();
        vars.sort_by_key(|&(id, _)| id);
        vars
    }

    /// Runs `block` on `values`. With [`Forward::checkpointing`] on, nothing of what it computes is kept for backward, which runs it
    /// again instead.
    pub fn checkpoint<const N: usize, const M: usize>(
        &self,
        values: [&Var; N],
        block: impl Fn(&Forward, [&Var; N]) -> Result<[Var; M]> + 'static,
    ) -> Result<[Var; M]> {
        if !self.checkpointing {
            return block(self, values);
        }
        let once = Tape::inference(self.tape.device());
        let (used, dtype) = (RefCell::default(), self.dtype);
        let pass = Forward { tape: &once, params: self.params, used, dtype, checkpointing: false };
        let constants = values.map(|var| once.constant(var.value().clone()));
        let outputs = block(&pass, constants.each_ref())?.map(|var| var.value().clone());
        let mut ids: Vec<ParamId> = pass.used.borrow().keys().copied().collect();
        ids.sort();
        let params: Vec<Var> = ids.iter().map(|&id| self.param(id)).collect();
        let inputs: Vec<&Var> = values.into_iter().chain(&params).collect();
        Ok(self.tape.checkpoint(&inputs, outputs, move |tape, inputs| {
            let used = RefCell::new(ids.iter().copied().zip(inputs[N..].iter().cloned()).collect());
            let pass = Forward { tape, params: None, used, dtype, checkpointing: false };
            block(&pass, std::array::from_fn(|i| &inputs[i]))
        }))
    }
}

/// Gradients of parameters; several passes accumulate.
#[derive(Default)]
pub struct ParamGradients(HashMap<ParamId, Tensor>);

impl ParamGradients {
    /// Adds the gradients of `vars` as one pass found them.
    pub fn collect(&mut self, vars: &[(ParamId, Var)], gradients: &mut Gradients) -> Result<()> {
        vars.iter().try_for_each(|(id, var)| self.accumulate(*id, gradients.take(var)?))
    }

    /// Adds one gradient.
    pub fn accumulate(&mut self, id: ParamId, gradient: Tensor) -> Result<()> {
        let sum = match self.0.remove(&id) {
            None => gradient,
            Some(sum) => crate::ops::add::add_into(sum, &gradient)?,
        };
        self.0.insert(id, sum);
        Ok(())
    }

    /// The gradient of a parameter, where there is one.
    pub fn get(&self, id: ParamId) -> Option<&Tensor> {
        self.0.get(&id)
    }

    /// All gradients in the parameters' order.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &Tensor)> {
        let mut all: Vec<_> = self.0.iter().map(|(&id, g)| (id, g)).collect();
        all.sort_by_key(|&(id, _)| id);
        all.into_iter()
    }
}
