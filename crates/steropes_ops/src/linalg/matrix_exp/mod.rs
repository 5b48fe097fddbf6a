//! The matrix exponential.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::stack::Stack;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::matrix_exp";
const BACKWARD_OP: &str = "linalg::matrix_exp_backward";

/// `exp(a) = 1 + a + a^2 / 2 + a^3 / 6 + ..` of square matrices, as `torch.linalg.matrix_exp`.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64
/// - returns: the shape and dtype of `a`
///
/// Batches and matrices may be empty.
///
/// # Numerics
/// In the dtype of `a`: the matrix is halved until its 1-norm is small, the series is summed to degree 8 (f32) or 16 (f64), and
/// the result is squared as often. For normal matrices it is within `n eps (1 + ||a||) ||exp(a)||`. Results above the largest number are
/// infinities or NaN. A matrix with a NaN or an infinity has only NaN as its result; so has, on a GPU, one with a 1-norm above
/// 2^23, of whose result no digit could be right.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above.
///
/// # Source
/// Scaling and squaring: N. Higham, Functions of Matrices, 10.3; the evaluation of the series: Paterson and Stockmeyer, the
/// same, 4.2.
pub fn matrix_exp(a: &Tensor) -> Result<Tensor, OpError> {
    let stack = Stack::square(OP, "a", a)?;
    match place(OP, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            Ok(on_cpu(a.shape(), cpu::matrix_exp::<f64, 4>(values(a), stack.rows)))
        }
        Place::Cpu => Ok(on_cpu(a.shape(), cpu::matrix_exp::<f32, 2>(values(a), stack.rows))),
        Place::Gpu(gpu) => gpu::matrix_exp(&gpu, a, &stack),
    }
}

/// The gradient of a loss with respect to `a` of [`matrix_exp`], from that with respect to the result.
///
/// # Shapes
/// - `a`, `grad`: `[.., n, n]`, f32, on the CPU also f64
/// - returns: the shape and dtype of `a`
///
/// # Numerics
/// As [`matrix_exp`] of a matrix of twice the extent; linear in `grad`, whose size does not matter.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// The quarter beside the diagonal of `exp([[a^T, grad], [0, a^T]])`: N. Higham, Functions of Matrices, 3.2.
pub fn matrix_exp_backward(a: &Tensor, grad: &Tensor) -> Result<Tensor, OpError> {
    let stack = Stack::square(BACKWARD_OP, "a", a)?;
    if grad.shape() != a.shape() {
        return Err(OpError::shape(BACKWARD_OP, "grad", format!("{:?}", a.shape()), grad.shape()));
    }
    match place(BACKWARD_OP, &[("a", a, Holds::Real), ("grad", grad, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            Ok(on_cpu(a.shape(), cpu::backward::<f64, 4>(values(a), values(grad), stack.rows)))
        }
        Place::Cpu => Ok(on_cpu(a.shape(), cpu::backward::<f32, 2>(values(a), values(grad), stack.rows))),
        Place::Gpu(gpu) => gpu::backward(&gpu, a, grad, &stack),
    }
}

/// The 1-norm up to which the series of four terms for each of `blocks` powers of `a^4`, and one more, is exact but for rounding.
fn largest_norm(blocks: usize) -> f64 {
    if blocks == 2 { 0.5 } else { 0.75 }
}

/// `1 / k!`.
fn coefficient(k: usize) -> f64 {
    (1..=k).map(|i| 1.0 / i as f64).product()
}
