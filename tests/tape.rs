//! What the tape and the launch promise: gradients accumulate, a severed one is an error, shared memory is never written.

use vf_engine::device::Device;
use vf_engine::error::{Error, Result};
use vf_engine::op::{Op, only};
use vf_engine::ops::adamw::{self, AdamWGroup, AdamWSettings};
use vf_engine::ops::add::{Add, add_into};
use vf_engine::tape::Tape;
use vf_engine::tensor::Tensor;

fn tensor(device: &Device, values: &[f32]) -> Tensor {
    Tensor::from_slice(device, &[values.len()], values).unwrap()
}

/// y = x, with a backward that does as it is told instead of what is right.
struct Careless {
    returns: [bool; 2],
}

impl Op<2> for Careless {
    const NAME: &'static str = "careless";
    type Saved = ();

    fn forward(&self, [x, _]: [&Tensor; 2]) -> Result<([Tensor; 1], ())> {
        Ok(([x.clone()], ()))
    }

    fn backward(&self, (): &(), grads: [Option<&Tensor>; 1], _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok(self.returns.map(|give| give.then(|| only(grads).clone())))
    }
}

#[test]
fn gradients_of_several_uses_accumulate() -> Result<()> {
    let device = Device::cpu();
    let tape = Tape::new(&device);
    let (a, b) = (tape.leaf(tensor(&device, &[1.0, 2.0])), tape.leaf(tensor(&device, &[3.0, 5.0])));
    let [ab] = tape.apply(Add, [&a, &b])?;
    let [aab] = tape.apply(Add, [&a, &ab])?;
    assert_eq!(aab.value().to_vec()?, [5.0, 9.0]);
    // Twice over the kept tape: the same walk gives the same gradients.
    for _ in 0..2 {
        let mut grads = tape.gradients(&[(&aab, tensor(&device, &[1.0, 10.0]))], &[&a, &b, &ab])?;
        assert_eq!(grads.take(&a)?.to_vec()?, [2.0, 20.0]);
        assert_eq!(grads.take(&b)?.to_vec()?, [1.0, 10.0]);
        assert_eq!(grads.take(&ab)?.to_vec()?, [1.0, 10.0]);
    }
    // Two seeds, one of them inside.
    let seeds = [(&aab, tensor(&device, &[1.0, 1.0])), (&ab, tensor(&device, &[0.5, 0.25]))];
    let mut grads = tape.backward(&seeds, &[&a, &b])?;
    assert_eq!(grads.take(&a)?.to_vec()?, [2.5, 2.25]);
    assert_eq!(grads.take(&b)?.to_vec()?, [1.5, 1.25]);
    Ok(())
}

#[test]
fn gradients_pass_through_reshapes() -> Result<()> {
    let device = Device::cpu();
    let tape = Tape::new(&device);
    let a = tape.leaf(Tensor::from_slice(&device, &[2, 2], &[1.0, 2.0, 3.0, 4.0])?);
    let b = tape.leaf(tensor(&device, &[1.0; 4]));
    let [sum] = tape.apply(Add, [&a.reshape(&[4])?, &b])?;
    let seed = Tensor::from_slice(&device, &[4, 1], &[1.0, 2.0, 3.0, 4.0])?;
    let mut grads = tape.backward(&[(&sum.reshape(&[4, 1])?, seed)], &[&a])?;
    assert_eq!(grads.take(&a)?.shape(), [2, 2]);
    Ok(())
}

#[test]
fn severed_and_unasked_gradients_are_errors_that_name_the_op() -> Result<()> {
    let device = Device::cpu();
    for (returns, complaint) in
        [([false, true], "careless severed"), ([true, true], "careless returned a gradient that nobody")]
    {
        let tape = Tape::new(&device);
        let a = tape.leaf(tensor(&device, &[1.0]));
        let b = tape.constant(tensor(&device, &[1.0]));
        let [y] = tape.apply(Careless { returns }, [&a, &b])?;
        let error = tape.gradients(&[(&y, tensor(&device, &[1.0]))], &[&a]).err().expect("an error").to_string();
        assert!(error.contains(complaint), "{error}");
    }
    Ok(())
}

#[test]
fn a_wanted_value_that_no_seed_depends_on_is_an_error() -> Result<()> {
    let device = Device::cpu();
    let tape = Tape::new(&device);
    let (a, b) = (tape.leaf(tensor(&device, &[1.0])), tape.leaf(tensor(&device, &[1.0])));
    let [y] = tape.apply(Add, [&a, &a])?;
    assert!(matches!(tape.gradients(&[(&y, tensor(&device, &[1.0]))], &[&b]), Err(Error::Gradient(_))));
    let constant = tape.constant(tensor(&device, &[1.0]));
    assert!(matches!(tape.gradients(&[(&y, tensor(&device, &[1.0]))], &[&constant]), Err(Error::Gradient(_))));
    Ok(())
}

#[test]
fn checking_names_the_first_op_that_is_not_finite() -> Result<()> {
    let device = Device::cpu();
    let tape = Tape::new(&device).check_finite(true);
    let a = tape.leaf(tensor(&device, &[f32::MAX, 1.0]));
    let error = tape.apply(Add, [&a, &a]).expect_err("an error").to_string();
    assert_eq!(error, "op 0 of the forward pass (add) is not finite: element 0 of [2] is inf");
    Ok(())
}

#[test]
fn shared_memory_is_not_written() -> Result<()> {
    let device = Device::cpu();
    let sum = tensor(&device, &[1.0, 2.0]);
    let alias = sum.clone();
    let total = add_into(sum, &tensor(&device, &[10.0, 10.0]))?;
    assert_eq!((alias.to_vec()?, total.to_vec()?), (vec![1.0, 2.0], vec![11.0, 12.0]));

    let settings = AdamWSettings {
        betas: (0.9, 0.99),
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: true,
        ema_decay: 0.0,
        max_norm: None,
    };
    let mut param = tensor(&device, &[1.0]);
    let _alias = param.clone();
    let (mut m, mut v) = (tensor(&device, &[0.0]), tensor(&device, &[0.0]));
    let (mut ema, mut rounded) = (Tensor::absent(&device)?, Tensor::absent(&device)?);
    let (grad, lr, mut state) = (tensor(&device, &[1.0]), tensor(&device, &[0.1]), adamw::state(&device, 0)?);
    let group = AdamWGroup {
        grad: &grad,
        param: &mut param,
        exp_avg: &mut m,
        exp_avg_sq: &mut v,
        ema: &mut ema,
        rounded: &mut rounded,
    };
    let error = adamw::step(&settings, 1.0, &lr, &mut state, vec![group]).unwrap_err();
    assert_eq!(error.to_string(), "launch of adamw failed: 'param' is written while another tensor shares its memory");
    Ok(())
}

#[test]
fn tensors_of_two_devices_do_not_mix() -> Result<()> {
    let (here, there) = (Device::cpu(), Device::cpu());
    assert!(matches!(add_into(tensor(&here, &[1.0]), &tensor(&there, &[1.0])), Err(Error::Launch { .. })));
    Ok(())
}

#[test]
fn memory_is_counted_and_comes_back() -> Result<()> {
    let device = Device::cpu();
    let kept = Tensor::zeros(&device, &[1000])?;
    {
        let _dropped = Tensor::zeros(&device, &[3000])?;
        assert_eq!(device.memory().live, 16000);
    }
    assert_eq!((device.memory().live, device.memory().peak), (4000, 16000));
    device.reset_peak_memory();
    assert_eq!(device.memory().peak, 4000);
    drop(kept);
    assert_eq!(device.memory().live, 0);
    Ok(())
}
