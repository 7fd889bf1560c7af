//! Memory for the gradients that a backward was asked for.

use crate::error::Result;
use crate::tensor::Tensor;

/// Memory like the inputs that `needs` marks, absent tensors for the others: what a backward kernel writes.
pub(super) fn allocate<const N: usize>(inputs: [&Tensor; N], needs: [bool; N]) -> Result<[Tensor; N]> {
    let mut gradients = [const { None }; N];
    for ((gradient, input), need) in gradients.iter_mut().zip(inputs).zip(needs) {
        *gradient = Some(if need { input.uninit_like()? } else { Tensor::absent(input.device())? });
    }
    Ok(gradients.map(|gradient| gradient.expect("each was just made")))
}

/// Those of `gradients` that `needs` marks.
pub(super) fn asked<const N: usize>(gradients: [Tensor; N], needs: [bool; N]) -> [Option<Tensor>; N] {
    let mut needs = needs.into_iter();
    gradients.map(|gradient| needs.next().filter(|&need| need).map(|_| gradient))
}

/// The gradients of inputs [x, ..] where only the residual that passes x on has one: its own, and zeros.
pub(super) fn of_residual_alone<const N: usize>(
    inputs: [&Tensor; N],
    dresidual: Option<&Tensor>,
    needs: [bool; N],
) -> Result<[Option<Tensor>; N]> {
    let mut gradients = [const { None }; N];
    for (i, (gradient, input)) in gradients.iter_mut().zip(inputs).enumerate().filter(|(i, _)| needs[*i]) {
        *gradient = Some(match dresidual {
            Some(dresidual) if i == 0 => dresidual.clone(),
            _ => Tensor::zeros(input.device(), input.shape())?.to_dtype(input.dtype())?,
        });
    }
    Ok(gradients)
}
