//! f64 oracle: plain one-sided Jacobi rotations, and the products that a decomposition must satisfy.

/// `(U, S, V)` of a row-major `m x n` matrix with `m >= n`, `U` and `V` as lists of columns, in descending order.
fn tall(a: &[f64], m: usize, n: usize) -> [Vec<Vec<f64>>; 3] {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let mut columns: Vec<Vec<f64>> = (0..n).map(|c| (0..m).map(|r| a[r * n + c]).collect()).collect();
    let mut turns: Vec<Vec<f64>> = (0..n).map(|c| (0..n).map(|r| f64::from(r == c)).collect()).collect();
    for _ in 0..60 {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                let (xx, yy) = (dot(&columns[p], &columns[p]), dot(&columns[q], &columns[q]));
                let xy = dot(&columns[p], &columns[q]);
                if xy.abs() <= 1e-16 * (m as f64) * xx.sqrt() * yy.sqrt() {
                    continue;
                }
                turned = true;
                let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
                let (sin, cos) = angle.sin_cos();
                for vectors in [&mut columns, &mut turns] {
                    for r in 0..vectors[p].len() {
                        let (x, y) = (vectors[p][r], vectors[q][r]);
                        vectors[p][r] = cos * x + sin * y;
                        vectors[q][r] = cos * y - sin * x;
                    }
                }
            }
        }
        if !turned {
            break;
        }
    }
    let norms: Vec<f64> = columns.iter().map(|c| dot(c, c).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let left = |&c: &usize| columns[c].iter().map(|x| x / norms[c]).collect();
    [
        order.iter().map(left).collect(),
        order.iter().map(|&c| vec![norms[c]]).collect(),
        order.iter().map(|&c| turns[c].clone()).collect(),
    ]
}

/// `(U, S, V)` of any row-major matrix, `U` and `V` as lists of `min(m, n)` columns; `S` in lists of one.
pub(crate) fn svd(a: &[f64], m: usize, n: usize) -> [Vec<Vec<f64>>; 3] {
    if m >= n {
        return tall(a, m, n);
    }
    let transposed: Vec<f64> = (0..n * m).map(|i| a[i % m * n + i / m]).collect();
    let [v, s, u] = tall(&transposed, n, m);
    [u, s, v]
}

/// Singular values, descending.
pub(crate) fn svdvals(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    svd(a, m, n)[1].concat()
}

/// The largest entry of `x^T x - 1` for vectors of `length` values, each `stride` apart from entry to entry and `next` from vector to vector.
pub(crate) fn orthonormality(x: &[f64], count: usize, length: usize, stride: usize, next: usize) -> f64 {
    let mut worst = 0.0f64;
    for i in 0..count {
        for j in 0..=i {
            let dot: f64 = (0..length).map(|r| x[i * next + r * stride] * x[j * next + r * stride]).sum();
            let error = (dot - f64::from(i == j)).abs();
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
    }
    worst
}

/// The Frobenius norm of `a - u[:, :k] diag(s) vh[:k, :]`; `left` are the columns of `u`.
pub(crate) fn residual(a: &[f64], [u, s, vh]: [&[f64]; 3], [m, n, left]: [usize; 3]) -> f64 {
    let mut sum = 0.0;
    for r in 0..m {
        for c in 0..n {
            let product: f64 = (0..s.len()).map(|k| u[r * left + k] * s[k] * vh[k * n + c]).sum();
            sum += (a[r * n + c] - product).powi(2);
        }
    }
    sum.sqrt()
}
