//! Layer normalisation.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "norm::layer_norm";

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis, `var` divided by the width.
///
/// # Shapes
/// - `x`: `[.., width]`, f32, on a GPU also f16
/// - `weight`, `bias`: `[width]`, f32
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32 throughout: the mean first, then the variance around it, so that values far from zero lose only the rounding of
/// the mean, an ulp of theirs, divided by their spread. Otherwise within `Tolerance::OfLargest(1e-6)`; f16 results are
/// rounded once, to within 5e-4 of themselves.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above or `eps` is negative or not
/// finite. Nothing is computed then.
///
/// # Source
/// arXiv:1607.06450.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor, OpError> {
    let Some(&width) = x.shape().last().filter(|&&w| w > 0) else {
        return Err(OpError::shape(OP, "x", "[.., width] with a width above 0", x.shape()));
    };
    for (name, t) in [("weight", weight), ("bias", bias)] {
        if t.shape() != [width] {
            return Err(OpError::shape(OP, name, format!("[{width}]"), t.shape()));
        }
    }
    if !(eps.is_finite() && eps >= 0.0) {
        return Err(OpError::value(OP, "eps", "a finite number from 0 on", eps));
    }
    let arguments = [("x", x, Holds::Float), ("weight", weight, Holds::F32), ("bias", bias, Holds::F32)];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let y = cpu::layer_norm(values(x), values(weight), values(bias), eps);
            Ok(on_cpu(x.shape(), y))
        }
        Place::Gpu(gpu) => gpu::layer_norm(&gpu, x, weight, bias, eps),
    }
}
