//! What an operation is: a forward, and a backward that cannot be left out.

use crate::error::Result;
use crate::tensor::Tensor;

/// A differentiable operation with `N` inputs and `M` outputs.
///
/// An op's value holds its settings (`eps`, strides); its saved state is typed. Forward and
/// backward launch kernels and never look at values on the host.
pub trait Op<const N: usize, const M: usize = 1>: 'static {
    /// The op's name, for errors.
    const NAME: &'static str;
    /// What backward needs of forward.
    type Saved;

    /// The outputs, and what backward needs.
    ///
    /// # Errors
    /// When the inputs' shapes do not fit.
    fn forward(&self, inputs: [&Tensor; N]) -> Result<([Tensor; M], Self::Saved)>;

    /// The gradients of the inputs that `needs` marks, given the gradients of the outputs (`None`
    /// is a zero that nobody wrote down). Linear in `grads`. The tape holds that exactly the
    /// marked gradients come back.
    fn backward(
        &self,
        saved: &Self::Saved,
        grads: [Option<&Tensor>; M],
        needs: [bool; N],
    ) -> Result<[Option<Tensor>; N]>;
}

/// The gradient of a single output, which the tape guarantees to be there.
pub fn only(grads: [Option<&Tensor>; 1]) -> &Tensor {
    grads[0].expect("the tape calls backward only where a gradient arrived")
}
