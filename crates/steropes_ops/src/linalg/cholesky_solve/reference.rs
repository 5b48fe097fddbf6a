//! f64 oracle, from the formula.

use crate::linalg::solve_triangular::reference::solve;

/// `x` with `l l^T x = b` for one right side; entries above the diagonal of `l` are zero.
pub(crate) fn cholesky_solve(b: &[f64], l: &[f64], n: usize) -> Vec<f64> {
    let transposed: Vec<f64> = (0..n * n).map(|e| l[e % n * n + e / n]).collect();
    solve(&transposed, n, &solve(l, n, b, false), true)
}
