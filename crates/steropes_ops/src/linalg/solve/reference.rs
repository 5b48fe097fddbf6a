//! f64 oracle, from the formula.

/// `x` with `a x = b` for one right side, by elimination with the largest element of the rest as the pivot; `None` if the matrix is
/// singular.
pub(crate) fn solve(a: &[f64], n: usize, b: &[f64]) -> Option<Vec<f64>> {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    let mut unknowns: Vec<usize> = (0..n).collect();
    for k in 0..n {
        let rest = (k..n).flat_map(|i| (k..n).map(move |j| (i, j)));
        let (i, j) = rest.max_by(|x, y| a[x.0 * n + x.1].abs().total_cmp(&a[y.0 * n + y.1].abs()))?;
        if a[i * n + j] == 0.0 {
            return None;
        }
        (0..n).for_each(|c| a.swap(k * n + c, i * n + c));
        (0..n).for_each(|r| a.swap(r * n + k, r * n + j));
        b.swap(k, i);
        unknowns.swap(k, j);
        for i in (0..n).filter(|&i| i != k) {
            let factor = a[i * n + k] / a[k * n + k];
            (k..n).for_each(|c| a[i * n + c] -= factor * a[k * n + c]);
            b[i] -= factor * b[k];
        }
    }
    let mut x = vec![0.0; n];
    (0..n).for_each(|k| x[unknowns[k]] = b[k] / a[k * n + k]);
    Some(x)
}
