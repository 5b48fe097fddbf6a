//! How good a factorisation is, computed in f64 on the CPU from what was written.

use super::arrays::values;
use steropes_ops::linalg::matmul::{Transposed, matmul};
use steropes_tensor::{Device, Tensor};

/// A tensor in f64 on the CPU.
///
/// # Errors
/// The device failed.
pub(super) fn wide(tensor: &Tensor) -> anyhow::Result<Tensor> {
    Ok(Tensor::new(&Device::Cpu, tensor.shape(), values(tensor)?)?)
}

/// `A B` of tensors of [`wide`].
///
/// # Errors
/// They do not fit each other.
pub(super) fn product(a: &Tensor, b: &Tensor) -> anyhow::Result<Tensor> {
    Ok(matmul(a, b, Transposed::NONE)?)
}

/// The largest `|a - b| / |b|` of any matrix of two stacks, in Frobenius norms; of `|a - b|` where `b` is zero.
///
/// # Errors
/// The device failed.
pub(super) fn distance(a: &Tensor, b: &Tensor) -> anyhow::Result<f64> {
    let (a_values, b_values) = (values(a)?, values(b)?);
    let each = a.shape().iter().rev().take(2).product::<usize>().max(1);
    let of = |(a, b): (&[f64], &[f64])| {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let size = b.iter().map(|b| b.powi(2)).sum::<f64>().sqrt();
        if size > 0.0 { apart / size } else { apart }
    };
    Ok(a_values.chunks(each).zip(b_values.chunks(each)).map(of).fold(0.0, largest))
}

/// The largest entry of `|Qᵀ Q - 1|`, of columns, or of `|Q Qᵀ - 1|`, of rows.
///
/// # Errors
/// The device failed.
pub(super) fn orthogonality(q: &Tensor, rows: bool) -> anyhow::Result<f64> {
    let transposed = if rows { Transposed::B } else { Transposed::A };
    let product = matmul(q, q, transposed)?;
    let n = product.shape().last().copied().unwrap_or(1).max(1);
    let off = |(i, v): (usize, &f64)| {
        let (row, column) = (i / n % n, i % n);
        (v - if row == column { 1.0 } else { 0.0 }).abs()
    };
    Ok(product.read::<f64>()?.iter().enumerate().map(off).fold(0.0, largest))
}

/// The larger; NaN if either is.
fn largest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// `columns` of a stack of matrices multiplied by `factors`, one for each column.
///
/// # Errors
/// The device failed.
pub(super) fn scaled_columns(matrix: &Tensor, factors: &Tensor) -> anyhow::Result<Tensor> {
    let (mut data, factors) = (values(matrix)?, values(factors)?);
    let shape = matrix.shape();
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    if rows * columns > 0 {
        for (matrix, factors) in data.chunks_mut(rows * columns).zip(factors.chunks(columns)) {
            for row in matrix.chunks_mut(columns) {
                row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
            }
        }
    }
    Ok(Tensor::new(&Device::Cpu, shape, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: Vec<f64>) -> Tensor {
        Tensor::new(&Device::Cpu, shape, values).unwrap()
    }

    #[test]
    fn the_worst_matrix_decides() {
        let a = tensor(&[2, 1, 2], vec![3.0, 4.0, 0.0, 5.0]);
        let b = tensor(&[2, 1, 2], vec![3.0, 4.0, 0.0, 4.0]);
        assert_eq!(distance(&a, &b).unwrap(), 0.25);
        let nan = tensor(&[2, 1, 2], vec![f64::NAN, 4.0, 0.0, 4.0]);
        assert!(distance(&nan, &b).unwrap().is_nan());
    }

    #[test]
    fn rows_and_columns_are_told_apart() {
        let q = tensor(&[2, 1], vec![0.6, 0.8]);
        assert!(orthogonality(&q, false).unwrap() < 1e-15);
        assert!((orthogonality(&q, true).unwrap() - 0.64).abs() < 1e-15);
        let scaled =
            scaled_columns(&tensor(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]), &tensor(&[2], vec![10.0, 1.0]));
        assert_eq!(scaled.unwrap().read::<f64>().unwrap(), [10.0, 2.0, 30.0, 4.0]);
    }
}
