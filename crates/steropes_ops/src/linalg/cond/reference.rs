//! f64 oracle, from the definition.

use super::CondNorm;
use crate::linalg::solve::reference::solve;
use crate::linalg::svd::reference::svdvals;

/// The condition of an `m x n` matrix.
pub(crate) fn cond(a: &[f64], [m, n]: [usize; 2], p: CondNorm) -> f64 {
    let values = || svdvals(a, m, n);
    match p {
        CondNorm::Two => values()[0] / values()[m.min(n) - 1],
        CondNorm::MinusTwo => values()[m.min(n) - 1] / values()[0],
        CondNorm::Nuc => values().iter().sum::<f64>() * values().iter().map(|x| 1.0 / x).sum::<f64>(),
        _ => {
            let columns: Option<Vec<Vec<f64>>> = (0..n)
                .map(|j| solve(a, n, &(0..n).map(|i| if i == j { 1.0 } else { 0.0 }).collect::<Vec<f64>>()))
                .collect();
            columns.map_or(f64::INFINITY, |x| {
                let inverse: Vec<f64> = (0..n * n).map(|e| x[e % n][e / n]).collect();
                norm(a, n, p) * norm(&inverse, n, p)
            })
        }
    }
}

/// Another norm than those of singular values.
pub(crate) fn norm(a: &[f64], n: usize, p: CondNorm) -> f64 {
    let row = |i: usize| (0..n).map(|j| a[i * n + j].abs()).sum::<f64>();
    let column = |j: usize| (0..n).map(|i| a[i * n + j].abs()).sum::<f64>();
    match p {
        CondNorm::One => (0..n).map(column).fold(0.0, f64::max),
        CondNorm::MinusOne => (0..n).map(column).fold(f64::INFINITY, f64::min),
        CondNorm::Inf => (0..n).map(row).fold(0.0, f64::max),
        CondNorm::MinusInf => (0..n).map(row).fold(f64::INFINITY, f64::min),
        _ => a.iter().map(|x| x * x).sum::<f64>().sqrt(),
    }
}
