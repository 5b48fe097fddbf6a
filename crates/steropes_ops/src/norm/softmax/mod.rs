//! Softmax.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "norm::softmax";

/// `e^x / sum(e^x)` over the last axis.
///
/// # Shapes
/// - `x`: `[.., width]`, f32, on a GPU also f16; rows of any length
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32 throughout; the largest value of a row is taken off first, so that nothing overflows. Within
/// `Tolerance::OfLargest(2e-6)`; f16 results are rounded once more, to within 5e-4 of the largest. Values are finite; a row with
/// one that is not a number is none.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` is not as above, [`OpError::Unsupported`] on a GPU if a single row does not
/// fit one binding. Nothing is computed then.
///
/// # Source
/// Written from the formula; long rows on GPUs in one pass for maximum and sum, arXiv:1805.02867.
pub fn softmax(x: &Tensor) -> Result<Tensor, OpError> {
    let Some(&width) = x.shape().last().filter(|&&w| w > 0) else {
        return Err(OpError::shape(OP, "x", "[.., width] with a width above 0", x.shape()));
    };
    match place(OP, &[("x", x, Holds::Float)])? {
        Place::Cpu => Ok(on_cpu(x.shape(), cpu::softmax(values(x), width))),
        Place::Gpu(gpu) => gpu::softmax(&gpu, x, width),
    }
}
