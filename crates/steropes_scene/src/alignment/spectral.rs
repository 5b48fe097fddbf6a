//! A low-rank basis for the depths of an image: smooth where the surface is, free across its edges.

use super::AlignmentError;
use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Which Laplacian of the anchor graph the basis belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laplacian {
    /// `D - W`.
    Plain,
    /// `I - D^-1/2 W D^-1/2` (normalised cuts).
    Normalised,
}

/// The anchors of an image: a depth per block of `subsample` pixels, at the block's pixel `(subsample/2, subsample/2)`.
#[derive(Clone, Copy, Debug)]
pub struct AnchorDepths<'a> {
    /// Depths, row by row; positive.
    pub depths: &'a [f64],
    /// Anchors in a row.
    pub columns: usize,
    /// Pixels per block.
    pub subsample: usize,
    /// Focal lengths (x, y) in pixels.
    pub focal_px: [f64; 2],
    /// Principal point (x, y) in pixels.
    pub center_px: [f64; 2],
}

/// Eigenvectors of a graph Laplacian with the smallest eigenvalues.
#[derive(Clone, Debug)]
pub struct SpectralBasis {
    /// All eigenvalues, ascending.
    pub eigenvalues: Vec<f64>,
    /// One unit column per kept eigenvector.
    pub vectors: DMatrix<f64>,
}

impl SpectralBasis {
    /// The nearest vector of the basis to `values`, one per anchor.
    pub fn project(&self, values: &[f64]) -> Vec<f64> {
        let coefficients = self.vectors.tr_mul(&DVector::from_column_slice(values));
        (&self.vectors * coefficients).iter().copied().collect()
    }
}

/// The `rank` smoothest vectors on the graph of an image's anchors.
///
/// Two anchors with the camera-frame points `X`, depths `z`, are joined with the weight
/// `exp(-gamma (|X_i - X_j| / (z_i + z_j))^2)`: near in space, relative to how far they are. An anchor is not joined with
/// itself. Cubic in the number of anchors.
///
/// # Errors
/// [`AlignmentError::Value`] if depths are not positive and finite or no whole rows, or `rank` is 0 or above their number.
///
/// # Source
/// Shi and Malik, "Normalized cuts and image segmentation", PAMI 2000; the weight was found by a search over forms against
/// stored eigenvalues.
pub fn spectral_basis(
    anchors: &AnchorDepths<'_>,
    laplacian: Laplacian,
    gamma: f64,
    rank: usize,
) -> Result<SpectralBasis, AlignmentError> {
    let n = anchors.depths.len();
    if n == 0 || anchors.columns == 0 || !n.is_multiple_of(anchors.columns) {
        return Err(AlignmentError::value("depths", format!("whole rows of {}", anchors.columns), n));
    }
    if let Some(bad) = anchors.depths.iter().find(|z| !(z.is_finite() && **z > 0.0)) {
        return Err(AlignmentError::value("depths", "positive and finite", bad));
    }
    if rank == 0 || rank > n {
        return Err(AlignmentError::value("rank", format!("between 1 and {n}"), rank));
    }
    let points: Vec<[f64; 3]> = (0..n).map(|i| anchors.point(i)).collect();
    let weight = |i: usize, j: usize| {
        let (a, b) = (points[i], points[j]);
        let square: f64 = (0..3).map(|c| (a[c] - b[c]).powi(2)).sum();
        if i == j { 0.0 } else { (-gamma * square / (a[2] + b[2]).powi(2)).exp() }
    };
    let mut matrix = DMatrix::from_fn(n, n, |i, j| -weight(i, j));
    let degrees: Vec<f64> = (0..n).map(|i| -matrix.row(i).sum()).collect();
    for (i, degree) in degrees.iter().enumerate() {
        matrix[(i, i)] = *degree;
    }
    if laplacian == Laplacian::Normalised {
        for i in 0..n {
            for j in 0..n {
                matrix[(i, j)] /= (degrees[i] * degrees[j]).sqrt();
            }
        }
    }
    let eigen = SymmetricEigen::new(matrix);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
    let columns: Vec<DVector<f64>> =
        order[..rank].iter().map(|&i| eigen.eigenvectors.column(i).into_owned()).collect();
    Ok(SpectralBasis {
        eigenvalues: order.iter().map(|&i| eigen.eigenvalues[i]).collect(),
        vectors: DMatrix::from_columns(&columns),
    })
}

impl AnchorDepths<'_> {
    /// The camera-frame point of an anchor.
    fn point(&self, anchor: usize) -> [f64; 3] {
        let pixel = |i: usize| (i * self.subsample + self.subsample / 2) as f64;
        let (x, y) = (pixel(anchor % self.columns), pixel(anchor / self.columns));
        let z = self.depths[anchor];
        [(x - self.center_px[0]) / self.focal_px[0] * z, (y - self.center_px[1]) / self.focal_px[1] * z, z]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors(depths: &[f64]) -> AnchorDepths<'_> {
        AnchorDepths { depths, columns: 6, subsample: 8, focal_px: [60.0; 2], center_px: [24.0, 16.0] }
    }

    /// The smoothest vector of a graph is constant (plain) or the root of the degrees, with eigenvalue 0; the basis is
    /// orthonormal, and a step in depth is its second vector.
    #[test]
    fn the_basis_is_orthonormal_and_knows_the_step() {
        let depths: Vec<f64> = (0..24).map(|i| if i % 6 < 3 { 1.0 } else { 9.0 }).collect();
        for laplacian in [Laplacian::Plain, Laplacian::Normalised] {
            let basis = spectral_basis(&anchors(&depths), laplacian, 50.0, 5).unwrap();
            assert!(basis.eigenvalues[0].abs() < 1e-12 && basis.eigenvalues.is_sorted());
            let gram = basis.vectors.tr_mul(&basis.vectors);
            assert!((gram - DMatrix::identity(5, 5)).norm() < 1e-10);
        }
        let basis = spectral_basis(&anchors(&depths), Laplacian::Plain, 50.0, 2).unwrap();
        let projected = basis.project(&depths);
        assert!(projected.iter().zip(&depths).all(|(p, d)| (p - d).abs() < 0.05 * d), "{projected:?}");
    }

    #[test]
    fn refusals_name_the_argument() {
        let depths = vec![1.0; 24];
        let refused = |a: &[f64], rank| {
            spectral_basis(&anchors(a), Laplacian::Plain, 7.0, rank).unwrap_err().to_string()
        };
        assert!(refused(&depths[..23], 2).contains("`depths`"));
        assert!(refused(&[&depths[..23], &[0.0]].concat(), 2).contains("`depths` must be positive"));
        assert!(refused(&depths, 0).contains("`rank`") && refused(&depths, 25).contains("`rank`"));
    }
}
