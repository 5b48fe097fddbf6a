//! The activation between the two layers of a transformer's perceptron.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place};
use steropes_tensor::Tensor;

const OP: &str = "elementwise::gelu";

/// `x/2 (1 + erf(x/√2))`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// - `x`: any, f32, on a GPU also f16
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// f32, as the epilogue of `linalg::linear`: within `Tolerance::Absolute(7e-7)` up to 8, half an ulp of the result more
/// beyond; near 0 within 2e-6 of itself. f16 results are rounded once more, to within 5e-4 of themselves.
///
/// # Errors
/// [`OpError::DType`] if `x` is not as above.
///
/// # Source
/// arXiv:1606.08415, with the error function.
pub fn gelu(x: Tensor) -> Result<Tensor, OpError> {
    match place(OP, &[("x", &x, Holds::Float)])? {
        Place::Cpu => {
            let shape = x.shape().to_vec();
            let mut y = x.into_vec::<f32>().expect("the dtype was checked");
            cpu::gelu(&mut y);
            Ok(on_cpu(&shape, y))
        }
        Place::Gpu(gpu) => gpu::gelu(&gpu, x),
    }
}
