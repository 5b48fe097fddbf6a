//! Full rank: R of `[A b]`, or QR of the transpose, by the kernels of QR; then a triangular system for each matrix, on all threads.

use super::System;
use crate::cpu::lanes::Real;
use crate::linalg::qr::{Matrices, factors, multiply, threads_for, view, view_mut};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, MatRef, Par};
use rayon::prelude::*;

/// Columns of `b` that are reduced along with A, if they are not more than its own.
const ALONG: usize = 8;

/// Solutions and, with more rows than columns, residuals.
type Solved<T> = (Vec<T>, Option<Vec<T>>);

/// See [`super::lstsq`]; the error is the number of the first matrix that is not of full rank, and the column where that shows.
pub(super) fn gels<T: Real, const N: usize>(
    a: &[T],
    b: &[T],
    system: &System,
) -> Result<Solved<T>, [usize; 2]> {
    let &System { m, n, k, .. } = system;
    if m < n {
        return wide::<T, N>(a, b, system).map(|solution| (solution, None));
    }
    if k <= n.max(ALONG) { along::<T, N>(a, b, system) } else { many_columns::<T, N>(a, b, system) }
}

/// The first matrix and column with a zero on the diagonal of R, the upper triangles in matrices `[rows, columns]`.
fn check_rank<T: Real>(r: &[T], [rows, columns]: [usize; 2], n: usize) -> Result<(), [usize; 2]> {
    for (matrix, r) in r.chunks_exact(rows * columns).enumerate() {
        if let Some(j) = (0..n).find(|&j| r[j * columns + j] == T::zero()) {
            return Err([matrix, j]);
        }
    }
    Ok(())
}

/// `b` is reduced with A.
fn along<T: Real, const N: usize>(a: &[T], b: &[T], system: &System) -> Result<Solved<T>, [usize; 2]> {
    let &System { m, n, k, .. } = system;
    let (count, width) = (system.count(), n + k);
    let rows = m.min(width);
    let mut both = Vec::with_capacity(count * m * width);
    for (a, b) in a.chunks_exact(n).zip(b.chunks_exact(k)) {
        both.extend_from_slice(a);
        both.extend_from_slice(b);
    }
    let [r, _] = factors::<T, N>(&both, &Matrices { count, m, n: width }, [rows, 0]);
    drop(both);
    check_rank(&r, [rows, width], n)?;
    let mut solution = vec![T::zero(); count * n * k];
    let mut residuals = vec![T::zero(); count * k];
    let par = threads_for(count);
    let results = solution.par_chunks_mut(n * k).zip(residuals.par_chunks_mut(k));
    r.par_chunks(rows * width).zip(results).for_each(|(r, (solution, residuals))| {
        let r = view(r, rows, width);
        let mut x = view_mut(solution, n, k);
        x.copy_from(r.submatrix(0, n, n, k));
        solve_upper_triangular_in_place(r.submatrix(0, 0, n, n), x, par);
        for (j, residual) in residuals.iter_mut().enumerate() {
            *residual = (n..rows).map(|i| r[(i, n + j)] * r[(i, n + j)]).sum();
        }
    });
    Ok((solution, (m > n).then_some(residuals)))
}

/// Q is made, because `b` has more columns than A.
fn many_columns<T: Real, const N: usize>(a: &[T], b: &[T], system: &System) -> Result<Solved<T>, [usize; 2]> {
    let &System { m, n, k, .. } = system;
    let count = system.count();
    let [r, q] = factors::<T, N>(a, &Matrices { count, m, n }, [n, n]);
    check_rank(&r, [n, n], n)?;
    let mut solution = vec![T::zero(); count * n * k];
    let mut residuals = vec![T::zero(); count * k];
    let par = threads_for(count);
    let results = solution.par_chunks_mut(n * k).zip(residuals.par_chunks_mut(k));
    results.enumerate().for_each(|(i, (solution, residuals))| {
        let (a, b) = (view(&a[i * m * n..][..m * n], m, n), view(&b[i * m * k..][..m * k], m, k));
        let (r, q) = (view(&r[i * n * n..][..n * n], n, n), view(&q[i * m * n..][..m * n], m, n));
        multiply(view_mut(solution, n, k), Accum::Replace, q.transpose(), b, par);
        solve_upper_triangular_in_place(r, view_mut(solution, n, k), par);
        squares(a, view(solution, n, k), b, residuals, par);
    });
    Ok((solution, (m > n).then_some(residuals)))
}

/// `|A x - b|^2` of every column.
pub(super) fn squares<T: Real>(
    a: MatRef<'_, T>,
    x: MatRef<'_, T>,
    b: MatRef<'_, T>,
    residuals: &mut [T],
    par: Par,
) {
    let mut left = b.to_owned();
    faer::linalg::matmul::matmul(left.as_mut(), Accum::Add, a, x, -T::one(), par);
    for (j, residual) in residuals.iter_mut().enumerate() {
        *residual = (0..left.nrows()).map(|i| left[(i, j)] * left[(i, j)]).sum();
    }
}

/// The solution of the smallest norm, which is in the space of A's rows: `A^T = Q R`, `x = Q R^-T b`.
fn wide<T: Real, const N: usize>(a: &[T], b: &[T], system: &System) -> Result<Vec<T>, [usize; 2]> {
    let &System { m, n, k, .. } = system;
    let count = system.count();
    let mut transposed = vec![T::zero(); a.len()];
    for (to, a) in transposed.chunks_exact_mut(m * n).zip(a.chunks_exact(m * n)) {
        view_mut(to, n, m).copy_from(view(a, m, n).transpose());
    }
    let [r, q] = factors::<T, N>(&transposed, &Matrices { count, m: n, n: m }, [m, m]);
    check_rank(&r, [m, m], m)?;
    let mut solution = vec![T::zero(); count * n * k];
    let par = threads_for(count);
    solution.par_chunks_mut(n * k).enumerate().for_each(|(i, solution)| {
        let mut y = b[i * m * k..][..m * k].to_vec();
        let r = view(&r[i * m * m..][..m * m], m, m);
        solve_lower_triangular_in_place(r.transpose(), view_mut(&mut y, m, k), par);
        let q = view(&q[i * m * n..][..m * n], n, m);
        multiply(view_mut(solution, n, k), Accum::Replace, q, view(&y, m, k), par);
    });
    Ok(solution)
}
