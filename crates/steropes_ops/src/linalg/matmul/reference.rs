//! f64 oracle, from the formula.

use super::Transposed;

/// `A B` of `[rows, depth]` and `[depth, columns]`, or of the transposes of what is given.
pub(crate) fn matmul(
    a: &[f64],
    b: &[f64],
    [rows, columns, depth]: [usize; 3],
    transposed: Transposed,
) -> Vec<f64> {
    let mut y = vec![0.0; rows * columns];
    for m in 0..rows {
        for n in 0..columns {
            for k in 0..depth {
                let left = if transposed.a { a[k * rows + m] } else { a[m * depth + k] };
                let right = if transposed.b { b[n * depth + k] } else { b[k * columns + n] };
                y[m * columns + n] += left * right;
            }
        }
    }
    y
}
