//! f64 oracle: cyclic Jacobi, plainly.

/// Values in ascending order and vectors, one in each column, of a symmetric matrix.
pub(crate) fn eigh(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    let norm = a.iter().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..50 {
        let off: f64 = (0..n * n).filter(|i| i % (n + 1) != 0).map(|i| a[i] * a[i]).sum();
        if off.sqrt() <= 1e-16 * norm {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p * n + q] == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * a[p * n + q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (v[k * n + p], v[k * n + q]);
                    (v[k * n + p], v[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
                }
                (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[i * n + i].total_cmp(&a[j * n + j]));
    let values = order.iter().map(|&i| a[i * n + i]).collect();
    let vectors = (0..n * n).map(|i| v[i / n * n + order[i % n]]).collect();
    (values, vectors)
}

/// The change of `loss(values, vectors)` for a change of entries (i, j) and (j, i) together, halved off the diagonal, by
/// central differences.
pub(crate) fn gradient(matrix: &[f64], n: usize, loss: impl Fn(&[f64], &[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let at = |i: usize, j: usize, change: f64| {
        let mut moved = matrix.to_vec();
        moved[i * n + j] += change / 2.0;
        moved[j * n + i] += change / 2.0;
        let (l, v) = eigh(&moved, n);
        loss(&l, &v)
    };
    (0..n * n).map(|i| (at(i / n, i % n, step) - at(i / n, i % n, -step)) / (2.0 * step)).collect()
}
