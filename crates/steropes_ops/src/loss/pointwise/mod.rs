//! Losses that are a sum over the elements of two tensors, with their gradients.

mod cpu;
mod gpu;
pub(super) mod tests;

use super::Reduction;
use super::reduction::check_gradient;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

/// A loss of pairs of elements.
pub(super) struct Pointwise {
    /// The op's name.
    pub(super) op: &'static str,
    /// The names of the two arguments.
    pub(super) arguments: [&'static str; 2],
    /// The loss of a pair.
    pub(super) loss: fn(f32, f32) -> f32,
    /// Its derivatives.
    pub(super) slopes: fn(f32, f32) -> [f32; 2],
    /// The same in WGSL: `pair_loss(a: f32, b: f32) -> f32` and `pair_slopes(a: f32, b: f32) -> vec2<f32>`.
    pub(super) kernel: &'static str,
}

impl Pointwise {
    fn check(&self, a: &Tensor, b: &Tensor, reduction: Reduction) -> Result<(), OpError> {
        if b.shape() != a.shape() {
            return Err(OpError::shape(self.op, self.arguments[1], format!("{:?}", a.shape()), b.shape()));
        }
        if reduction == Reduction::BatchMean && a.shape().is_empty() {
            return Err(OpError::shape(self.op, self.arguments[0], "[batch, ..]", a.shape()));
        }
        Ok(())
    }

    /// The reduced loss, f32.
    pub(super) fn forward(&self, a: &Tensor, b: &Tensor, reduction: Reduction) -> Result<Tensor, OpError> {
        self.check(a, b, reduction)?;
        let [first, second] = self.arguments;
        match place(self.op, &[(first, a, Holds::Float), (second, b, Holds::Float)])? {
            Place::Cpu => {
                let losses = cpu::forward(self, values(a), values(b), reduction, a.shape());
                Ok(on_cpu(reduction.shape(a.shape()), losses))
            }
            Place::Gpu(gpu) => gpu::forward(self, &gpu, a, b, reduction),
        }
    }

    /// The gradients for both arguments, in their dtype.
    pub(super) fn backward(
        &self,
        grad: &Tensor,
        a: &Tensor,
        b: &Tensor,
        reduction: Reduction,
    ) -> Result<[Tensor; 2], OpError> {
        self.check(a, b, reduction)?;
        check_gradient(self.op, grad, reduction.shape(a.shape()))?;
        let [first, second] = self.arguments;
        let arguments = [(first, a, Holds::Float), (second, b, Holds::Float), ("grad", grad, Holds::F32)];
        match place(self.op, &arguments)? {
            Place::Cpu => {
                let gradients = cpu::backward(self, values(grad), values(a), values(b), reduction, a.shape());
                Ok(gradients.map(|gradient| on_cpu(a.shape(), gradient)))
            }
            Place::Gpu(gpu) => gpu::backward(self, &gpu, grad, a, b, reduction),
        }
    }
}
