//! f64 oracle, from the formula.

/// The determinant by Laplace's expansion along the first row for few rows, else by elimination: sign and logarithm of the magnitude.
pub(crate) fn slogdet(a: &[f64], n: usize) -> (f64, f64) {
    if n <= 6 {
        let det = expansion(a, n);
        let sign = if det == 0.0 { 0.0 } else { det.signum() };
        return (sign, det.abs().ln());
    }
    let mut a = a.to_vec();
    let (mut sign, mut sum) = (1.0, 0.0);
    for k in 0..n {
        let largest = (k..n).fold(k, |b, i| if a[i * n + k].abs() > a[b * n + k].abs() { i } else { b });
        if largest != k {
            sign = -sign;
            (0..n).for_each(|j| a.swap(k * n + j, largest * n + j));
        }
        let pivot = a[k * n + k];
        if pivot == 0.0 {
            return (0.0, f64::NEG_INFINITY);
        }
        sign *= pivot.signum();
        sum += pivot.abs().ln();
        for i in k + 1..n {
            let factor = a[i * n + k] / pivot;
            (k..n).for_each(|j| a[i * n + j] -= factor * a[k * n + j]);
        }
    }
    (sign, sum)
}

/// The determinant.
pub(crate) fn expansion(a: &[f64], n: usize) -> f64 {
    if n == 0 {
        return 1.0;
    }
    (0..n).map(|j| if j % 2 == 0 { 1.0 } else { -1.0 } * a[j] * expansion(&minor(a, n, 0, j), n - 1)).sum()
}

/// A matrix without a row and a column.
pub(crate) fn minor(a: &[f64], n: usize, row: usize, column: usize) -> Vec<f64> {
    (0..n * n).filter(|e| e / n != row && e % n != column).map(|e| a[e]).collect()
}

/// The sum of the magnitudes of all products of the expansion.
pub(crate) fn terms(a: &[f64], n: usize) -> f64 {
    if n == 0 {
        return 1.0;
    }
    (0..n).map(|j| a[j].abs() * terms(&minor(a, n, 0, j), n - 1)).sum()
}
