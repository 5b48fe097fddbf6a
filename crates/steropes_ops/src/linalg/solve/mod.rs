//! Systems of general square matrices, and inverses.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::lu::{Right, check_pivots, factor, solve_factored};
use super::solve_triangular::System;
use super::stack::{Broadcast, Stack};
use crate::error::{Holds, OpError, common_place};
use steropes_tensor::Tensor;

const OP: &str = "linalg::solve";
const INVERSE: &str = "linalg::inv";

/// `X` with `A X = B`, by elimination with partial pivoting.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64
/// - `b`: `[.., n, k]`, dtype of `a`; or vectors, if it has one axis or the shape of `a` without its last. Batches go together as
///   in NumPy: extents are equal, or 1 and repeated
/// - returns: the common batch, with matrices or vectors as `b` has them
///
/// # Numerics
/// As [`super::lu::lu_factor`] and [`super::lu::lu_solve`]: the residual is within `n eps || |L| |U| || ||X||`.
///
/// # Errors
/// [`OpError::Matrix`] names the first matrix that has a pivot of exactly zero, and the pivot; there is no other threshold. On a GPU
/// this waits for the device; [`solve_ex`] does not. [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above,
/// [`OpError::Unsupported`] on a GPU if one does not fit one binding.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 3.4.
pub fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let (x, info) = solve_ex(a, b)?;
    check_pivots(OP, &Stack::square(OP, "a", a)?.batch, &info)?;
    Ok(x)
}

/// As [`solve`], with the number of the first zero pivot in `info` instead of an error: the batch of `a`, i32, counted from 1, 0 if
/// there is none. Solutions of singular systems are unspecified. Does not wait for a GPU.
///
/// # Errors
/// As [`solve`], without [`OpError::Matrix`].
pub fn solve_ex(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let stack = Stack::square(OP, "a", a)?;
    common_place(OP, &[("a", a, Holds::Real), ("b", b, Holds::Real)])?;
    let vectors = b.shape().len() == 1 || b.shape() == &a.shape()[..a.shape().len() - 1];
    let columns = if vectors { [b.shape(), &[1]].concat() } else { b.shape().to_vec() };
    let b = b.clone().reshape(&columns).expect("as many elements");
    let system = System::of(OP, ("a", a), &b, true)?;
    let (factors, pivots, info) = factor(OP, a)?;
    debug_assert_eq!(stack.rows, system.n, "the system is that of the matrix");
    let x = solve_factored(OP, [&factors, &pivots], Right::Of(&b), &system, false)?;
    let mut shape = system.shape();
    if vectors {
        shape.pop();
    }
    Ok((x.reshape(&shape).expect("as many elements"), info))
}

/// The inverses of matrices.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64
/// - returns: the shape and dtype of `a`
///
/// # Numerics
/// As [`solve`], for the columns of the identity.
///
/// # Errors
/// As [`solve`].
///
/// # Source
/// As [`solve`].
pub fn inv(a: &Tensor) -> Result<Tensor, OpError> {
    let (inverse, info) = inv_ex(a)?;
    check_pivots(INVERSE, &Stack::square(INVERSE, "a", a)?.batch, &info)?;
    Ok(inverse)
}

/// As [`inv`], with the number of the first zero pivot in `info` instead of an error: `[..]`, i32, counted from 1, 0 if there is none.
/// Inverses of singular matrices are unspecified. Does not wait for a GPU.
///
/// # Errors
/// As [`inv`], without [`OpError::Matrix`].
pub fn inv_ex(a: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let stack = Stack::square(INVERSE, "a", a)?;
    let both = Broadcast::of(INVERSE, "a", &stack.batch, &stack.batch)?;
    let system = System { both, n: stack.rows, k: stack.rows, left: true };
    let (factors, pivots, info) = factor(INVERSE, a)?;
    let inverse = solve_factored(INVERSE, [&factors, &pivots], Right::Identity, &system, false)?;
    Ok((inverse, info))
}
