//! Systems of triangular matrices.

pub(crate) mod bench;
pub(crate) mod cpu;
pub(crate) mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::Triangle;
use super::dense::arithmetic::{Mask, check_shape, masked, plain, product, transposed};
use super::stack::{Broadcast, Stack};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::solve_triangular";
const BACKWARD: &str = "linalg::solve_triangular_backward";

/// `X` with `A X = B`, or `X A = B` unless `left`, for triangular matrices `A`.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64; only the upper triangle is read if `upper`, else the lower one; not its
///   diagonal if `unitriangular`, which is ones then
/// - `b`: `[.., n, k]`, or `[.., k, n]` unless `left`; dtype of `a`. Batches of `a` and `b` go together as in NumPy: extents are
///   equal, or 1 and repeated
/// - returns: the common batch, with matrices as those of `b`
///
/// # Numerics
/// Substitution in the dtype: each column of the result solves a system that is within `n eps |A|` of `A`, element by element. A
/// zero on the diagonal gives infinities and NaN, as in LAPACK, and no error.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// Higham, Accuracy and Stability of Numerical Algorithms, chapter 8.
pub fn solve_triangular(
    a: &Tensor,
    b: &Tensor,
    upper: bool,
    left: bool,
    unitriangular: bool,
) -> Result<Tensor, OpError> {
    run(OP, a, b, left, Triangle { upper, transposed: false, unit: unitriangular })
}

/// As [`solve_triangular`], for `A^T X = B`, or `X A^T = B` unless `left`; `upper` tells of `a` as it is stored.
///
/// # Errors
/// As [`solve_triangular`].
pub fn solve_triangular_transposed(
    a: &Tensor,
    b: &Tensor,
    upper: bool,
    left: bool,
    unitriangular: bool,
) -> Result<Tensor, OpError> {
    run(OP, a, b, left, Triangle { upper, transposed: true, unit: unitriangular })
}

/// [`solve_triangular`] for the op of this name.
pub(crate) fn run(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    left: bool,
    triangle: Triangle,
) -> Result<Tensor, OpError> {
    let system = System::of(op, ("a", a), b, left)?;
    let triangle = Triangle { transposed: triangle.transposed == left, ..triangle };
    match place(op, &[("a", a, Holds::Real), ("b", b, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            let x = cpu::solve::<f64, 8>(values(a), values(b), &system, &[triangle]);
            Ok(on_cpu(&system.shape(), x))
        }
        Place::Cpu => {
            let x = cpu::solve::<f32, 16>(values(a), values(b), &system, &[triangle]);
            Ok(on_cpu(&system.shape(), x))
        }
        Place::Gpu(gpu) => gpu::solve_all(op, &gpu, a, b, &system, &[triangle]),
    }
}

/// The extents of systems of equations.
pub(crate) struct System {
    /// The common batch.
    pub(crate) both: Broadcast,
    /// Equations.
    pub(crate) n: usize,
    /// Right sides.
    pub(crate) k: usize,
    /// Whether right sides are columns of `b`, else they are rows.
    pub(crate) left: bool,
}

impl System {
    /// The extents of `a` and `b`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if they do not go together.
    pub(crate) fn of(
        op: &'static str,
        (name, a): (&'static str, &Tensor),
        b: &Tensor,
        left: bool,
    ) -> Result<Self, OpError> {
        let (a, of_b) = (Stack::square(op, name, a)?, Stack::of(op, "b", b)?);
        let (n, k) = if left { (of_b.rows, of_b.columns) } else { (of_b.columns, of_b.rows) };
        if n != a.rows {
            let expected = if left { format!("[.., {}, k]", a.rows) } else { format!("[.., k, {}]", a.rows) };
            return Err(OpError::shape(op, "b", expected, b.shape()));
        }
        Ok(Self { both: Broadcast::of(op, "b", &a.batch, &of_b.batch)?, n, k, left })
    }

    /// The shape of the result.
    pub(crate) fn shape(&self) -> Vec<usize> {
        [&self.both.batch[..], &self.matrix()].concat()
    }

    /// Extents of the right sides of a matrix.
    fn matrix(&self) -> [usize; 2] {
        if self.left { [self.n, self.k] } else { [self.k, self.n] }
    }
}

/// The gradients of [`solve_triangular`] with respect to `a` and `b`.
///
/// # Shapes
/// - `grad`: the gradient of `x`, f32, on the CPU also f64
/// - `a`: `[.., n, n]`, and `x`, the result of the forward pass: shape and dtype of `grad`. All of the same batch: gradients of what
///   was repeated are sums over the repeated matrices, which are the caller's
/// - returns: gradients of the shapes of `a` (zero where `a` is not read) and `x`
///
/// # Numerics
/// A triangular system and a product in the dtype.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// `A X = B`: the gradient of `B` is `G = A^-T grad`, that of `A` is `-G X^T`; `X A = B` is the transposed of that.
pub fn solve_triangular_backward(
    grad: &Tensor,
    a: &Tensor,
    x: &Tensor,
    upper: bool,
    left: bool,
    unitriangular: bool,
) -> Result<(Tensor, Tensor), OpError> {
    let system = System::of(BACKWARD, ("a", a), x, left)?;
    check_shape(BACKWARD, "x", x, &[&a.shape()[..a.shape().len() - 2], &system.matrix()].concat())?;
    check_shape(BACKWARD, "grad", grad, x.shape())?;
    let real = Holds::Real;
    place(BACKWARD, &[("grad", grad, real), ("a", a, real), ("x", x, real)])?;
    let of_b = run(BACKWARD, a, grad, left, Triangle { upper, transposed: true, unit: unitriangular })?;
    let of_a = if left {
        product(BACKWARD, plain(&of_b), transposed(x), -1.0)?
    } else {
        product(BACKWARD, transposed(x), plain(&of_b), -1.0)?
    };
    let mask = match (upper, unitriangular) {
        (false, false) => Mask::Lower,
        (false, true) => Mask::StrictlyLower,
        (true, false) => Mask::Upper,
        (true, true) => Mask::StrictlyUpper,
    };
    Ok((masked(BACKWARD, &of_a, mask)?, of_b))
}
