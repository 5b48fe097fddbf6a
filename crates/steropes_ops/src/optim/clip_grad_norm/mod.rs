//! Clipping of gradients by their common norm.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place};
use steropes_tensor::Tensor;

const OP: &str = "optim::clip_grad_norm";

/// Added to the norm before it divides, as PyTorch does.
const EPS: f32 = 1e-6;

/// Scales all gradients by `min(1, max_norm / (norm + 1e-6))`, where `norm` is the root of the sum of the squares of all
/// elements; returns the norm as it was.
///
/// Memory that nobody else holds is written over. Nothing waits for a GPU: the norm stays there, and every gradient is multiplied
/// whether or not that changes it.
///
/// # Shapes
/// - `gradients`: any, each f32, on a GPU also f16, on the CPU also bf16
/// - returns: `[]`, f32
///
/// # Numerics
/// On the CPU squares are added in f64. On a GPU in f32, each by a fixed tree: within 2e-6 of the norm, infinite above 1.8e19 and too
/// small below 1e-17. Products with the factor are f32, rounded once to the dtype of the gradient. The sum is taken in the same
/// order for any number of threads. If the norm is not finite, gradients become zeros or NaN: look at the norm before they are used.
///
/// # Errors
/// [`OpError::Value`] if `max_norm` is not a finite number from 0 on, [`OpError::DType`] or [`OpError::Device`] if a gradient is not
/// as above. Nothing is computed then.
///
/// # Source
/// arXiv:1211.5063, as `torch.nn.utils.clip_grad_norm_` documents it.
pub fn clip_grad_norm(gradients: &mut [Tensor], max_norm: f32) -> Result<Tensor, OpError> {
    if !(max_norm.is_finite() && max_norm >= 0.0) {
        return Err(OpError::value(OP, "max_norm", "a finite number from 0 on", max_norm));
    }
    let arguments: Vec<_> = gradients.iter().map(|tensor| ("gradients", tensor, Holds::Factor)).collect();
    match place(OP, &arguments)? {
        Place::Cpu => Ok(on_cpu(&[], vec![cpu::clip_grad_norm(gradients, max_norm)])),
        Place::Gpu(gpu) => gpu::clip_grad_norm(&gpu, gradients, max_norm),
    }
}
