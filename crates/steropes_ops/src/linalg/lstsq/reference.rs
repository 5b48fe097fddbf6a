//! f64 oracle, from the formulas.

use crate::linalg::qr::reference::{product, qr, transposed};

/// The least squares solution of full rank of `[m, n] x = [m, k]`.
pub(crate) fn lstsq(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    if m < n {
        // x = Q R^-T b, with A^T = Q R.
        let (q, r) = qr(&transposed(a, m, n), n, m);
        let mut y = vec![0.0; n * k];
        for j in 0..k {
            for i in 0..m {
                let known: f64 = (0..i).map(|l| r[l * m + i] * y[l * k + j]).sum();
                y[i * k + j] = (b[i * k + j] - known) / r[i * m + i];
            }
        }
        return product(&q, &y, [n, n, k]);
    }
    let (q, r) = qr(a, m, n);
    let y = product(&transposed(&q, m, m), b, [m, m, k]);
    let mut x = vec![0.0; n * k];
    for j in 0..k {
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|l| r[i * n + l] * x[l * k + j]).sum();
            x[i * k + j] = (y[i * k + j] - known) / r[i * n + i];
        }
    }
    x
}
