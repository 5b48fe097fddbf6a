//! Whitening: tokens in coordinates that are centred and decorrelated.

use nalgebra::{DMatrix, DMatrixView, DVector};
use std::cmp::Ordering;
use steropes_nn::{LoadError, Weights};

/// `(x - m) p`, computed in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    mean: DVector<f64>,
    /// `p` transposed: `[outputs, inputs]`.
    transposed: DMatrix<f64>,
}

impl Whitening {
    /// The whitening with the mean `m` `[inputs]` and the matrix `p` `[inputs, outputs]`, row by row.
    ///
    /// # Panics
    /// If `m` is empty or `p` does not consist of rows of one length, as many as `m` has values.
    pub fn new(mean: Vec<f64>, matrix: Vec<f64>) -> Self {
        let inputs = mean.len();
        assert!(
            inputs > 0 && !matrix.is_empty() && matrix.len().is_multiple_of(inputs),
            "a matrix with a row for each value of the mean"
        );
        let outputs = matrix.len() / inputs;
        Self { mean: DVector::from_vec(mean), transposed: DMatrix::from_vec(outputs, inputs, matrix) }
    }

    /// Reads `m` `[1, inputs]` and `p` `[inputs, outputs]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub(super) fn load(weights: &Weights<'_>) -> Result<Self, LoadError> {
        let shape = weights.shape::<2>("p")?;
        if shape.contains(&0) {
            return Err(weights.wrong_shape("p", "[inputs, outputs], both at least 1".to_owned(), &shape));
        }
        Ok(Self::new(weights.values_f64("m", &[1, shape[0]])?, weights.values_f64("p", &shape)?))
    }

    /// The whitening that `rows` of `inputs` values teach: their mean, and the eigenvectors of their covariance, each over the
    /// root of its eigenvalue, largest first, at most `outputs` of them.
    ///
    /// Directions in which the rows do not differ, to within 1e-6 of the largest eigenvalue, are left out: they hold
    /// nothing but rounding.
    ///
    /// # Panics
    /// If there is no row, or `rows` does not consist of rows of `inputs` values.
    ///
    /// # Source
    /// Principal component analysis, as the published whitenings of the MASt3R family were made.
    pub fn learn(rows: &[f32], inputs: usize, outputs: usize) -> Self {
        assert!(!rows.is_empty() && rows.len().is_multiple_of(inputs), "rows of {inputs} values");
        let count = rows.len() / inputs;
        let mut columns = DMatrix::from_iterator(inputs, count, rows.iter().map(|&v| f64::from(v)));
        let mean = columns.column_mean();
        columns.column_iter_mut().for_each(|mut column| column -= &mean);
        let covariance = &columns * columns.transpose() / count as f64;
        let eigen = covariance.symmetric_eigen();
        let mut order: Vec<usize> = (0..inputs).collect();
        order.sort_by(|&a, &b| descending(eigen.eigenvalues[a], eigen.eigenvalues[b]).then(a.cmp(&b)));
        let smallest = f64::max(1e-6 * eigen.eigenvalues[order[0]], f64::MIN_POSITIVE);
        order.retain(|&i| eigen.eigenvalues[i] >= smallest);
        order.truncate(outputs.max(1));
        if order.is_empty() {
            // Rows that are all the same: no direction tells them apart.
            return Self { mean, transposed: DMatrix::zeros(1, inputs) };
        }
        let scaled = order.iter().map(|&i| {
            let vector = eigen.eigenvectors.column(i);
            // Of the two eigenvectors the one whose largest value is positive, so that equal inputs have one answer.
            let sign = vector[vector.iamax()].signum();
            (vector * (sign / eigen.eigenvalues[i].sqrt())).transpose()
        });
        let transposed = DMatrix::from_rows(&scaled.collect::<Vec<_>>());
        Self { mean, transposed }
    }

    /// Values of a row that is whitened.
    pub fn inputs(&self) -> usize {
        self.mean.len()
    }

    /// Values of a whitened row.
    pub fn outputs(&self) -> usize {
        self.transposed.nrows()
    }

    /// The whitened rows, rounded once: `[rows, inputs]` to `[rows, outputs]`, row by row.
    ///
    /// # Panics
    /// If `rows` does not consist of rows of [`Whitening::inputs`] values.
    pub fn apply(&self, rows: &[f32]) -> Vec<f32> {
        assert!(rows.len().is_multiple_of(self.inputs()), "rows of {} values", self.inputs());
        let wide: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
        let mut columns =
            DMatrixView::from_slice(&wide, self.inputs(), rows.len() / self.inputs()).into_owned();
        columns.column_iter_mut().for_each(|mut column| column -= &self.mean);
        (&self.transposed * columns).iter().map(|&v| v as f32).collect()
    }
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}
