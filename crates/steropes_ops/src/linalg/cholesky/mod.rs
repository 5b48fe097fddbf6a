//! Cholesky factors of stacks of symmetric matrices.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::check_info;
use super::stack::Stack;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::cholesky";
const BACKWARD: &str = "linalg::cholesky_backward";

/// The Cholesky factors of positive definite matrices: `L` with `A = L L^T`, or `U = L^T` if `upper`.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64; only the lower triangle is read, or the upper one if `upper`
/// - returns: the shape and dtype of `a`; the other triangle is zero
///
/// # Numerics
/// Computed in the dtype. `L L^T` is `A` to within `n eps ||A||`. No threshold: a pivot must be above zero (on GPUs, not below
/// the smallest normal number), whatever the size of the elements.
///
/// # Errors
/// [`OpError::Matrix`] names the first matrix that is not positive definite, and the order of its first leading minor that is
/// not; elements that are not numbers make a matrix not positive definite. On a GPU this waits for the device; [`cholesky_ex`]
/// does not. [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above, [`OpError::Unsupported`] on a GPU if it does not
/// fit one binding.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 4.2.
pub fn cholesky(a: &Tensor, upper: bool) -> Result<Tensor, OpError> {
    let (factor, info) = cholesky_ex(a, upper)?;
    let batch = &a.shape()[..a.shape().len() - 2];
    check_info(OP, "a", batch, &info.read::<i32>()?, |order| {
        format!("is not positive definite: the leading minor of order {order} is not")
    })?;
    Ok(factor)
}

/// As [`cholesky`], with the orders in `info` instead of an error: `[..]`, i32, 0 for matrices that have a factor. Elements of
/// factors of other matrices are unspecified. Does not wait for a GPU.
///
/// # Errors
/// As [`cholesky`], without [`OpError::Matrix`].
pub fn cholesky_ex(a: &Tensor, upper: bool) -> Result<(Tensor, Tensor), OpError> {
    let stack = Stack::square(OP, "a", a)?;
    match place(OP, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            let (factor, info) = cpu::cholesky::<f64, 8>(values(a), &stack, upper);
            Ok((on_cpu(a.shape(), factor), on_cpu(&stack.batch, info)))
        }
        Place::Cpu => {
            let (factor, info) = cpu::cholesky::<f32, 16>(values(a), &stack, upper);
            Ok((on_cpu(a.shape(), factor), on_cpu(&stack.batch, info)))
        }
        Place::Gpu(gpu) => gpu::cholesky(&gpu, a, &stack, upper),
    }
}
