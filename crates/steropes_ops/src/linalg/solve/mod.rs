//! Systems of general square matrices, and inverses.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::dense::arithmetic::{check_shape, plain, product, transposed};
use super::lu::{Right, check_pivots, factor, solve_factored};
use super::solve_triangular::System;
use super::stack::{Broadcast, Stack};
use crate::error::{Holds, OpError, common_place, place};
use steropes_tensor::Tensor;

const OP: &str = "linalg::solve";
const INVERSE: &str = "linalg::inv";
const BACKWARD: &str = "linalg::solve_backward";
const INVERSE_BACKWARD: &str = "linalg::inv_backward";

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

/// The gradients of [`solve`] with respect to `a` and `b`.
///
/// # Shapes
/// - `grad`: the gradient of `x`, f32, on the CPU also f64
/// - `a`: `[.., n, n]`, and `x`, the result of the forward pass: `[.., n, k]`, or vectors `[.., n]`. All of the same batch: gradients of
///   what was repeated are sums over the repeated matrices, which are the caller's
/// - returns: gradients of the shapes of `a` and `x`
///
/// # Numerics
/// A system of the transposed matrices, and a product, in the dtype.
///
/// # Errors
/// As [`solve`]; singular matrices are not told: the forward pass was.
///
/// # Source
/// The gradient of `B` is `G = A^-T grad`, that of `A` is `-G X^T`.
pub fn solve_backward(grad: &Tensor, a: &Tensor, x: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let n = Stack::square(BACKWARD, "a", a)?.rows;
    let batch = &a.shape()[..a.shape().len() - 2];
    let vectors = x.shape() == [batch, &[n]].concat();
    let matrices = |t: &Tensor| {
        let columns = if vectors { [t.shape(), &[1]].concat() } else { t.shape().to_vec() };
        t.clone().reshape(&columns).expect("as many elements")
    };
    check_shape(BACKWARD, "grad", grad, x.shape())?;
    let real = Holds::Real;
    place(BACKWARD, &[("grad", grad, real), ("a", a, real), ("x", x, real)])?;
    let (of_x, grad) = (matrices(x), matrices(grad));
    let system = System::of(BACKWARD, ("a", a), &grad, true)?;
    check_shape(BACKWARD, "x", &of_x, &[batch, &[n, system.k]].concat())?;
    let (factors, pivots, _) = factor(BACKWARD, a)?;
    let of_b = solve_factored(BACKWARD, [&factors, &pivots], Right::Of(&grad), &system, true)?;
    let of_a = product(BACKWARD, plain(&of_b), transposed(&of_x), -1.0)?;
    Ok((of_a, of_b.reshape(x.shape()).expect("as many elements")))
}

/// The gradient of [`inv`] with respect to `a`.
///
/// # Shapes
/// - `grad`: `[.., n, n]`, the gradient of the inverse, f32, on the CPU also f64
/// - `inverse`: the result of the forward pass, shape and dtype of `grad`
/// - returns: the same shape and dtype
///
/// # Numerics
/// Two products in the dtype.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if one does not fit
/// one binding.
///
/// # Source
/// `-A^-T grad A^-T`.
pub fn inv_backward(grad: &Tensor, inverse: &Tensor) -> Result<Tensor, OpError> {
    Stack::square(INVERSE_BACKWARD, "inverse", inverse)?;
    check_shape(INVERSE_BACKWARD, "grad", grad, inverse.shape())?;
    place(INVERSE_BACKWARD, &[("grad", grad, Holds::Real), ("inverse", inverse, Holds::Real)])?;
    let left = product(INVERSE_BACKWARD, transposed(inverse), plain(grad), -1.0)?;
    product(INVERSE_BACKWARD, plain(&left), transposed(inverse), 1.0)
}
