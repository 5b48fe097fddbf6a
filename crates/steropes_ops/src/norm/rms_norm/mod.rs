//! Root mean square normalisation, forward and backward.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::rows::{Norm, check_eps, check_parameter, check_same};
use crate::error::OpError;
use steropes_tensor::Tensor;

const OP: &str = "norm::rms_norm";
const ADD: &str = "norm::add_rms_norm";
const BACKWARD: &str = "norm::rms_norm_backward";
const ADD_BACKWARD: &str = "norm::add_rms_norm_backward";

/// `x / sqrt(mean(x²) + eps) * weight` over the last axis.
///
/// Networks that store `w` and scale by `1 + w` are given `1 + w` as the weight.
///
/// # Shapes
/// - `x`: `[.., width]`, any number of axes, f32, on a GPU also f16; rows of any length
/// - `weight`: `[width]`, f32; absent it is 1
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32 throughout: within `Tolerance::OfLargest(1e-6)`; f16 results are rounded once more, to within 5e-4 of themselves. Squares
/// are f32: magnitudes above 1e19 have none, and below 1e-19 count as 0.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above or `eps` is negative or not
/// finite; [`OpError::Unsupported`] on a GPU if a single row does not fit one binding. Nothing is computed then.
///
/// # Source
/// arXiv:1910.07467.
pub fn rms_norm(x: &Tensor, weight: Option<&Tensor>, eps: f32) -> Result<Tensor, OpError> {
    Ok(norm(OP, ("x", x), weight, eps)?.forward(x, None)?.0)
}

/// `(residual + x, rms_norm(residual + x))` in one pass: the end of a block that has a residual, and the norm of the next.
///
/// # Shapes
/// - `residual`, `x`: `[.., width]`, one shape and dtype, f32, on a GPU also f16
/// - `weight`: `[width]`, f32; absent it is 1
/// - returns: two tensors of the shape and dtype of `x`
///
/// # Numerics
/// The sum is rounded to its dtype before it is normalised: the results are those of `elementwise::add` and [`rms_norm`].
///
/// # Errors
/// As [`rms_norm`]; [`OpError::Shape`] also if `residual` does not have the shape of `x`.
///
/// # Source
/// As [`rms_norm`].
pub fn add_rms_norm(
    residual: &Tensor,
    x: &Tensor,
    weight: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor), OpError> {
    check_same(ADD, "residual", residual, x)?;
    let (y, sum) = norm(ADD, ("x", x), weight, eps)?.forward(x, Some(residual))?;
    Ok((sum.expect("a residual was given"), y))
}

/// The gradients of [`rms_norm`] for `x`, and for the weight if there is one, from that of its result.
///
/// With `r = 1 / sqrt(mean(x²) + eps)`, `n = x r`, `g = grad weight` and means over a row:
/// `grad_x = r (g - n mean(g n))`, `grad_weight = Σ grad n` over the rows. `r` is computed again, because `x` has to be read
/// anyway.
///
/// # Shapes
/// - `x`, `grad`: `[.., width]`, one shape and dtype, f32, on a GPU also f16
/// - `weight`: `[width]`, f32; absent it is 1
/// - returns: `grad_x` in the shape and dtype of `x`, `grad_weight` `[width]` in f32
///
/// # Numerics
/// f32 throughout: each within 2e-6 of the sum of the magnitudes of what it is a sum of; an f16 `grad_x` is rounded once more.
/// `grad_weight` is a sum of partial sums whose number and order depend on the shape and the kind of device, never on threads.
///
/// # Errors
/// As [`rms_norm`]; [`OpError::Shape`] also if `grad` does not have the shape of `x`.
///
/// # Source
/// The derivative of the formula of [`rms_norm`].
pub fn rms_norm_backward(
    x: &Tensor,
    weight: Option<&Tensor>,
    eps: f32,
    grad: &Tensor,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    let norm = norm(BACKWARD, ("x", x), weight, eps)?;
    check_same(BACKWARD, "grad", grad, x)?;
    let all = norm.backward(("x", x), None, grad)?;
    Ok((all.x, all.weight))
}

/// The gradients of [`add_rms_norm`] from those of its two results: for `residual` and for `x`, which have the same, and for the
/// weight if there is one.
///
/// # Shapes
/// - `sum`, `grad_sum`, `grad`: `[.., width]`, one shape and dtype, f32, on a GPU also f16; `sum` is the first result
/// - `weight`: `[width]`, f32; absent it is 1
/// - returns: as [`rms_norm_backward`]
///
/// # Numerics
/// As [`rms_norm_backward`], and one addition.
///
/// # Errors
/// As [`rms_norm_backward`].
///
/// # Source
/// As [`rms_norm_backward`].
pub fn add_rms_norm_backward(
    sum: &Tensor,
    weight: Option<&Tensor>,
    eps: f32,
    grad_sum: &Tensor,
    grad: &Tensor,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    let norm = norm(ADD_BACKWARD, ("sum", sum), weight, eps)?;
    check_same(ADD_BACKWARD, "grad_sum", grad_sum, sum)?;
    check_same(ADD_BACKWARD, "grad", grad, sum)?;
    let all = norm.backward(("sum", sum), Some(grad_sum), grad)?;
    Ok((all.x, all.weight))
}

fn norm<'a>(
    op: &'static str,
    (name, x): (&'static str, &Tensor),
    weight: Option<&'a Tensor>,
    eps: f32,
) -> Result<Norm<'a>, OpError> {
    let Some(&width) = x.shape().last().filter(|&&w| w > 0) else {
        return Err(OpError::shape(op, name, "[.., width] with a width above 0", x.shape()));
    };
    check_parameter(op, "weight", weight, &[width])?;
    check_eps(op, eps)?;
    Ok(Norm { op, kernel: "rms_norm", centered: false, width, eps, weight, bias: None })
}
