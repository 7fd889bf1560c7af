//! The autograd tape: records ops as they run forward, then walks back through them.
//!
//! One rule for gradients: several uses of a value *accumulate*, and every gradient that was
//! asked for either arrives or is an error that names the op that severed it.
//!
//! A training step is cut into several tapes where loss streams meet (encoder, bottleneck,
//! decoder): [`Tape::gradients`] keeps the tape and may be called once per stream with few
//! wanted values; [`Tape::backward`] consumes it and frees what was saved as it goes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::add::add_into;
use crate::tensor::Tensor;

/// A value on a tape: a tensor, and where its gradient goes.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    id: Option<usize>,
}

impl Var {
    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The lengths of the value's dimensions.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// The same value under another shape; gradients pass through.
    pub fn reshape(&self, shape: &[usize]) -> Result<Var> {
        Ok(Var { value: self.value.reshape(shape)?, id: self.id })
    }

    /// Whether gradients reach this value.
    pub fn requires_grad(&self) -> bool {
        self.id.is_some()
    }
}

/// Gradients by value.
pub struct Gradients(HashMap<usize, Tensor>);

impl Gradients {
    /// Removes and returns the gradient of `var`, in the shape of its value.
    ///
    /// # Errors
    /// When it was not among the wanted values.
    pub fn take(&mut self, var: &Var) -> Result<Tensor> {
        let gradient = var.id.and_then(|id| self.0.remove(&id));
        gradient
            .ok_or_else(|| Error::Gradient("a gradient was taken that backward was not asked for".to_string()))?
            .reshape(var.shape())
    }
}

type Backward = Box<dyn Fn(&[Option<&Tensor>], &[bool]) -> Result<Vec<Option<Tensor>>>>;

struct Node {
    op: &'static str,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Output>,
    backward: Backward,
}

struct Output {
    id: usize,
    shape: Vec<usize>,
}

/// A recording of the ops applied to its values.
pub struct Tape {
    device: Device,
    nodes: RefCell<Vec<Node>>,
    values: RefCell<usize>,
    recording: bool,
    check_finite: bool,
}

impl Tape {
    /// A tape that records.
    pub fn new(device: &Device) -> Tape {
        let (nodes, values) = (RefCell::default(), RefCell::new(0));
        Tape { device: device.clone(), nodes, values, recording: true, check_finite: false }
    }

    /// A tape that only computes: nothing is saved and nothing has gradients.
    pub fn inference(device: &Device) -> Tape {
        Tape { recording: false, ..Tape::new(device) }
    }

    /// Checks every op's outputs and gradients, and fails at the first non-finite one with its
    /// op and place. Slow: for finding out where a run went wrong.
    pub fn check_finite(mut self, check: bool) -> Tape {
        self.check_finite = check;
        self
    }

    /// The device of the values.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A value without a gradient.
    pub fn constant(&self, value: Tensor) -> Var {
        Var { value, id: None }
    }

    /// A value whose gradient may be asked for: a parameter, or where another tape ended.
    pub fn leaf(&self, value: Tensor) -> Var {
        let id = self.recording.then(|| self.new_value());
        Var { value, id }
    }

    fn new_value(&self) -> usize {
        let mut values = self.values.borrow_mut();
        *values += 1;
        *values - 1
    }

    /// Runs `op` forward and records it where any input has a gradient.
    ///
    /// # Errors
    /// The op's own, or a non-finite output when [`Tape::check_finite`] is on.
    pub fn apply<const N: usize, const M: usize, O: Op<N, M>>(&self, op: O, inputs: [&Var; N]) -> Result<[Var; M]> {
        let (outputs, saved) = op.forward(inputs.map(Var::value))?;
        if self.check_finite {
            for output in &outputs {
                let place = format!("op {} of the forward pass ({})", self.nodes.borrow().len(), O::NAME);
                ensure_finite(output, &place)?;
            }
        }
        let ids = inputs.map(|var| var.id);
        if ids.iter().all(Option::is_none) {
            return Ok(outputs.map(|value| Var { value, id: None }));
        }
        let outputs = outputs.map(|value| (Output { id: self.new_value(), shape: value.shape().to_vec() }, value));
        let vars = outputs.each_ref().map(|(output, value)| Var { value: value.clone(), id: Some(output.id) });
        let backward: Backward = Box::new(move |grads, needs| {
            let grads = std::array::from_fn(|i| grads[i]);
            let needs = std::array::from_fn(|i| needs[i]);
            Ok(op.backward(&saved, grads, needs)?.into())
        });
        self.nodes.borrow_mut().push(Node {
            op: O::NAME,
            inputs: ids.into(),
            outputs: outputs.into_iter().map(|(output, _)| output).collect(),
            backward,
        });
        Ok(vars)
    }

    /// Records `outputs`, which `again` computes from `inputs`, without keeping anything in between: where gradients are asked for,
    /// `again` runs once more on a tape of its own. Memory for time (Chen et al., "Training deep nets with sublinear memory cost", 2016).
    ///
    /// `again` must give the same values every time, and depend on nothing with a gradient but its inputs.
    pub fn checkpoint<const M: usize>(
        &self,
        inputs: &[&Var],
        outputs: [Tensor; M],
        again: impl Fn(&Tape, &[Var]) -> Result<[Var; M]> + 'static,
    ) -> [Var; M] {
        let ids: Vec<Option<usize>> = inputs.iter().map(|var| var.id).collect();
        if !self.recording || ids.iter().all(Option::is_none) {
            return outputs.map(|value| Var { value, id: None });
        }
        let values: Vec<Tensor> = inputs.iter().map(|var| var.value.clone()).collect();
        let (device, check_finite) = (self.device.clone(), self.check_finite);
        let backward: Backward = Box::new(move |grads, needs| {
            let tape = Tape::new(&device).check_finite(check_finite);
            let leaf = |(value, &need): (&Tensor, &bool)| {
                if need { tape.leaf(value.clone()) } else { tape.constant(value.clone()) }
            };
            let vars: Vec<Var> = values.iter().zip(needs).map(leaf).collect();
            let outputs = again(&tape, &vars)?;
            let wanted: Vec<&Var> = vars.iter().filter(|var| var.requires_grad()).collect();
            let arrived = outputs.iter().zip(grads).filter_map(|(var, grad)| Some((var, grad.cloned()?)));
            let seeds: Vec<(&Var, Tensor)> = arrived.collect();
            let mut gradients = tape.backward(&seeds, &wanted)?;
            vars.iter().map(|var| var.requires_grad().then(|| gradients.take(var)).transpose()).collect()
        });
        let vars = outputs.map(|value| Var { value, id: Some(self.new_value()) });
        let place = |var: &Var| Output { id: var.id.expect("just made"), shape: var.shape().to_vec() };
        let outputs = vars.iter().map(place).collect();
        self.nodes.borrow_mut().push(Node { op: "checkpoint", inputs: ids, outputs, backward });
        vars
    }

    /// The gradients of `wanted`, given gradients of `seeds`; keeps the tape, so that several
    /// loss streams can run back over the same values.
    ///
    /// # Errors
    /// An op that did not return exactly the gradients asked of it, or a wanted value that no seed depends on.
    pub fn gradients(&self, seeds: &[(&Var, Tensor)], wanted: &[&Var]) -> Result<Gradients> {
        let nodes = self.nodes.borrow();
        self.walk(nodes.iter(), seeds, wanted)
    }

    /// As [`Tape::gradients`], freeing what each op saved as soon as its gradients are out.
    pub fn backward(self, seeds: &[(&Var, Tensor)], wanted: &[&Var]) -> Result<Gradients> {
        let nodes = self.nodes.take();
        self.walk(nodes.into_iter(), seeds, wanted)
    }

    fn walk<N: std::borrow::Borrow<Node>>(
        &self,
        nodes: impl DoubleEndedIterator<Item = N> + ExactSizeIterator,
        seeds: &[(&Var, Tensor)],
        wanted: &[&Var],
    ) -> Result<Gradients> {
        let keep: HashSet<usize> = wanted.iter().filter_map(|var| var.id).collect();
        if keep.len() < wanted.len() && wanted.iter().any(|var| var.id.is_none()) {
            return Err(Error::Gradient("a gradient was asked for of a value that has none".to_string()));
        }
        self.device.begin_backward();
        let mut grads: HashMap<usize, Tensor> = HashMap::new();
        for (var, grad) in seeds {
            let id = var.id.ok_or_else(|| Error::Gradient("a seed has no gradient".to_string()))?;
            accumulate(&mut grads, id, grad.clone())?;
        }
        let nodes: Vec<N> = nodes.collect();
        let needed = self.needed(nodes.iter().map(std::borrow::Borrow::borrow), &keep);
        for (place, node) in nodes.into_iter().enumerate().rev() {
            let node_ref: &Node = node.borrow();
            let arrived = node_ref.outputs.iter().map(|Output { id, shape }| {
                let grad = if keep.contains(id) { grads.get(id).cloned() } else { grads.remove(id) };
                grad.map(|grad| grad.reshape(shape)).transpose()
            });
            let out: Vec<Option<Tensor>> = arrived.collect::<Result<_>>()?;
            let needs: Vec<bool> = node_ref.inputs.iter().map(|id| id.is_some_and(|id| needed.contains(&id))).collect();
            if out.iter().all(Option::is_none) || !needs.contains(&true) {
                continue;
            }
            let out: Vec<Option<&Tensor>> = out.iter().map(Option::as_ref).collect();
            let results = (node_ref.backward)(&out, &needs)?;
            for ((result, &need), id) in results.into_iter().zip(&needs).zip(&node_ref.inputs) {
                match (result, need, id) {
                    (Some(grad), true, Some(id)) => {
                        if self.check_finite {
                            let place = format!("the backward of op {place} ({})", node_ref.op);
                            ensure_finite(&grad, &place)?;
                        }
                        accumulate(&mut grads, *id, grad)?;
                    }
                    (None, false, _) => {}
                    (None, true, _) => {
                        let op = node_ref.op;
                        return Err(Error::Gradient(format!("{op} severed a gradient that was asked for")));
                    }
                    (Some(_), _, _) => {
                        let op = node_ref.op;
                        return Err(Error::Gradient(format!("{op} returned a gradient that nobody asked for")));
                    }
                }
            }
        }
        grads.retain(|id, _| keep.contains(id));
        if let Some(missing) = keep.iter().find(|id| !grads.contains_key(id)) {
            return Err(Error::Gradient(format!("no gradient reached wanted value {missing}: no seed depends on it")));
        }
        Ok(Gradients(grads))
    }

    /// The values that lie on a path to one of `wanted`.
    fn needed<'a>(&self, nodes: impl Iterator<Item = &'a Node>, wanted: &HashSet<usize>) -> HashSet<usize> {
        let mut needed = wanted.clone();
        for node in nodes {
            if node.inputs.iter().flatten().any(|id| needed.contains(id)) {
                needed.extend(node.outputs.iter().map(|output| output.id));
            }
        }
        needed
    }
}

fn accumulate(grads: &mut HashMap<usize, Tensor>, id: usize, grad: Tensor) -> Result<()> {
    let sum = match grads.remove(&id) {
        None => grad,
        Some(sum) => add_into(sum, &grad)?,
    };
    grads.insert(id, sum);
    Ok(())
}

fn ensure_finite(tensor: &Tensor, place: &str) -> Result<()> {
    let values = tensor.to_vec()?;
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let message = format!("{place} is not finite: element {at} of {:?} is {}", tensor.shape(), values[at]);
            Err(Error::NonFinite(message))
        }
    }
}
