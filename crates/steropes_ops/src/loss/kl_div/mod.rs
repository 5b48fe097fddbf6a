//! Kullback-Leibler divergence.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::Reduction;
use super::pointwise::Pointwise;
use crate::error::OpError;
use steropes_tensor::Tensor;

const OP: &str = "loss::kl_div";

/// What the targets of [`kl_div`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KlTarget {
    /// Probabilities.
    Probabilities,
    /// Their logarithms.
    Logarithms,
}

/// `t (log t - input)` of each pair, where `input` is the logarithm of a probability and `t` the probability that is the target.
///
/// # Shapes
/// - `input`, `target`: any shape, `[batch, ..]` for a batch mean, f32, on a GPU also f16
/// - returns: f32, the shape of `input` without a reduction, else `[]`
///
/// # Numerics
/// f32, sums on the CPU in f64; losses of pairs within `Tolerance::OfLargest(2e-6)`, sums within that part of the sum of their
/// magnitudes. Where the target's probability is 0, so is the divergence, whatever the input, and so are both gradients. Means of
/// nothing are not numbers.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// Written from the formula; arguments and reductions are those of `torch.nn.functional.kl_div`.
pub fn kl_div(
    input: &Tensor,
    target: &Tensor,
    kind: KlTarget,
    reduction: Reduction,
) -> Result<Tensor, OpError> {
    pairs(kind).forward(input, target, reduction)
}

/// The gradients of [`kl_div`] for `input` and `target`.
///
/// # Shapes
/// - `grad`: f32, the shape of the loss
/// - returns: two tensors of the shape and dtype of `input`
///
/// # Numerics
/// As [`kl_div`]; within `Tolerance::OfLargest(3e-6)`, f16 results are rounded once more.
///
/// # Errors
/// As [`kl_div`].
///
/// # Source
/// Written from the formula.
pub fn kl_div_backward(
    grad: &Tensor,
    input: &Tensor,
    target: &Tensor,
    kind: KlTarget,
    reduction: Reduction,
) -> Result<[Tensor; 2], OpError> {
    pairs(kind).backward(grad, input, target, reduction)
}

fn pairs(kind: KlTarget) -> Pointwise {
    let arguments = ["input", "target"];
    match kind {
        KlTarget::Probabilities => Pointwise {
            op: OP,
            arguments,
            loss: cpu::loss,
            slopes: cpu::slopes,
            kernel: include_str!("probabilities.wgsl"),
        },
        KlTarget::Logarithms => Pointwise {
            op: OP,
            arguments,
            loss: cpu::log_loss,
            slopes: cpu::log_slopes,
            kernel: include_str!("logarithms.wgsl"),
        },
    }
}
