//! Jensen-Shannon divergence.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::Reduction;
use super::pointwise::Pointwise;
use crate::error::OpError;
use steropes_tensor::Tensor;

const OP: &str = "loss::js_divergence";

/// `p/2 log(p/m) + q/2 log(q/m)` of each pair with `m = (p + q) / 2`, from the logarithms of `p` and `q`.
///
/// # Shapes
/// - `log_p`, `log_q`: any shape, `[batch, ..]` for a batch mean, f32, on a GPU also f16
/// - returns: f32, the shape of `log_p` without a reduction, else `[]`
///
/// # Numerics
/// f32 in a form without cancellation, `(p + q)/2 (y tanh y - log cosh y)` with `y = (log_p - log_q) / 2`, so that also divergences of
/// almost equal distributions are exact to `2e-6` of themselves; sums on the CPU in f64. Logarithms below -200, minus infinity too, are
/// those of a probability of 0.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// Written from the formula.
pub fn js_divergence(log_p: &Tensor, log_q: &Tensor, reduction: Reduction) -> Result<Tensor, OpError> {
    PAIRS.forward(log_p, log_q, reduction)
}

/// The gradients of [`js_divergence`] for `log_p` and `log_q`.
///
/// # Shapes
/// - `grad`: f32, the shape of the loss
/// - returns: two tensors of the shape and dtype of `log_p`
///
/// # Numerics
/// As [`js_divergence`]; within `Tolerance::OfLargest(3e-6)`, f16 results are rounded once more.
///
/// # Errors
/// As [`js_divergence`].
///
/// # Source
/// Written from the formula.
pub fn js_divergence_backward(
    grad: &Tensor,
    log_p: &Tensor,
    log_q: &Tensor,
    reduction: Reduction,
) -> Result<[Tensor; 2], OpError> {
    PAIRS.backward(grad, log_p, log_q, reduction)
}

const PAIRS: Pointwise = Pointwise {
    op: OP,
    arguments: ["log_p", "log_q"],
    loss: cpu::loss,
    slopes: cpu::slopes,
    kernel: include_str!("js_divergence.wgsl"),
};
