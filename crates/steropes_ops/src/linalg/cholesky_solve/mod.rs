//! Systems of matrices whose Cholesky factors are known.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::Triangle;
use super::solve_triangular::{System, cpu, gpu};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::cholesky_solve";

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
