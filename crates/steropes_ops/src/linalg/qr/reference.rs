//! f64 oracle, from the formulas.

/// Q `[m, m]` and R `[m, n]` of the matrix `a` `[m, n]`, by reflections of one column after another, with LAPACK's signs.
pub(crate) fn qr(a: &[f64], m: usize, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut r = a.to_vec();
    let mut q: Vec<f64> = (0..m * m).map(|i| if i / m == i % m { 1.0 } else { 0.0 }).collect();
    for j in 0..n.min(m) {
        let below = (j + 1..m).fold(0.0f64, |norm, i| norm.hypot(r[i * n + j]));
        if below == 0.0 {
            continue;
        }
        let head = r[j * n + j];
        let norm = head.hypot(below);
        let beta = if head < 0.0 { norm } else { -norm };
        let mut v: Vec<f64> = (0..m).map(|i| if i < j { 0.0 } else { r[i * n + j] / norm }).collect();
        v[j] = (head - beta) / norm;
        let square: f64 = v.iter().map(|x| x * x).sum();
        for c in 0..n {
            let dot: f64 = (j..m).map(|i| v[i] * r[i * n + c]).sum();
            (j..m).for_each(|i| r[i * n + c] -= 2.0 * dot / square * v[i]);
        }
        for row in q.chunks_exact_mut(m) {
            let dot: f64 = row.iter().zip(&v).map(|(x, v)| x * v).sum();
            row.iter_mut().zip(&v).for_each(|(x, v)| *x -= 2.0 * dot / square * v);
        }
        (j + 1..m).for_each(|i| r[i * n + j] = 0.0);
    }
    (q, r)
}

/// `a b`, of `[m, k]` and `[k, n]`.
pub(crate) fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let entry = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
    (0..m * n).map(|i| entry(i / n, i % n)).collect()
}

/// The transpose of `[m, n]`.
pub(crate) fn transposed(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|i| a[i % m * n + i / m]).collect()
}
