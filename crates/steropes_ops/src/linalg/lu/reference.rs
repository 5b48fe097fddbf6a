//! f64 oracle, from the formula.

/// `L` below the diagonal and `U` from it on of `[m, n]` matrices, and the rows exchanged, counted from 1.
pub(crate) fn lu(a: &[f64], m: usize, n: usize) -> (Vec<f64>, Vec<i32>) {
    let mut a = a.to_vec();
    let mut pivots = Vec::new();
    for k in 0..m.min(n) {
        let mut largest = k;
        for i in k..m {
            if a[i * n + k].abs() > a[largest * n + k].abs() {
                largest = i;
            }
        }
        pivots.push(largest as i32 + 1);
        for j in 0..n {
            a.swap(k * n + j, largest * n + j);
        }
        for i in k + 1..m {
            if a[k * n + k] != 0.0 {
                a[i * n + k] /= a[k * n + k];
            }
            for j in k + 1..n {
                a[i * n + j] -= a[i * n + k] * a[k * n + j];
            }
        }
    }
    (a, pivots)
}
