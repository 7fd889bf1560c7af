//! Benchmark cases of what runs outside of the tape: tensors that are made, gradients that are weighed and added up, the optimizer.

use std::sync::Mutex;

use crate::dtype::DType;
use crate::error::Result;
use crate::ops::adamw::{self, AdamWGroup, AdamWSettings};
use crate::ops::l1::l1_loss;
use crate::ops::{Case, Input, Tolerance, Values, adaptive, add, fill};
use crate::random;
use crate::tensor::Tensor;

/// Of f16d32: the weight of a 3×3 convolution, a batch of latents, and of images.
const WEIGHT: [usize; 4] = [512, 3, 3, 512];
const LATENTS: [usize; 4] = [16, 16, 16, 32];
const IMAGES: [usize; 4] = [4, 256, 256, 3];

/// By the names of the functions.
pub(super) fn cases() -> Vec<Case> {
    let scalar = |name| Input::normal(name, &[1]).values(Values::Uniform(0.1, 1.0)).f32();
    let weight = |name| Input::normal(name, &WEIGHT);
    let latents = |name| Input::normal(name, &LATENTS);
    // Its dtype is the result's.
    let like = || Input::normal("like", &[1]);
    vec![
        case("cast", WEIGHT, [0, 6], vec![weight("x")], |x| x[0].to_dtype(other(x[0].dtype())).map(drop)),
        case("fill", WEIGHT, [0, 4], vec![like()], |x| fill::full(x[0].device(), &WEIGHT, x[0].dtype(), 0.5).map(drop)),
        case("random_normal", LATENTS, [100, 4], vec![like()], |x| {
            random::normal(x[0].device(), &LATENTS, 1, 1).map(drop)
        }),
        case("random_uniform", LATENTS, [60, 4], vec![like()], |x| {
            random::uniform(x[0].device(), &LATENTS, 1, 1, -1.0, 1.0).map(drop)
        }),
        case(
            "add_into",
            WEIGHT,
            [1, 12],
            vec![weight("sum"), weight("x")],
            in_place(|sum, x| add::add_into(sum, &x[0])),
        ),
        case("scale", LATENTS, [1, 8], vec![latents("x"), scalar("scale")], |x| {
            adaptive::scale(&x[0], &x[1]).map(drop)
        }),
        case(
            "add_scaled",
            LATENTS,
            [2, 12],
            vec![latents("sum"), latents("x"), scalar("scale")],
            in_place(|sum, x| adaptive::add_scaled(sum, &x[0], &x[1])),
        ),
        case("sum_of_squares", WEIGHT, [2, 4], vec![weight("x")], |x| adaptive::sum_of_squares(&x[0]).map(drop)),
        case("adaptive_weight", [1; 4], [5, 12], vec![scalar("nll"), scalar("other")], |x| {
            adaptive::weight(&x[0], &x[1], 1e8, 0.1).map(drop)
        }),
        case("l1_loss", IMAGES, [4, 12], vec![Input::normal("x_hat", &IMAGES), Input::normal("x", &IMAGES)], |x| {
            l1_loss(&x[0], &x[1], 1.0).map(drop)
        }),
        adamw_case(),
    ]
}

/// A case of `run`, which computes and moves so many FLOPs and bytes an element of tensors of `shape`.
fn case(
    op: &'static str,
    shape: [usize; 4],
    [flops, bytes]: [usize; 2],
    inputs: Vec<Input>,
    run: impl Fn(&[Tensor]) -> Result<()> + Send + Sync + 'static,
) -> Case {
    let count: usize = shape.iter().product();
    Case {
        op,
        label: match shape {
            WEIGHT => "a 3×3 convolution of f16d32",
            LATENTS => "latents of f16d32, a batch",
            IMAGES => "images of f16d32",
            _ => "two norms",
        },
        inputs: inputs.into_iter().map(Input::constant).collect(),
        settings: vec![],
        run: Box::new(move |_, inputs| {
            run(&inputs.iter().map(|input| input.value().clone()).collect::<Vec<_>>())?;
            Ok(vec![])
        }),
        tolerance: Tolerance::ELEMENTWISE,
        flops: (flops * count) as u64,
        bytes: (bytes * count) as u64,
        bench: true,
    }
}

/// `update` of the first input in place: of a copy that nothing else refers to, made once.
fn in_place(
    update: impl Fn(Tensor, &[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> impl Fn(&[Tensor]) -> Result<()> + Send + Sync + 'static {
    let kept = Mutex::new(None);
    move |inputs| {
        let mut kept = kept.lock().expect("no panic while holding it");
        let tensor = match kept.take() {
            Some(tensor) => tensor,
            None => copy(&inputs[0])?,
        };
        *kept = Some(update(tensor, &inputs[1..])?);
        Ok(())
    }
}

fn copy(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.uninit_like()?;
    copy.copy_from(tensor)?;
    Ok(copy)
}

fn other(dtype: DType) -> DType {
    if dtype == DType::F32 { DType::Bf16 } else { DType::F32 }
}

/// The optimizer's step over parameters long and short, with a moving average, and with bf16 copies where the model is in bf16.
fn adamw_case() -> Case {
    let gradients =
        [("weight", &WEIGHT[..]), ("bias", &WEIGHT[..1]), ("last weight", &[3, 3, 3, 128]), ("last bias", &[3])];
    let mut inputs =
        vec![Input::normal("lr", &[1]).values(Values::Uniform(1e-4, 2e-4)).f32(), Input::normal("like", &[1])];
    inputs.extend(gradients.map(|(name, shape)| Input::normal(name, shape).f32()));
    let settings = AdamWSettings {
        betas: (0.9, 0.95),
        eps: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
        ema_decay: 0.999,
        max_norm: Some(1.0),
    };
    let kept: Mutex<Option<Optimizer>> = Mutex::new(None);
    let mut case = case("adamw", WEIGHT, [17, 36], inputs, move |x| {
        let mut kept = kept.lock().expect("no panic while holding it");
        let (lr, dtype, gradients) = (&x[0], x[1].dtype(), &x[2..]);
        let mut optimizer = match kept.take() {
            Some(optimizer) => optimizer,
            None => Optimizer::new(gradients, dtype)?,
        };
        let groups = gradients.iter().zip(&mut optimizer.parameters);
        let groups = groups.map(|(grad, [param, exp_avg, exp_avg_sq, ema, rounded])| AdamWGroup {
            grad,
            param,
            exp_avg,
            exp_avg_sq,
            ema,
            rounded,
        });
        adamw::step(&settings, 1.0, lr, &mut optimizer.state, groups.collect())?;
        *kept = Some(optimizer);
        Ok(())
    });
    case.label = "f16d32, four parameters";
    case
}

/// What [`adamw::step`] keeps from one step to the next.
struct Optimizer {
    state: Tensor,
    /// Of each its value, two moments, average and rounded copy.
    parameters: Vec<[Tensor; 5]>,
}

impl Optimizer {
    fn new(gradients: &[Tensor], dtype: DType) -> Result<Optimizer> {
        let device = gradients[0].device();
        let parameter = |like: &Tensor| {
            let zeros = || Tensor::from_slice(device, like.shape(), &vec![0.0; like.numel()]);
            let rounded = match dtype {
                DType::Bf16 => Tensor::uninit(device, like.shape(), dtype)?,
                _ => Tensor::absent(device)?,
            };
            Ok([copy(like)?, zeros()?, zeros()?, copy(like)?, rounded])
        };
        let parameters = gradients.iter().map(parameter).collect::<Result<_>>()?;
        Ok(Optimizer { state: adamw::state(device, 0)?, parameters })
    }
}
