//! The similarity that moves one point set onto another.

use super::error::{GeometryError, check_finite, check_length, check_weights};
use super::transform::median_center_distance;
use nalgebra::{Isometry3, Matrix3, Point3, Rotation3, Similarity3, Translation3, UnitQuaternion, Vector3};

/// Whether [`procrustes`] may change the size of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleMode {
    /// Estimate the scale.
    Free,
    /// Rigid motion: the scale is 1.
    Fixed,
}

/// The similarity `target ~ s R source + t` of least weighted square error; `R` is always a proper rotation, also
/// where the target is mirrored.
///
/// With normalised weights `w`, centred points `x`, `y` and `M = sum w y x^T = U D V^T`:
/// `R = U diag(1, 1, det(U V^T)) V^T`, `s = trace(D diag(1, 1, det)) / sum w |x|^2`, `t = mean(y) - s R mean(x)`.
/// Coplanar sets (and three points) have one answer. Collinear sets leave the rotation about their line free: one of
/// the equally good answers is returned. No weights means equal weights.
///
/// # Shapes
/// `source`, `target` and `weights` have the same length, at least 1 for [`ScaleMode::Fixed`] and 2 different points
/// of positive weight for [`ScaleMode::Free`].
///
/// # Errors
/// [`GeometryError::Argument`] for unequal lengths, NaN or infinite values, negative weights or only zeros, and, with
/// a free scale, sources or targets that all lie in one place, or a target whose best scale is not positive.
///
/// # Source
/// S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991; written
/// from the paper.
pub fn procrustes(
    source: &[[f64; 3]],
    target: &[[f64; 3]],
    weights: Option<&[f64]>,
    scale_mode: ScaleMode,
) -> Result<Similarity3<f64>, GeometryError> {
    const OP: &str = "procrustes";
    check_length(OP, "target", target.len(), source.len())?;
    check_finite(OP, "source", source)?;
    check_finite(OP, "target", target)?;
    if let Some(weights) = weights {
        check_length(OP, "weights", weights.len(), source.len())?;
        check_weights(OP, "weights", weights)?;
    }
    let weight = |i: usize| weights.map_or(1.0, |w| w[i]);
    let total: f64 = (0..source.len()).map(weight).sum();
    if total <= 0.0 {
        return Err(GeometryError::argument(OP, "weights", "positive in sum", total));
    }
    let mean = |points: &[[f64; 3]]| {
        let sum = points.iter().enumerate().map(|(i, p)| Vector3::from(*p) * weight(i)).sum::<Vector3<f64>>();
        sum / total
    };
    let (mean_x, mean_y) = (mean(source), mean(target));
    let (mut moment, mut spread_x, mut spread_y) = (Matrix3::zeros(), 0.0, 0.0);
    for (i, (x, y)) in source.iter().zip(target).enumerate() {
        let w = weight(i) / total;
        let (x, y) = (Vector3::from(*x) - mean_x, Vector3::from(*y) - mean_y);
        moment += w * y * x.transpose();
        spread_x += w * x.norm_squared();
        spread_y += w * y.norm_squared();
    }
    if !moment.iter().all(|v| v.is_finite()) {
        return Err(GeometryError::argument(OP, "source", "of moderate size", "squares that overflow"));
    }
    let (rotation, trace) = nearest_rotation(&moment);
    let scale = match scale_mode {
        ScaleMode::Fixed => 1.0,
        ScaleMode::Free => {
            // Spreads at the rounding error of the coordinates themselves say nothing about size.
            let floor = |mean: &Vector3<f64>| (mean.norm() * 1e-14).powi(2) + f64::MIN_POSITIVE;
            if spread_x <= floor(&mean_x) {
                return Err(GeometryError::argument(OP, "source", "spread out", "points in one place"));
            }
            if spread_y <= floor(&mean_y) || trace <= 0.0 {
                return Err(GeometryError::argument(
                    OP,
                    "target",
                    "spread out like the source",
                    "no positive scale",
                ));
            }
            trace / spread_x
        }
    };
    let translation = mean_y - scale * (rotation * mean_x);
    let isometry = Isometry3::from_parts(Translation3::from(translation), rotation);
    Ok(Similarity3::from_isometry(isometry, scale))
}

/// The rotation `R` that maximises `trace(R^T M)`, and that trace; `M` is finite.
pub(crate) fn nearest_rotation(m: &Matrix3<f64>) -> (UnitQuaternion<f64>, f64) {
    let svd = m.svd(true, true);
    let (u, v_t) = (svd.u.expect("asked for"), svd.v_t.expect("asked for"));
    let sign = if (u * v_t).determinant() < 0.0 { -1.0 } else { 1.0 };
    // nalgebra sorts the singular values downwards, so the last is the one to flip.
    let d = Vector3::new(1.0, 1.0, sign);
    let rotation = Rotation3::from_matrix_unchecked(u * Matrix3::from_diagonal(&d) * v_t);
    (UnitQuaternion::from_rotation_matrix(&rotation), svd.singular_values.dot(&d))
}

/// The similarity that moves one set of camera poses (world_from_camera) onto another: [`procrustes`] over the camera
/// centres and, so that centres on a line or in one place do not leave the turn free, the points a little in front of
/// them: at a hundredth of the set's own median distance between centres along the optical axis.
///
/// # Errors
/// As [`procrustes`]; also for fewer than two poses, and for sets whose centres lie in one place.
pub fn align_poses(
    source: &[Isometry3<f64>],
    target: &[Isometry3<f64>],
) -> Result<Similarity3<f64>, GeometryError> {
    const OP: &str = "align_poses";
    check_length(OP, "target", target.len(), source.len())?;
    let points = |poses: &[Isometry3<f64>], argument| {
        let ahead = 0.01 * median_center_distance(poses);
        if ahead.is_nan() || ahead <= 0.0 {
            return Err(GeometryError::argument(OP, argument, "at two places or more", "no distance"));
        }
        let ahead = poses.iter().map(|p| (p * Point3::new(0.0, 0.0, ahead)).into());
        Ok(poses.iter().map(|p| p.translation.vector.into()).chain(ahead).collect::<Vec<[f64; 3]>>())
    };
    procrustes(&points(source, "source")?, &points(target, "target")?, None, ScaleMode::Free)
}

/// The weighted mean of `|target - S source|^2`, the quantity that [`procrustes`] minimises.
pub fn weighted_mean_square(
    similarity: &Similarity3<f64>,
    source: &[[f64; 3]],
    target: &[[f64; 3]],
    weights: Option<&[f64]>,
) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (i, (x, y)) in source.iter().zip(target).enumerate() {
        let w = weights.map_or(1.0, |w| w[i]);
        let moved = similarity.transform_point(&(*x).into());
        sum += w * (moved.coords - Vector3::from(*y)).norm_squared();
        total += w;
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::random::SplitMix;

    fn cloud(seed: u64, n: usize, axes: [f64; 3]) -> Vec<[f64; 3]> {
        let mut random = SplitMix::new(seed);
        (0..n).map(|_| axes.map(|a| a * random.normal())).collect()
    }

    fn truth(seed: u64) -> Similarity3<f64> {
        let mut random = SplitMix::new(seed);
        let mut three = || Vector3::new(random.normal(), random.normal(), random.normal());
        Similarity3::new(three() * 3.0, three(), 0.7)
    }

    fn moved(s: &Similarity3<f64>, points: &[[f64; 3]]) -> Vec<[f64; 3]> {
        points.iter().map(|p| s.transform_point(&(*p).into()).coords.into()).collect()
    }

    fn difference(a: &Similarity3<f64>, b: &Similarity3<f64>) -> f64 {
        (a.to_homogeneous() - b.to_homogeneous()).abs().max()
    }

    #[test]
    fn recovers_general_planar_and_minimal_sets() {
        for (seed, n, axes) in [(1, 50, [1.0, 2.0, 0.5]), (2, 40, [1.0, 0.0, 2.0]), (3, 3, [1.0, 1.0, 1.0])] {
            let (x, s) = (cloud(seed, n, axes), truth(seed + 10));
            let got = procrustes(&x, &moved(&s, &x), None, ScaleMode::Free).unwrap();
            assert!(difference(&got, &s) < 1e-9, "n {n}: {}", difference(&got, &s));
        }
    }

    #[test]
    fn collinear_set_fits_and_is_a_rotation() {
        let (x, s) = (cloud(4, 30, [2.0, 0.0, 0.0]), truth(5));
        let y = moved(&s, &x);
        let got = procrustes(&x, &y, None, ScaleMode::Free).unwrap();
        assert!((got.scaling() - s.scaling()).abs() < 1e-9);
        assert!(weighted_mean_square(&got, &x, &y, None) < 1e-18);
        assert!((got.isometry.rotation.to_rotation_matrix().matrix().determinant() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn mirrored_target_gives_a_rotation_that_no_other_beats() {
        let x = cloud(6, 30, [1.0, 2.0, 3.0]);
        let y: Vec<_> = x.iter().map(|p| [-p[0], p[1], p[2]]).collect();
        let got = procrustes(&x, &y, None, ScaleMode::Free).unwrap();
        assert!(got.isometry.rotation.to_rotation_matrix().matrix().determinant() > 0.999_999);
        let best = weighted_mean_square(&got, &x, &y, None);
        for k in 0..50 {
            let mut random = SplitMix::new(k);
            let mut small = || 0.1 * Vector3::new(random.normal(), random.normal(), random.normal());
            let other = Similarity3::new(small(), small(), 1.0 + 0.1 * (k as f64 - 25.0) / 25.0) * got;
            assert!(weighted_mean_square(&other, &x, &y, None) >= best);
        }
    }

    #[test]
    fn zero_weights_silence_outliers_and_fixed_scale_is_one() {
        let (x, s) = (cloud(7, 20, [1.0; 3]), truth(8));
        let mut y = moved(&s, &x);
        let mut weights = vec![0.5; 20];
        y[3] = [100.0, -50.0, 3.0];
        weights[3] = 0.0;
        let got = procrustes(&x, &y, Some(&weights), ScaleMode::Free).unwrap();
        assert!(difference(&got, &s) < 1e-9);
        assert_eq!(procrustes(&x, &y, None, ScaleMode::Fixed).unwrap().scaling(), 1.0);
    }

    #[test]
    fn poses_on_a_line_align_with_their_turn() {
        let s = truth(11);
        let poses: Vec<_> = (0..4)
            .map(|i| {
                let x = f64::from(i);
                Isometry3::new(Vector3::new(x, 2.0 * x, -x), Vector3::new(0.1 * x, 0.3, -0.2 * x))
            })
            .collect();
        let moved: Vec<_> = poses
            .iter()
            .map(|p| {
                let center = s.transform_point(&p.translation.vector.into());
                Isometry3::from_parts(center.coords.into(), s.isometry.rotation * p.rotation)
            })
            .collect();
        let got = align_poses(&poses, &moved).unwrap();
        assert!(difference(&got, &s) < 1e-7, "{}", difference(&got, &s));
        assert!(align_poses(&poses, &moved[..3]).is_err());
        let still = [Isometry3::identity(); 3];
        let message = align_poses(&still, &still).unwrap_err().to_string();
        assert_eq!(message, "align_poses: `source` must be at two places or more, got no distance");
    }

    #[test]
    fn errors_name_the_argument() {
        let x = cloud(9, 5, [1.0; 3]);
        let bad = |x: &[[f64; 3]], y: &[[f64; 3]], w: Option<&[f64]>, part: &str| {
            let message = procrustes(x, y, w, ScaleMode::Free).unwrap_err().to_string();
            assert!(message.starts_with("procrustes: `") && message.contains(part), "{message}");
        };
        bad(&x, &x[..4], None, "`target` must be of length 5, got 4");
        bad(&x, &x, Some(&[1.0]), "`weights`");
        bad(&x, &x, Some(&[0.0; 5]), "positive in sum");
        bad(&x, &x, Some(&[1.0, -1.0, 1.0, 1.0, 1.0]), "not negative");
        bad(&[[f64::NAN, 0.0, 0.0]; 5], &x, None, "`source` must be finite");
        bad(&[[1.0, 2.0, 3.0]; 5], &x, None, "`source` must be spread out");
        bad(&x, &[[1.0, 2.0, 3.0]; 5], None, "`target` must be spread out");
        bad(&[], &[], None, "`weights`");
        bad(&cloud(9, 5, [1e200; 3]), &cloud(8, 5, [1e200; 3]), None, "`source` must be of moderate size");
    }
}
