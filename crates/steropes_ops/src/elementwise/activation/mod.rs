//! Activations beside `elementwise::gelu`, and the gradients of all.

pub(crate) mod bench;
mod cpu;
mod formula;
pub(in crate::elementwise) mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x/2 (1 + erf(x/√2))`, the exact form.
    Gelu,
    /// `x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x / (1 + e^-x)`.
    Silu,
}

/// `x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`, in the memory of `x` when nobody else holds it. The exact form is
/// `elementwise::gelu`; they differ by up to 5e-4.
///
/// # Shapes
/// - `x`: any, f32, on a GPU also f16
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32: within 1e-6 of `x`; f16 results are rounded once more, to within 5e-4 of themselves. -inf gives NaN, as in PyTorch.
///
/// # Errors
/// [`OpError::DType`] if `x` is not as above.
///
/// # Source
/// arXiv:1606.08415.
pub fn gelu_tanh(x: Tensor) -> Result<Tensor, OpError> {
    forward("elementwise::gelu_tanh", Activation::GeluTanh, x)
}

/// `x / (1 + e^-x)`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// As [`gelu_tanh`].
///
/// # Numerics
/// As [`gelu_tanh`].
///
/// # Errors
/// As [`gelu_tanh`].
///
/// # Source
/// arXiv:1702.03118.
pub fn silu(x: Tensor) -> Result<Tensor, OpError> {
    forward("elementwise::silu", Activation::Silu, x)
}

/// The gradient of `elementwise::gelu` at `x`, from that of its result; in the memory of `grad` when nobody else holds it.
///
/// # Shapes
/// - `x`, `grad`: one shape and dtype, f32, on a GPU also f16
/// - returns: their shape and dtype
///
/// # Numerics
/// f32: within 2e-6 of `grad`; f16 results are rounded once more, to within 5e-4 of themselves.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the arguments are not as above. Nothing is computed then.
///
/// # Source
/// The derivative of the formula.
pub fn gelu_backward(x: &Tensor, grad: Tensor) -> Result<Tensor, OpError> {
    backward("elementwise::gelu_backward", Activation::Gelu, x, grad)
}

/// The gradient of [`gelu_tanh`] at `x`, from that of its result; in the memory of `grad` when nobody else holds it.
///
/// # Shapes
/// As [`gelu_backward`].
///
/// # Numerics
/// As [`gelu_backward`].
///
/// # Errors
/// As [`gelu_backward`].
///
/// # Source
/// The derivative of the formula.
pub fn gelu_tanh_backward(x: &Tensor, grad: Tensor) -> Result<Tensor, OpError> {
    backward("elementwise::gelu_tanh_backward", Activation::GeluTanh, x, grad)
}

/// The gradient of [`silu`] at `x`, from that of its result; in the memory of `grad` when nobody else holds it.
///
/// # Shapes
/// As [`gelu_backward`].
///
/// # Numerics
/// As [`gelu_backward`].
///
/// # Errors
/// As [`gelu_backward`].
///
/// # Source
/// The derivative of the formula.
pub fn silu_backward(x: &Tensor, grad: Tensor) -> Result<Tensor, OpError> {
    backward("elementwise::silu_backward", Activation::Silu, x, grad)
}

fn forward(op: &'static str, activation: Activation, x: Tensor) -> Result<Tensor, OpError> {
    match place(op, &[("x", &x, Holds::Float)])? {
        Place::Cpu => {
            let shape = x.shape().to_vec();
            let mut y = x.into_vec::<f32>().expect("the dtype was checked");
            cpu::forward(activation, &mut y);
            Ok(on_cpu(&shape, y))
        }
        Place::Gpu(gpu) => gpu::forward(&gpu, op, activation, x),
    }
}

fn backward(op: &'static str, activation: Activation, x: &Tensor, grad: Tensor) -> Result<Tensor, OpError> {
    if x.shape() != grad.shape() {
        return Err(OpError::shape(op, "grad", format!("{:?}", x.shape()), grad.shape()));
    }
    match place(op, &[("x", x, Holds::Float), ("grad", &grad, Holds::Float)])? {
        Place::Cpu => {
            let mut y = grad.into_vec::<f32>().expect("the dtype was checked");
            cpu::backward(activation, values(x), &mut y);
            Ok(on_cpu(x.shape(), y))
        }
        Place::Gpu(gpu) => gpu::backward(&gpu, op, activation, x, grad),
    }
}
