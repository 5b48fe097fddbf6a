//! Gated linear units: one half of a hidden layer decides how much of the other passes.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::activation::Activation;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

/// `silu(gate) up`, in the memory of `gate` when nobody else holds it.
///
/// # Shapes
/// - `gate`, `up`: one shape and dtype, f32, on a GPU also f16
/// - returns: their shape and dtype
///
/// # Numerics
/// f32: within 1e-6 of `gate up`; f16 results are rounded once more, to within 5e-4 of themselves.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the arguments are not as above. Nothing is computed then.
///
/// # Source
/// arXiv:2002.05202.
pub fn swiglu(gate: Tensor, up: &Tensor) -> Result<Tensor, OpError> {
    forward("elementwise::swiglu", Activation::Silu, gate, up)
}

/// `gelu(gate) up` with the exact `gelu`, in the memory of `gate` when nobody else holds it.
///
/// # Shapes
/// As [`swiglu`].
///
/// # Numerics
/// As [`swiglu`].
///
/// # Errors
/// As [`swiglu`].
///
/// # Source
/// arXiv:2002.05202.
pub fn geglu(gate: Tensor, up: &Tensor) -> Result<Tensor, OpError> {
    forward("elementwise::geglu", Activation::Gelu, gate, up)
}

/// The gradients of [`swiglu`] for `gate` and for `up`, from that of its result; nothing but the arguments need be kept.
///
/// # Shapes
/// - `gate`, `up`, `grad`: one shape and dtype, f32, on a GPU also f16
/// - returns: two tensors of their shape and dtype
///
/// # Numerics
/// f32: within 2e-6 of `grad up` and of `grad gate`; f16 results are rounded once more, to within 5e-4 of themselves.
///
/// # Errors
/// As [`swiglu`].
///
/// # Source
/// The derivative of the formula.
pub fn swiglu_backward(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    backward("elementwise::swiglu_backward", Activation::Silu, gate, up, grad)
}

/// The gradients of [`geglu`] for `gate` and for `up`, from that of its result; nothing but the arguments need be kept.
///
/// # Shapes
/// As [`swiglu_backward`].
///
/// # Numerics
/// As [`swiglu_backward`].
///
/// # Errors
/// As [`swiglu_backward`].
///
/// # Source
/// The derivative of the formula.
pub fn geglu_backward(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    backward("elementwise::geglu_backward", Activation::Gelu, gate, up, grad)
}

fn check_same(op: &'static str, name: &'static str, tensor: &Tensor, gate: &Tensor) -> Result<(), OpError> {
    if tensor.shape() == gate.shape() {
        return Ok(());
    }
    Err(OpError::shape(op, name, format!("{:?}", gate.shape()), tensor.shape()))
}

fn forward(op: &'static str, activation: Activation, gate: Tensor, up: &Tensor) -> Result<Tensor, OpError> {
    check_same(op, "up", up, &gate)?;
    match place(op, &[("gate", &gate, Holds::Float), ("up", up, Holds::Float)])? {
        Place::Cpu => {
            let mut y = gate.into_vec::<f32>().expect("the dtype was checked");
            cpu::forward(activation, &mut y, values(up));
            Ok(on_cpu(up.shape(), y))
        }
        Place::Gpu(gpu) => gpu::forward(&gpu, op, activation, gate, up),
    }
}

fn backward(
    op: &'static str,
    activation: Activation,
    gate: &Tensor,
    up: &Tensor,
    grad: &Tensor,
) -> Result<(Tensor, Tensor), OpError> {
    check_same(op, "up", up, gate)?;
    check_same(op, "grad", grad, gate)?;
    let arguments = [("gate", gate, Holds::Float), ("up", up, Holds::Float), ("grad", grad, Holds::Float)];
    match place(op, &arguments)? {
        Place::Cpu => {
            let [of_gate, of_up] = cpu::backward(activation, [gate, up, grad].map(values));
            Ok((on_cpu(gate.shape(), of_gate), on_cpu(gate.shape(), of_up)))
        }
        Place::Gpu(gpu) => gpu::backward(&gpu, op, activation, [gate, up, grad]),
    }
}
