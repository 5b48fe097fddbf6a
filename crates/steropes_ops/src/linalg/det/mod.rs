//! Determinants.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::lu::factor;
use super::stack::Stack;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::det";
const LOGARITHM: &str = "linalg::slogdet";

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
