//! f64 oracle: the algorithm in plain loops, with orthonormal bases by Gram and Schmidt.

use crate::linalg::svd::reference::svd;

/// `a b` of extents `[m, k, n]`.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    (0..m * n).map(|e| (0..k).map(|l| a[e / n * k + l] * b[l * n + e % n]).sum()).collect()
}

fn transposed(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|e| a[e % rows * columns + e / rows]).collect()
}

/// An orthonormal basis of the columns of an `m x k` matrix of full rank.
fn orthonormal(a: &[f64], m: usize, k: usize) -> Vec<f64> {
    let mut columns: Vec<Vec<f64>> = (0..k).map(|j| (0..m).map(|i| a[i * k + j]).collect()).collect();
    for j in 0..k {
        let (done, rest) = columns.split_at_mut(j);
        let column = &mut rest[0];
        // Twice is enough.
        for other in done.iter().chain(&*done) {
            let share: f64 = column.iter().zip(other).map(|(x, y)| x * y).sum();
            column.iter_mut().zip(other).for_each(|(x, y)| *x -= share * y);
        }
        let length = column.iter().map(|x| x * x).sum::<f64>().sqrt();
        column.iter_mut().for_each(|x| *x /= length);
    }
    (0..m * k).map(|e| columns[e % k][e / k]).collect()
}

/// `U diag(S) V^T` and `S` of an `m x n` matrix, from the random vectors `start`, `min(m, n) x k`.
pub(crate) fn svd_lowrank(
    a: &[f64],
    [m, n]: [usize; 2],
    start: &[f64],
    k: usize,
    niter: usize,
) -> (Vec<f64>, Vec<f64>) {
    if m < n {
        let (product, s) = svd_lowrank(&transposed(a, m, n), [n, m], start, k, niter);
        return (transposed(&product, n, m), s);
    }
    let back = transposed(a, m, n);
    let mut basis = orthonormal(&product(a, start, [m, n, k]), m, k);
    for _ in 0..niter {
        let other = orthonormal(&product(&back, &basis, [n, m, k]), n, k);
        basis = orthonormal(&product(a, &other, [m, n, k]), m, k);
    }
    let small = product(&transposed(&basis, m, k), a, [k, m, n]);
    let s = svd(&small, k, n)[1].concat();
    (product(&basis, &small, [m, k, n]), s)
}
