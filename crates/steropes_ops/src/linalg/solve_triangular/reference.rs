//! f64 oracle, from the formula.

/// `x` with `a x = b` for a triangular matrix `[n, n]` and one right side, the unknowns one after another; entries of the other
/// triangle are zero.
pub(crate) fn solve(a: &[f64], n: usize, b: &[f64], upper: bool) -> Vec<f64> {
    let mut x = vec![0.0; n];
    for step in 0..n {
        let i = if upper { n - 1 - step } else { step };
        let known: f64 = (0..n).filter(|&j| j != i).map(|j| a[i * n + j] * x[j]).sum();
        x[i] = (b[i] - known) / a[i * n + i];
    }
    x
}
