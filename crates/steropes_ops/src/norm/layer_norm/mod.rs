//! Layer normalisation, forward and backward.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::rows::{Norm, check_eps, check_parameter, check_same};
use crate::error::OpError;
use steropes_tensor::Tensor;

const OP: &str = "norm::layer_norm";
const OVER: &str = "norm::layer_norm_over";
const ADD: &str = "norm::add_layer_norm";
const BACKWARD: &str = "norm::layer_norm_backward";
const ADD_BACKWARD: &str = "norm::add_layer_norm_backward";

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis, `var` divided by the width.
///
/// # Shapes
/// - `x`: `[.., width]`, f32, on a GPU also f16; rows of any length
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
/// finite; [`OpError::Unsupported`] on a GPU if a single row does not fit one binding. Nothing is computed then.
///
/// # Source
/// arXiv:1607.06450. Rows beyond registers merge means and variances by parts: Chan, Golub, LeVeque, "Updating formulae and a
/// pairwise algorithm for computing sample variances", 1979.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor, OpError> {
    let Some(&width) = x.shape().last().filter(|&&w| w > 0) else {
        return Err(OpError::shape(OP, "x", "[.., width] with a width above 0", x.shape()));
    };
    Ok(norm(OP, &[width], Some(weight), Some(bias), eps)?.forward(x, None)?.0)
}

/// [`layer_norm`] over the trailing axes `normalized_shape`, with or without weight and bias.
///
/// # Shapes
/// - `x`: `[.., normalized_shape..]`, f32, on a GPU also f16
/// - `weight`, `bias`: `normalized_shape`, f32; one may be given without the other
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// As [`layer_norm`].
///
/// # Errors
/// As [`layer_norm`]; [`OpError::Shape`] also if `normalized_shape` has no axis or an extent of 0.
///
/// # Source
/// As [`layer_norm`].
pub fn layer_norm_over(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<Tensor, OpError> {
    check_axes(OVER, "x", x, normalized_shape)?;
    Ok(norm(OVER, normalized_shape, weight, bias, eps)?.forward(x, None)?.0)
}

/// `(residual + x, layer_norm_over(residual + x))` in one pass: the end of a block that has a residual, and the norm of the next.
///
/// # Shapes
/// - `residual`, `x`: `[.., normalized_shape..]`, one dtype, f32, on a GPU also f16
/// - `weight`, `bias`: `normalized_shape`, f32; each may be absent
/// - returns: two tensors of the shape and dtype of `x`
///
/// # Numerics
/// The sum is rounded to its dtype before it is normalised: the results are those of `elementwise::add` and [`layer_norm_over`].
///
/// # Errors
/// As [`layer_norm_over`]; [`OpError::Shape`] also if `residual` does not have the shape of `x`.
///
/// # Source
/// As [`layer_norm`].
pub fn add_layer_norm(
    residual: &Tensor,
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor), OpError> {
    check_axes(ADD, "x", x, normalized_shape)?;
    check_same(ADD, "residual", residual, x)?;
    let (y, sum) = norm(ADD, normalized_shape, weight, bias, eps)?.forward(x, Some(residual))?;
    Ok((sum.expect("a residual was given"), y))
}

/// The gradients of [`layer_norm_over`] for `x`, and for weight and bias if there is a weight, from that of its result.
///
/// With `n` the normalised values, `g = grad weight` and means over a row:
/// `grad_x = (g - mean(g) - n mean(g n)) / sqrt(var + eps)`, `grad_weight = Σ grad n`, `grad_bias = Σ grad` over the rows.
/// Mean and variance are computed again, because `x` has to be read anyway.
///
/// # Shapes
/// - `x`, `grad`: `[.., normalized_shape..]`, one dtype, f32, on a GPU also f16
/// - `weight`: `normalized_shape`, f32
/// - returns: `grad_x` in the shape and dtype of `x`; `grad_weight` and `grad_bias` in f32 and `normalized_shape`
///
/// # Numerics
/// f32 throughout: each within 2e-6 of the sum of the magnitudes of what it is a sum of, more by the rounding of the mean as in
/// [`layer_norm`]; an f16 `grad_x` is rounded once more. `grad_weight` and `grad_bias` are sums of partial sums whose number and
/// order depend on the shape and the kind of device, never on threads.
///
/// # Errors
/// As [`layer_norm_over`]; [`OpError::Shape`] also if `grad` does not have the shape of `x`.
///
/// # Source
/// The derivative of the formula of [`layer_norm`].
pub fn layer_norm_backward(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    eps: f32,
    grad: &Tensor,
) -> Result<(Tensor, Option<(Tensor, Tensor)>), OpError> {
    backward(BACKWARD, ("x", x), normalized_shape, weight, eps, None, grad)
}

/// The gradients of [`add_layer_norm`] from those of its two results: for `residual` and for `x`, which have the same, and for
/// weight and bias if there is a weight.
///
/// # Shapes
/// - `sum`, `grad_sum`, `grad`: `[.., normalized_shape..]`, one dtype, f32, on a GPU also f16
/// - `weight`: `normalized_shape`, f32
/// - returns: as [`layer_norm_backward`]
///
/// # Numerics
/// As [`layer_norm_backward`], and one addition.
///
/// # Errors
/// As [`layer_norm_backward`].
///
/// # Source
/// As [`layer_norm_backward`].
pub fn add_layer_norm_backward(
    sum: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    eps: f32,
    grad_sum: &Tensor,
    grad: &Tensor,
) -> Result<(Tensor, Option<(Tensor, Tensor)>), OpError> {
    check_same(ADD_BACKWARD, "grad_sum", grad_sum, sum)?;
    backward(ADD_BACKWARD, ("sum", sum), normalized_shape, weight, eps, Some(grad_sum), grad)
}

fn backward(
    op: &'static str,
    (name, x): (&'static str, &Tensor),
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    eps: f32,
    grad_sum: Option<&Tensor>,
    grad: &Tensor,
) -> Result<(Tensor, Option<(Tensor, Tensor)>), OpError> {
    check_axes(op, name, x, normalized_shape)?;
    check_same(op, "grad", grad, x)?;
    let all = norm(op, normalized_shape, weight, None, eps)?.backward((name, x), grad_sum, grad)?;
    let shaped = |grad: Tensor| grad.reshape(normalized_shape).expect("as many as a row has");
    Ok((all.x, all.weight.zip(all.bias).map(|(weight, bias)| (shaped(weight), shaped(bias)))))
}

fn check_axes(
    op: &'static str,
    name: &'static str,
    x: &Tensor,
    normalized_shape: &[usize],
) -> Result<(), OpError> {
    if normalized_shape.is_empty() || normalized_shape.contains(&0) {
        let expected = "at least one axis, all above 0";
        return Err(OpError::shape(op, "normalized_shape", expected, normalized_shape));
    }
    if x.shape().ends_with(normalized_shape) {
        return Ok(());
    }
    let extents: Vec<String> = normalized_shape.iter().map(usize::to_string).collect();
    Err(OpError::shape(op, name, format!("[.., {}]", extents.join(", ")), x.shape()))
}

fn norm<'a>(
    op: &'static str,
    normalized_shape: &[usize],
    weight: Option<&'a Tensor>,
    bias: Option<&'a Tensor>,
    eps: f32,
) -> Result<Norm<'a>, OpError> {
    check_parameter(op, "weight", weight, normalized_shape)?;
    check_parameter(op, "bias", bias, normalized_shape)?;
    check_eps(op, eps)?;
    let width = normalized_shape.iter().product();
    Ok(Norm { op, kernel: "layer_norm", centered: true, width, eps, weight, bias })
}
