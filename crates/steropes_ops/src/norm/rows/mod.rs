//! Rows that are normalised and scaled: what RMS norm and layer norm have in common. A norm with a mean takes it off first; the
//! other kernels and loops are one text for both.

mod cpu;
mod gpu;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::borrow::Cow;
use steropes_tensor::Tensor;

/// A norm over rows.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a> {
    /// The op's name, for errors.
    pub(super) op: &'static str,
    /// The name of its kernels.
    pub(super) kernel: &'static str,
    /// Whether the mean of a row is taken off.
    pub(super) centered: bool,
    /// Elements of a row.
    pub(super) width: usize,
    /// Added to the mean square.
    pub(super) eps: f32,
    /// One factor for each element of a row.
    pub(super) weight: Option<&'a Tensor>,
    /// One addend for each element of a row.
    pub(super) bias: Option<&'a Tensor>,
}

/// What comes back: the gradient of the rows, and those of weight and bias if there is a weight.
pub(super) struct Gradients {
    /// In the shape of the rows.
    pub(super) x: Tensor,
    /// f32, `[width]`; none without a weight.
    pub(super) weight: Option<Tensor>,
    /// f32, `[width]`; none without a weight or without a mean.
    pub(super) bias: Option<Tensor>,
}

impl Norm<'_> {
    /// The rows of `x`, or of `residual + x`, normalised and scaled; the sum comes second.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>), OpError> {
        let mut arguments = Vec::new();
        arguments.extend(residual.map(|residual| ("residual", residual, Holds::Float)));
        arguments.push(("x", x, Holds::Float));
        arguments.extend(self.weight.map(|weight| ("weight", weight, Holds::F32)));
        arguments.extend(self.bias.map(|bias| ("bias", bias, Holds::F32)));
        match place(self.op, &arguments)? {
            Place::Cpu => {
                let [weight, bias] = self.cpu_parameters();
                let parameters = self.with(&weight, &bias);
                let Some(residual) = residual else {
                    return Ok((on_cpu(x.shape(), cpu::forward(values(x), parameters)), None));
                };
                let [sum, y] = cpu::add_forward(values(residual), values(x), parameters);
                Ok((on_cpu(x.shape(), y), Some(on_cpu(x.shape(), sum))))
            }
            Place::Gpu(gpu) => gpu::forward(self, &gpu, x, residual),
        }
    }

    /// The gradients for `x`, named `name`, whose result has the gradient `grad`; `grad_sum` is added to that of `x`.
    pub(super) fn backward(
        &self,
        (name, x): (&'static str, &Tensor),
        grad_sum: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<Gradients, OpError> {
        let mut arguments = vec![(name, x, Holds::Float)];
        arguments.extend(self.weight.map(|weight| ("weight", weight, Holds::F32)));
        arguments.extend(grad_sum.map(|grad_sum| ("grad_sum", grad_sum, Holds::Float)));
        arguments.push(("grad", grad, Holds::Float));
        match place(self.op, &arguments)? {
            Place::Cpu => {
                let [weight, bias] = self.cpu_parameters();
                let all =
                    cpu::backward(values(x), values(grad), grad_sum.map(values), self.with(&weight, &bias));
                let parameter = |grad| self.weight.map(|_| on_cpu(&[self.width], grad));
                Ok(Gradients {
                    x: on_cpu(x.shape(), all.x),
                    weight: parameter(all.weight),
                    bias: parameter(all.bias).filter(|_| self.centered),
                })
            }
            Place::Gpu(gpu) => gpu::backward(self, &gpu, x, grad, grad_sum),
        }
    }

    /// A factor and an addend for each place of a row, also where there are no parameters.
    fn cpu_parameters(&self) -> [Cow<'_, [f32]>; 2] {
        [parameter_or(self.weight, 1.0, self.width), parameter_or(self.bias, 0.0, self.width)]
    }

    fn with<'a>(&self, weight: &'a [f32], bias: &'a [f32]) -> cpu::Parameters<'a> {
        cpu::Parameters { centered: self.centered, eps: self.eps, weight, bias }
    }
}

fn parameter_or(parameter: Option<&Tensor>, absent: f32, width: usize) -> Cow<'_, [f32]> {
    parameter.map_or_else(|| vec![absent; width].into(), |tensor| values(tensor).into())
}

/// Refuses an `eps` that no norm can have.
pub(super) fn check_eps(op: &'static str, eps: f32) -> Result<(), OpError> {
    if eps.is_finite() && eps >= 0.0 {
        return Ok(());
    }
    Err(OpError::value(op, "eps", "a finite number from 0 on", eps))
}

/// Refuses a tensor that does not have the shape of `x`.
pub(super) fn check_same(
    op: &'static str,
    name: &'static str,
    tensor: &Tensor,
    x: &Tensor,
) -> Result<(), OpError> {
    if tensor.shape() == x.shape() {
        return Ok(());
    }
    Err(OpError::shape(op, name, format!("{:?}", x.shape()), tensor.shape()))
}

/// Refuses a parameter that does not have `shape`.
pub(super) fn check_parameter(
    op: &'static str,
    name: &'static str,
    parameter: Option<&Tensor>,
    shape: &[usize],
) -> Result<(), OpError> {
    match parameter {
        Some(tensor) if tensor.shape() != shape => {
            Err(OpError::shape(op, name, format!("{shape:?}"), tensor.shape()))
        }
        _ => Ok(()),
    }
}
