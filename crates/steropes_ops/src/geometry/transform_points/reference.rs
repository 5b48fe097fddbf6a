//! f64 oracle, from the formula.

/// `A p + t`, and the sum of the magnitudes of its summands.
pub(super) fn transform_points(points: &[f32], transforms: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let each = points.len() / (transforms.len() / 12).max(1) / 3;
    let (mut moved, mut sizes) = (Vec::new(), Vec::new());
    for (i, p) in points.chunks_exact(3).enumerate() {
        for row in 0..3 {
            let m = |c: usize| f64::from(transforms[12 * (i / each) + 4 * row + c]);
            let summands: Vec<f64> =
                (0..3).map(|c| m(c) * f64::from(p[c])).chain(std::iter::once(m(3))).collect();
            moved.push(summands.iter().sum());
            sizes.push(summands.iter().map(|s| s.abs()).sum());
        }
    }
    (moved, sizes)
}
