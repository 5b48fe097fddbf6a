//! Systems of matrices whose Cholesky factors are known.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::Triangle;
use super::dense::arithmetic::{Mask, check_shape, masked, plain, product, transposed};
use super::solve_triangular::{System, cpu, gpu};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::cholesky_solve";
const BACKWARD: &str = "linalg::cholesky_solve_backward";

/// `X` with `A X = B`, where `A = L L^T`, or `U^T U` if `upper`.
///
/// # Shapes
/// - `b`: `[.., n, k]`, f32, on the CPU also f64
/// - `l`: `[.., n, n]`, dtype of `b`: factors as [`super::cholesky::cholesky`] returns them, `U` if `upper`; only that triangle
///   is read. Batches go together as in NumPy: extents are equal, or 1 and repeated
/// - returns: `[.., n, k]` with the common batch
///
/// # Numerics
/// Two substitutions in the dtype, as [`super::solve_triangular::solve_triangular`].
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 4.2.
pub fn cholesky_solve(b: &Tensor, l: &Tensor, upper: bool) -> Result<Tensor, OpError> {
    let system = System::of(OP, ("l", l), b, true)?;
    let first = Triangle { upper, transposed: upper, unit: false };
    let triangles = [first, Triangle { transposed: !upper, ..first }];
    match place(OP, &[("b", b, Holds::Real), ("l", l, Holds::Real)])? {
        Place::Cpu if b.dtype() == DType::F64 => {
            let x = cpu::solve::<f64, 8>(values(l), values(b), &system, &triangles);
            Ok(on_cpu(&system.shape(), x))
        }
        Place::Cpu => {
            let x = cpu::solve::<f32, 16>(values(l), values(b), &system, &triangles);
            Ok(on_cpu(&system.shape(), x))
        }
        Place::Gpu(gpu) => gpu::solve_all(OP, &gpu, l, b, &system, &triangles),
    }
}

/// The gradients of [`cholesky_solve`] with respect to `b` and `l`.
///
/// # Shapes
/// - `grad`: the gradient of `x`, f32, on the CPU also f64
/// - `x`, the result of the forward pass: shape and dtype of `grad`; `l`: `[.., n, n]`. All of the same batch: gradients of what was
///   repeated are sums over the repeated matrices, which are the caller's
/// - returns: gradients of the shapes of `x` and `l` (zero where `l` is not read)
///
/// # Numerics
/// Two triangular systems and two products in the dtype.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// With `A = L L^T`: the gradient of `B` is `G = A^-1 grad`, that of `L` the lower triangle of `-(G X^T + X G^T) L`.
pub fn cholesky_solve_backward(
    grad: &Tensor,
    x: &Tensor,
    l: &Tensor,
    upper: bool,
) -> Result<(Tensor, Tensor), OpError> {
    let system = System::of(BACKWARD, ("l", l), x, true)?;
    check_shape(BACKWARD, "x", x, &[&l.shape()[..l.shape().len() - 2], &[system.n, system.k]].concat())?;
    check_shape(BACKWARD, "grad", grad, x.shape())?;
    let real = Holds::Real;
    place(BACKWARD, &[("grad", grad, real), ("x", x, real), ("l", l, real)])?;
    let of_b = cholesky_solve(grad, l, upper)?;
    let both = masked(BACKWARD, &product(BACKWARD, plain(&of_b), transposed(x), -1.0)?, Mask::Symmetric)?;
    let mask = if upper { Mask::Upper } else { Mask::Lower };
    let factor = masked(BACKWARD, l, mask)?;
    let of_l = if upper {
        product(BACKWARD, plain(&factor), plain(&both), 1.0)?
    } else {
        product(BACKWARD, plain(&both), plain(&factor), 1.0)?
    };
    Ok((of_b, masked(BACKWARD, &of_l, mask)?))
}
