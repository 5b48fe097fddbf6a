//! Cross entropy of a linear layer's results, which are never stored all at once.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::Reduction;
use super::cross_entropy::{CrossEntropyOptions, check_options, check_targets};
use crate::error::{Holds, OpError, Place, place};
use crate::indexing::integers;
use steropes_tensor::Tensor;

const OP: &str = "loss::linear_cross_entropy";

/// Logits in memory at once: 64 MB of f32.
const CHUNK_VALUES: usize = 1 << 24;

/// What [`linear_cross_entropy`] gives.
#[derive(Clone, Debug)]
pub struct LinearCrossEntropy {
    /// The loss, without axes, f32.
    pub loss: Tensor,
    /// Its gradient for `x`, of the shape and dtype of `x`.
    pub x_gradient: Tensor,
    /// Its gradient for `weight`, of the shape and dtype of `weight`.
    pub weight_gradient: Tensor,
}

/// [`cross_entropy`](super::cross_entropy::cross_entropy) of `x Wᵀ` and its gradients for `x` and `W`, in one call.
///
/// # Shapes
/// - `x`: `[rows, width]`, f32, on a GPU also f16
/// - `weight`: `[classes, width]`, the dtype of `x`
/// - `targets`: `[rows]`, i32, u32 or i64
/// - returns: the loss and the gradients of it; of a mean or a sum, since the gradients are made with the loss
///
/// # Memory
/// Rows go through in chunks: the logits of a chunk, their gradient and the same turned over, each at most 64 MB, or
/// one row where that is more. Beside them two packed copies of the weight, its gradient, and on a GPU f32 copies of f16
/// tensors.
///
/// # Numerics
/// Products and sums in f32, those of a chunk's rows for the weight's gradient one chunk after another. Loss within
/// `Tolerance::OfLargest(4e-6)`, gradients within `Tolerance::Sum` of their depth, which is the number of classes and of rows. f16
/// is widened first, its results rounded once.
///
/// # Errors
/// As [`cross_entropy`](super::cross_entropy::cross_entropy), [`OpError::Value`] also without a reduction.
///
/// # Source
/// Written from the formula; the order of work is that of arXiv:2410.10989.
pub fn linear_cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<LinearCrossEntropy, OpError> {
    in_chunks(x, weight, targets, options, CHUNK_VALUES)
}

/// [`linear_cross_entropy`] with at most `values` logits at once.
fn in_chunks(
    x: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    values: usize,
) -> Result<LinearCrossEntropy, OpError> {
    let &[rows, width] = x.shape() else {
        return Err(OpError::shape(OP, "x", "[rows, width]", x.shape()));
    };
    let classes = match weight.shape() {
        &[classes, inputs] if classes > 0 && width > 0 && inputs == width => classes,
        _ => {
            let expected = format!("[classes, {width}] with classes and a width");
            return Err(OpError::shape(OP, "weight", expected, weight.shape()));
        }
    };
    if targets.shape() != [rows] {
        return Err(OpError::shape(OP, "targets", format!("[{rows}]"), targets.shape()));
    }
    check_options(OP, options)?;
    if options.reduction == Reduction::None {
        return Err(OpError::value(OP, "reduction", "a mean or a sum", "none"));
    }
    let arguments =
        [("x", x, Holds::Float), ("weight", weight, Holds::Float), ("targets", targets, Holds::Index)];
    let chunk = chunk_rows(classes, values);
    match place(OP, &arguments)? {
        Place::Cpu => {
            let targets = integers(targets);
            check_targets(OP, &targets, classes, options)?;
            cpu::linear_cross_entropy(x, weight, &targets, options, chunk)
        }
        Place::Gpu(gpu) => gpu::linear_cross_entropy(&gpu, x, weight, targets, options, chunk),
    }
}

/// Rows of a chunk.
fn chunk_rows(classes: usize, values: usize) -> usize {
    (values / classes).max(1)
}
