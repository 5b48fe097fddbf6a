//! f64 oracle, from the formula.

/// The pixels of points, `each` for one camera, and the sums of the magnitudes of their summands.
pub(super) fn project(points: &[f32], intrinsics: &[f32], each: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut pixels, mut sizes) = (Vec::new(), Vec::new());
    for (i, p) in points.chunks_exact(3).enumerate() {
        for axis in 0..2 {
            let k = |c: usize| f64::from(intrinsics[4 * (i / each) + c]);
            let (place, z) = (f64::from(p[axis]), f64::from(p[2]));
            let seen = z.is_finite() && z > 0.0;
            let offset = k(axis) * place / z;
            pixels.push(if seen { offset + k(axis + 2) } else { f64::NAN });
            sizes.push(offset.abs() + k(axis + 2).abs());
        }
    }
    (pixels, sizes)
}
