//! Softmax and its logarithm, forward and backward.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "norm::softmax";
const AXIS: &str = "norm::softmax_axis";
const LOG: &str = "norm::log_softmax";
const BACKWARD: &str = "norm::softmax_backward";
const LOG_BACKWARD: &str = "norm::log_softmax_backward";

/// Whether the logarithm is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Softmax.
    Plain,
    /// Its logarithm.
    Log,
}

/// A tensor as `[outer, len, inner]`, with the axis in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    outer: usize,
    len: usize,
    inner: usize,
}

impl View {
    fn of(op: &'static str, name: &'static str, tensor: &Tensor, axis: usize) -> Result<Self, OpError> {
        let shape = tensor.shape();
        let Some(&len) = shape.get(axis) else {
            return Err(OpError::value(op, "axis", format!("below {}", shape.len()), axis));
        };
        if len == 0 {
            let expected = format!("above 0 along axis {axis}");
            return Err(OpError::shape(op, name, expected, shape));
        }
        Ok(Self { outer: shape[..axis].iter().product(), len, inner: shape[axis + 1..].iter().product() })
    }
}

/// `e^x / sum(e^x)` over the last axis.
///
/// # Shapes
/// - `x`: `[.., width]`, f32, on a GPU also f16; rows of any length
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32 throughout; the largest value of a row is taken off first, so that nothing overflows. Within
/// `Tolerance::OfLargest(2e-6)`; f16 results are rounded once more, to within 5e-4 of the largest. A value of -inf gets 0; a row with
/// nothing else, with +inf, or with one that is not a number is NaN, as in PyTorch.
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
    forward(OP, Form::Plain, x, View { outer: x.len() / width, len: width, inner: 1 })
}

/// [`softmax`] over any axis.
///
/// # Shapes
/// - `x`: any with more than 0 elements along `axis`, f32, on a GPU also f16
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// As [`softmax`].
///
/// # Errors
/// [`OpError::Value`] if there is no such axis, [`OpError::Shape`] or [`OpError::DType`] if `x` is not as above,
/// [`OpError::Unsupported`] on a GPU if what has one index in the axes before does not fit one binding.
///
/// # Source
/// As [`softmax`].
pub fn softmax_axis(x: &Tensor, axis: usize) -> Result<Tensor, OpError> {
    forward(AXIS, Form::Plain, x, View::of(AXIS, "x", x, axis)?)
}

/// `x - log(sum(e^x))` over any axis, the logarithm of [`softmax_axis`].
///
/// # Shapes
/// As [`softmax_axis`].
///
/// # Numerics
/// f32 throughout; the largest value is taken off first. Within `Tolerance::OfLargest(1e-6)`, where the largest of the inputs counts
/// too; f16 results are rounded once more. What is -inf stays -inf; an axis with nothing else, with +inf, or with one that is not
/// a number is NaN, as in PyTorch.
///
/// # Errors
/// As [`softmax_axis`].
///
/// # Source
/// As [`softmax`].
pub fn log_softmax(x: &Tensor, axis: usize) -> Result<Tensor, OpError> {
    forward(LOG, Form::Log, x, View::of(LOG, "x", x, axis)?)
}

/// The gradient of [`softmax_axis`] for its argument, `y (grad - sum(grad y))`, from its result `y` and that of `y`.
///
/// # Shapes
/// - `y`, `grad`: one shape and dtype, f32, on a GPU also f16; more than 0 elements along `axis`
/// - returns: their shape and dtype
///
/// # Numerics
/// f32 throughout: within 2e-6 of `y` times the largest magnitude of `grad` along the axis; f16 results are rounded once more.
///
/// # Errors
/// As [`softmax_axis`]; [`OpError::Shape`] also if `grad` does not have the shape of `y`.
///
/// # Source
/// The derivative of the formula of [`softmax`].
pub fn softmax_backward(y: &Tensor, grad: &Tensor, axis: usize) -> Result<Tensor, OpError> {
    backward(BACKWARD, Form::Plain, y, grad, axis)
}

/// The gradient of [`log_softmax`] for its argument, `grad - e^y sum(grad)`, from its result `y` and that of `y`.
///
/// # Shapes
/// As [`softmax_backward`].
///
/// # Numerics
/// f32 throughout: within 2e-6 of `e^y` times the sum of the magnitudes of `grad` along the axis; an f16 `y` is no better than an ulp
/// of it. f16 results are rounded once more.
///
/// # Errors
/// As [`softmax_backward`].
///
/// # Source
/// The derivative of the formula of [`log_softmax`].
pub fn log_softmax_backward(y: &Tensor, grad: &Tensor, axis: usize) -> Result<Tensor, OpError> {
    backward(LOG_BACKWARD, Form::Log, y, grad, axis)
}

fn forward(op: &'static str, form: Form, x: &Tensor, view: View) -> Result<Tensor, OpError> {
    match place(op, &[("x", x, Holds::Float)])? {
        _ if x.is_empty() => Ok(x.clone()),
        Place::Cpu => Ok(on_cpu(x.shape(), cpu::softmax(form, values(x), view))),
        Place::Gpu(gpu) => gpu::softmax(&gpu, op, form, x, view),
    }
}

fn backward(op: &'static str, form: Form, y: &Tensor, grad: &Tensor, axis: usize) -> Result<Tensor, OpError> {
    let view = View::of(op, "y", y, axis)?;
    if grad.shape() != y.shape() {
        return Err(OpError::shape(op, "grad", format!("{:?}", y.shape()), grad.shape()));
    }
    match place(op, &[("y", y, Holds::Float), ("grad", grad, Holds::Float)])? {
        _ if y.is_empty() => Ok(y.clone()),
        Place::Cpu => Ok(on_cpu(y.shape(), cpu::backward(form, values(y), values(grad), view))),
        Place::Gpu(gpu) => gpu::backward(&gpu, op, form, y, grad, view),
    }
}
