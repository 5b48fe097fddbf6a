//! Losses weighted by the confidence that a network gives them.

pub(crate) mod bench;
mod cpu;
pub(super) mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::reduction::check_gradient;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "loss::conf_loss";

/// The mean of `c loss - alpha log c` over the places of a mask, 0 without any.
///
/// # Shapes
/// - `loss`: any shape, f32
/// - `confidence`: the shape of `loss`, above 0, f32, on a GPU also f16
/// - `mask`: the shape of `loss`, u8
/// - returns: `[]`, f32
///
/// # Numerics
/// f32, sums on the CPU in f64; within 2e-6 of the mean magnitude of both terms.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Value`] if `alpha` is not a finite number
/// from 0 on, [`OpError::Unsupported`] on a GPU if a tensor does not fit one binding.
///
/// # Source
/// arXiv:2312.14132, equation 4; DUSt3R's loss is the sum of this over both views of a pair, with an alpha of 0.2.
pub fn conf_loss(loss: &Tensor, confidence: &Tensor, mask: &Tensor, alpha: f32) -> Result<Tensor, OpError> {
    check(loss, confidence, mask, alpha)?;
    match place(OP, &arguments(loss, confidence, mask))? {
        Place::Cpu => {
            let mean = cpu::conf_loss(values(loss), values(confidence), values(mask), alpha);
            Ok(on_cpu(&[], vec![mean]))
        }
        Place::Gpu(gpu) => gpu::conf_loss(&gpu, loss, confidence, mask, alpha),
    }
}

/// The gradients of [`conf_loss`] for `loss` and `confidence`; zeros outside the mask.
///
/// # Shapes
/// - `grad`: `[]`, f32
/// - returns: two tensors of the shape of `loss`, f32 and in the dtype of `confidence`
///
/// # Numerics
/// As [`conf_loss`]; within `Tolerance::OfLargest(3e-6)`, f16 results are rounded once more.
///
/// # Errors
/// As [`conf_loss`].
///
/// # Source
/// Written from the formula.
pub fn conf_loss_backward(
    grad: &Tensor,
    loss: &Tensor,
    confidence: &Tensor,
    mask: &Tensor,
    alpha: f32,
) -> Result<[Tensor; 2], OpError> {
    check(loss, confidence, mask, alpha)?;
    check_gradient(OP, grad, &[])?;
    let mut arguments = arguments(loss, confidence, mask);
    arguments.push(("grad", grad, Holds::F32));
    match place(OP, &arguments)? {
        Place::Cpu => {
            let grad = values::<f32>(grad)[0];
            let gradients = cpu::backward(grad, values(loss), values(confidence), values(mask), alpha);
            Ok(gradients.map(|gradient| on_cpu(loss.shape(), gradient)))
        }
        Place::Gpu(gpu) => gpu::backward(&gpu, grad, loss, confidence, mask, alpha),
    }
}

fn arguments<'a>(
    loss: &'a Tensor,
    confidence: &'a Tensor,
    mask: &'a Tensor,
) -> Vec<(&'static str, &'a Tensor, Holds)> {
    vec![("loss", loss, Holds::F32), ("confidence", confidence, Holds::Float), ("mask", mask, Holds::Mask)]
}

fn check(loss: &Tensor, confidence: &Tensor, mask: &Tensor, alpha: f32) -> Result<(), OpError> {
    for (name, tensor) in [("confidence", confidence), ("mask", mask)] {
        if tensor.shape() != loss.shape() {
            return Err(OpError::shape(OP, name, format!("{:?}", loss.shape()), tensor.shape()));
        }
    }
    if !(alpha.is_finite() && alpha >= 0.0) {
        return Err(OpError::value(OP, "alpha", "a finite number from 0 on", alpha));
    }
    Ok(())
}
