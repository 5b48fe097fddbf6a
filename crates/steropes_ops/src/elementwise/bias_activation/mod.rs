//! A bias and the activation behind it in one pass, forward and backward.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::activation::Activation;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "elementwise::bias_activation";
const BACKWARD: &str = "elementwise::bias_activation_backward";

/// `activation(x + bias)` with the bias along the last axis, in the memory of `x` when nobody else holds it. Behind a product it is
/// free: see the epilogue of `linalg::linear`.
///
/// # Shapes
/// - `x`: `[.., width]`, f32, on a GPU also f16
/// - `bias`: `[width]`, f32
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32: within 1e-6 of `|x| + |bias|`; f16 results are rounded once more, to within 5e-4 of themselves.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the arguments are not as above. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn bias_activation(x: Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor, OpError> {
    check(OP, &x, bias)?;
    match place(OP, &[("x", &x, Holds::Float), ("bias", bias, Holds::F32)])? {
        Place::Cpu => {
            let shape = x.shape().to_vec();
            let mut y = x.into_vec::<f32>().expect("the dtype was checked");
            cpu::forward(activation, &mut y, values(bias));
            Ok(on_cpu(&shape, y))
        }
        Place::Gpu(gpu) => gpu::forward(&gpu, activation, x, bias),
    }
}

/// The gradients of [`bias_activation`] for `x` and the bias, from that of its result; nothing but the arguments need be kept.
///
/// # Shapes
/// - `x`, `grad`: `[.., width]`, one shape and dtype, f32, on a GPU also f16
/// - `bias`: `[width]`, f32
/// - returns: `grad_x` in the shape and dtype of `x`, `grad_bias` `[width]` in f32, the sum of `grad_x` over its rows before that is
///   rounded
///
/// # Numerics
/// f32: `grad_x` is within 2e-6 of `grad (1 + |x| + |bias|)`, `grad_bias` within 2e-6 of the sum of that over the rows. It is a
/// sum of partial sums whose number and order depend on the shape and the kind of device, never on threads.
///
/// # Errors
/// As [`bias_activation`]; [`OpError::Shape`] also if `grad` does not have the shape of `x`, [`OpError::Unsupported`] on a GPU if the
/// partial sums of a workgroup do not fit one binding.
///
/// # Source
/// The derivative of the formula.
pub fn bias_activation_backward(
    x: &Tensor,
    bias: &Tensor,
    activation: Activation,
    grad: &Tensor,
) -> Result<(Tensor, Tensor), OpError> {
    check(BACKWARD, x, bias)?;
    if grad.shape() != x.shape() {
        return Err(OpError::shape(BACKWARD, "grad", format!("{:?}", x.shape()), grad.shape()));
    }
    let arguments = [("x", x, Holds::Float), ("bias", bias, Holds::F32), ("grad", grad, Holds::Float)];
    match place(BACKWARD, &arguments)? {
        Place::Cpu => {
            let [grad_x, grad_bias] = cpu::backward(activation, values(x), values(bias), values(grad));
            Ok((on_cpu(x.shape(), grad_x), on_cpu(bias.shape(), grad_bias)))
        }
        Place::Gpu(gpu) => gpu::backward(&gpu, activation, x, bias, grad),
    }
}

fn check(op: &'static str, x: &Tensor, bias: &Tensor) -> Result<(), OpError> {
    let Some(&width) = x.shape().last().filter(|&&w| w > 0) else {
        return Err(OpError::shape(op, "x", "[.., width] with a width above 0", x.shape()));
    };
    if bias.shape() != [width] {
        return Err(OpError::shape(op, "bias", format!("[{width}]"), bias.shape()));
    }
    Ok(())
}
