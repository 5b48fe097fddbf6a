//! Determinants.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::arithmetic::check_shape;
use super::lu::{Right, factor, solve_factored};
use super::solve_triangular::System;
use super::stack::Stack;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::det";
const LOGARITHM: &str = "linalg::slogdet";
const BACKWARD: &str = "linalg::det_backward";
const LOGARITHM_BACKWARD: &str = "linalg::slogdet_backward";

/// Rows of the largest matrices whose determinant is written out.
const WRITTEN_OUT: usize = 4;

/// The determinants of matrices.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64
/// - returns: `[..]`, dtype of `a`; 1 for matrices without rows
///
/// # Numerics
/// Computed in the dtype: for at most four rows the sum of products, each with a few roundings; else the product of the pivots of
/// [`super::lu::lu_factor`], the determinant of a matrix within `n eps || |L| |U| ||` of `A`. Products overflow and underflow as the
/// dtype does; [`slogdet`] does not.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above, [`OpError::Unsupported`] on a GPU if it does not fit one binding.
/// Does not wait for a GPU.
///
/// # Source
/// Laplace's expansion by pairs of rows; elimination.
pub fn det(a: &Tensor) -> Result<Tensor, OpError> {
    let stack = Stack::square(OP, "a", a)?;
    let place = place(OP, &[("a", a, Holds::Real)])?;
    if stack.rows > WRITTEN_OUT {
        let (factors, pivots, _) = factor(OP, a)?;
        return Ok(match place {
            Place::Cpu if a.dtype() == DType::F64 => {
                on_cpu(&stack.batch, cpu::products::<f64>(values(&factors), values(&pivots), &stack))
            }
            Place::Cpu => {
                on_cpu(&stack.batch, cpu::products::<f32>(values(&factors), values(&pivots), &stack))
            }
            Place::Gpu(gpu) => gpu::products(&gpu, &factors, &pivots, &stack)?,
        });
    }
    Ok(match place {
        Place::Cpu if a.dtype() == DType::F64 => {
            on_cpu(&stack.batch, cpu::written_out::<f64>(values(a), &stack))
        }
        Place::Cpu => on_cpu(&stack.batch, cpu::written_out::<f32>(values(a), &stack)),
        Place::Gpu(gpu) => gpu::written_out(&gpu, a, &stack)?,
    })
}

/// The signs of the determinants of matrices, and the logarithms of their magnitudes.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64
/// - returns: signs and logarithms, `[..]`, dtype of `a`: 0 and -infinity for singular matrices, 1 and 0 for matrices without rows
///
/// # Numerics
/// The sum of the logarithms of the pivots of [`super::lu::lu_factor`].
///
/// # Errors
/// As [`det`].
///
/// # Source
/// Elimination.
pub fn slogdet(a: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let stack = Stack::square(LOGARITHM, "a", a)?;
    let (factors, pivots, _) = factor(LOGARITHM, a)?;
    match place(LOGARITHM, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            let (signs, logs) = cpu::logarithms::<f64>(values(&factors), values(&pivots), &stack);
            Ok((on_cpu(&stack.batch, signs), on_cpu(&stack.batch, logs)))
        }
        Place::Cpu => {
            let (signs, logs) = cpu::logarithms::<f32>(values(&factors), values(&pivots), &stack);
            Ok((on_cpu(&stack.batch, signs), on_cpu(&stack.batch, logs)))
        }
        Place::Gpu(gpu) => gpu::logarithms(&gpu, &factors, &pivots, &stack),
    }
}

/// The gradient of [`det`] with respect to `a`, also for singular matrices.
///
/// # Shapes
/// - `grad`: `[..]`, the gradient of the determinants, f32, on the CPU also f64
/// - `a`: `[.., n, n]`, dtype of `grad`
/// - returns: the shape and dtype of `a`
///
/// # Numerics
/// `grad det(A') A'^-T` in the dtype, `A'` the matrix of the factors that elimination finds, pivots of zero replaced by `eps` times the
/// largest: the gradient is a polynomial, so that this changes it by rounding only.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// Jacobi's formula.
pub fn det_backward(grad: &Tensor, a: &Tensor) -> Result<Tensor, OpError> {
    backward(BACKWARD, grad, a, Of::Determinant)
}

/// The gradient of the logarithms of [`slogdet`] with respect to `a`; signs have none.
///
/// # Shapes
/// As [`det_backward`], `grad` that of the logarithms.
///
/// # Numerics
/// `grad A^-T` in the dtype; infinities and NaN for singular matrices.
///
/// # Errors
/// As [`det_backward`].
///
/// # Source
/// Jacobi's formula.
pub fn slogdet_backward(grad: &Tensor, a: &Tensor) -> Result<Tensor, OpError> {
    backward(LOGARITHM_BACKWARD, grad, a, Of::Logarithm)
}

/// What a gradient is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Determinant,
    Logarithm,
}

fn backward(op: &'static str, grad: &Tensor, a: &Tensor, of: Of) -> Result<Tensor, OpError> {
    let stack = Stack::square(op, "a", a)?;
    check_shape(op, "grad", grad, &stack.batch)?;
    let place = place(op, &[("grad", grad, Holds::Real), ("a", a, Holds::Real)])?;
    let (factors, pivots, _) = factor(op, a)?;
    let (factors, right) = match place {
        Place::Cpu if a.dtype() == DType::F64 => {
            let (factors, right) =
                cpu::systems::<f64>(values(&factors), values(&pivots), values(grad), &stack, of);
            (on_cpu(a.shape(), factors), on_cpu(a.shape(), right))
        }
        Place::Cpu => {
            let (factors, right) =
                cpu::systems::<f32>(values(&factors), values(&pivots), values(grad), &stack, of);
            (on_cpu(a.shape(), factors), on_cpu(a.shape(), right))
        }
        Place::Gpu(gpu) => {
            let right = gpu::systems(op, &gpu, &factors, &pivots, grad, &stack, of)?;
            (factors, right)
        }
    };
    let system = System::of(op, ("a", a), &right, true)?;
    solve_factored(op, [&factors, &pivots], Right::Of(&right), &system, true)
}
