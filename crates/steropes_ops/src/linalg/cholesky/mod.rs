//! Cholesky factors of stacks of symmetric matrices.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::arithmetic::{Mask, check_shape, masked, plain, product, transposed};
use super::dense::{Triangle, check_info};
use super::solve_triangular::run as solve;
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

/// The gradient of [`cholesky`] with respect to `a`: symmetric, though only a triangle is read.
///
/// # Shapes
/// - `grad`: `[.., n, n]`, the gradient of the factor, f32, on the CPU also f64; only the triangle that the factor has counts
/// - `factor`: the result of the forward pass, the shape and dtype of `grad`
/// - returns: the same shape and dtype
///
/// # Numerics
/// A product, a mask and two triangular systems in the dtype: relative to the result, `n eps` times the condition of the factor.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// arXiv:1602.07527, section 3: `L^-T P L^-1` with `P` the symmetric part of the lower triangle, its diagonal halved, of `L^T grad`.
pub fn cholesky_backward(grad: &Tensor, factor: &Tensor, upper: bool) -> Result<Tensor, OpError> {
    Stack::square(BACKWARD, "factor", factor)?;
    check_shape(BACKWARD, "grad", grad, factor.shape())?;
    place(BACKWARD, &[("grad", grad, Holds::Real), ("factor", factor, Holds::Real)])?;
    let grad = masked(BACKWARD, grad, if upper { Mask::Upper } else { Mask::Lower })?;
    let inner = if upper {
        // The transposed of all: U = L^T.
        masked(BACKWARD, &product(BACKWARD, plain(&grad), transposed(factor), 1.0)?, Mask::HalfOfUpper)?
    } else {
        masked(BACKWARD, &product(BACKWARD, transposed(factor), plain(&grad), 1.0)?, Mask::HalfOfLower)?
    };
    // L^-T inner, then that times L^-1.
    let triangle = Triangle { upper, transposed: !upper, unit: false };
    let left = solve(BACKWARD, factor, &inner, true, triangle)?;
    solve(BACKWARD, factor, &left, false, Triangle { transposed: upper, ..triangle })
}
