//! Factors of stacks of matrices by elimination with partial pivoting, and systems that are solved with them.

mod backward;
pub(crate) mod bench;
pub(crate) mod cpu;
pub(crate) mod gpu;
mod panel;
pub(crate) mod reference;
pub(crate) mod tests;

pub use backward::{lu_backward, lu_factor_backward};

use super::dense::check_info;
use super::solve_triangular::System;
use super::stack::Stack;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const FACTOR: &str = "linalg::lu_factor";
const LU: &str = "linalg::lu";
const SOLVE: &str = "linalg::lu_solve";
const LU_BACKWARD: &str = "linalg::lu_backward";
const FACTOR_BACKWARD: &str = "linalg::lu_factor_backward";

/// Factors of matrices in one array, and the rows that were exchanged: `A = P L U`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64
/// - returns: `LU`, the shape and dtype of `a`: `L` below the diagonal (its diagonal is ones), `U` from the diagonal on; pivots
///   `[.., min(m, n)]`, i32: row `i` was exchanged with row `pivots[i]`, in order, counted from 1 as LAPACK does
///
/// # Numerics
/// Computed in the dtype; the pivot is the element of largest magnitude, the first of equals. `P L U` is `A` to within
/// `n eps || |L| |U| ||`.
///
/// # Errors
/// [`OpError::Matrix`] names the first matrix that has a pivot of exactly zero, and the pivot; there is no other threshold. On a GPU
/// this waits for the device; [`lu_factor_ex`] does not. [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above,
/// [`OpError::Unsupported`] on a GPU if it does not fit one binding.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 3.4; halves of the columns apart, Toledo 1997 (doi:10.1137/S0895479896297744).
pub fn lu_factor(a: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let (factors, pivots, info) = lu_factor_ex(a)?;
    check_pivots(FACTOR, &Stack::of(FACTOR, "a", a)?.batch, &info)?;
    Ok((factors, pivots))
}

/// As [`lu_factor`], with the number of the first zero pivot in `info` instead of an error: `[..]`, i32, counted from 1, 0 if there
/// is none. `P L U` is `A` for all matrices. Does not wait for a GPU.
///
/// # Errors
/// As [`lu_factor`], without [`OpError::Matrix`].
pub fn lu_factor_ex(a: &Tensor) -> Result<(Tensor, Tensor, Tensor), OpError> {
    factor(FACTOR, a)
}

/// An error that names the first matrix with a zero pivot, if there is one.
pub(crate) fn check_pivots(op: &'static str, batch: &[usize], info: &Tensor) -> Result<(), OpError> {
    check_info(op, "a", batch, &info.read::<i32>()?, |pivot| format!("is singular: pivot {pivot} is zero"))
}

/// [`lu_factor_ex`] for the op of this name.
pub(crate) fn factor(op: &'static str, a: &Tensor) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let stack = Stack::of(op, "a", a)?;
    let of_pivots = stack.with(&[stack.rows.min(stack.columns)]);
    match place(op, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            let (factors, pivots, info) = cpu::factor::<f64, 8>(values(a), &stack);
            Ok((on_cpu(a.shape(), factors), on_cpu(&of_pivots, pivots), on_cpu(&stack.batch, info)))
        }
        Place::Cpu => {
            let (factors, pivots, info) = cpu::factor::<f32, 16>(values(a), &stack);
            Ok((on_cpu(a.shape(), factors), on_cpu(&of_pivots, pivots), on_cpu(&stack.batch, info)))
        }
        Place::Gpu(gpu) => gpu::factor(op, &gpu, a, &stack),
    }
}

/// The factors of `A = P L U` as matrices of their own: a permutation, a lower triangle with a diagonal of ones, an upper triangle.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64
/// - returns: `P` `[.., m, m]`, `L` `[.., m, k]`, `U` `[.., k, n]` with `k = min(m, n)`; dtype of `a`
///
/// # Numerics
/// As [`lu_factor`]. Singular matrices have factors too, with zeros on the diagonal of `U`.
///
/// # Errors
/// As [`lu_factor_ex`].
///
/// # Source
/// As [`lu_factor`].
pub fn lu(a: &Tensor) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let stack = Stack::of(LU, "a", a)?;
    let (factors, pivots, _) = factor(LU, a)?;
    let [p, l, u] = unpacked(LU, &factors, &pivots, &stack)?;
    Ok((p, l, u))
}

/// The factors as matrices of their own, of a stack of matrices `[m, n]`.
fn unpacked(
    op: &'static str,
    factors: &Tensor,
    pivots: &Tensor,
    stack: &Stack,
) -> Result<[Tensor; 3], OpError> {
    let (m, n) = (stack.rows, stack.columns);
    let shapes = [[m, m], [m, m.min(n)], [m.min(n), n]].map(|matrix| stack.with(&matrix));
    let parts = match place(op, &[("factors", factors, Holds::Real), ("pivots", pivots, Holds::Integer)])? {
        Place::Cpu if factors.dtype() == DType::F64 => {
            cpu::parts::<f64>(values(factors), values(pivots), stack)
                .into_iter()
                .zip(&shapes)
                .map(|(part, shape)| on_cpu(shape, part))
                .collect()
        }
        Place::Cpu => cpu::parts::<f32>(values(factors), values(pivots), stack)
            .into_iter()
            .zip(&shapes)
            .map(|(part, shape)| on_cpu(shape, part))
            .collect(),
        Place::Gpu(gpu) => gpu::parts(op, &gpu, factors, pivots, stack, &shapes)?,
    };
    Ok(<[Tensor; 3]>::try_from(parts).expect("three parts"))
}

/// `X` with `A X = B` from the factors of `A`: `A^T X = B` if `adjoint`, `X A = B` unless `left`, `X A^T = B` if both.
///
/// # Shapes
/// - `lu`: `[.., n, n]`, f32, on the CPU also f64; `pivots`: `[.., n]`, i32: as [`lu_factor`] returns them
/// - `b`: `[.., n, k]`, or `[.., k, n]` unless `left`; dtype of `lu`. Batches go together as in NumPy: extents are equal, or 1 and
///   repeated
/// - returns: the common batch, with matrices as those of `b`
///
/// # Numerics
/// Two substitutions in the dtype. A zero on the diagonal gives infinities and NaN and no error.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, [`OpError::Value`] on the CPU if a pivot is not the
/// number of a row (on a GPU such a pivot exchanges nothing), [`OpError::Unsupported`] on a GPU if one does not fit one binding.
///
/// # Source
/// As [`lu_factor`].
pub fn lu_solve(
    lu: &Tensor,
    pivots: &Tensor,
    b: &Tensor,
    left: bool,
    adjoint: bool,
) -> Result<Tensor, OpError> {
    let system = System::of(SOLVE, ("lu", lu), b, left)?;
    let of_pivots = &lu.shape()[..lu.shape().len() - 1];
    if pivots.shape() != of_pivots {
        return Err(OpError::shape(SOLVE, "pivots", format!("{of_pivots:?}"), pivots.shape()));
    }
    if pivots.dtype() != DType::I32 {
        return Err(OpError::DType { op: SOLVE, argument: "pivots", expected: "i32", found: pivots.dtype() });
    }
    solve_factored(SOLVE, [lu, pivots], Right::Of(b), &system, adjoint)
}

/// Refuses pivots that are not numbers of rows.
fn check_numbers(op: &'static str, pivots: &[i32], rows: usize) -> Result<(), OpError> {
    match pivots.iter().find(|&&pivot| !(1..=rows as i32).contains(&pivot)) {
        None => Ok(()),
        Some(pivot) => Err(OpError::value(op, "pivots", "numbers of rows, counted from 1", pivot)),
    }
}

/// Right sides of systems.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// These.
    Of(&'a Tensor),
    /// The columns of the identity, for each matrix.
    Identity,
}

/// [`lu_solve`] for the op of this name.
pub(crate) fn solve_factored(
    op: &'static str,
    [lu, pivots]: [&Tensor; 2],
    b: Right<'_>,
    system: &System,
    adjoint: bool,
) -> Result<Tensor, OpError> {
    let mut arguments = vec![("lu", lu, Holds::Real), ("pivots", pivots, Holds::Integer)];
    if let Right::Of(b) = b {
        arguments.push(("b", b, Holds::Real));
    }
    let transposed = adjoint == system.left;
    match place(op, &arguments)? {
        Place::Cpu => {
            let pivots: &[i32] = values(pivots);
            check_numbers(op, pivots, system.n)?;
            Ok(if lu.dtype() == DType::F64 {
                let x = cpu::solve::<f64, 8>((values(lu), pivots), b, system, transposed);
                on_cpu(&system.shape(), x)
            } else {
                let x = cpu::solve::<f32, 16>((values(lu), pivots), b, system, transposed);
                on_cpu(&system.shape(), x)
            })
        }
        Place::Gpu(gpu) => gpu::solve(op, &gpu, [lu, pivots], b, system, transposed),
    }
}
