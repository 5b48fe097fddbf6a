//! How far a reconstruction is from the truth: relative poses, focal lengths, and points to surface.

use super::truth::{Truth, TruthPhoto};
use nalgebra::{Isometry3, Matrix3, Point3, Rotation3, Vector3};
use std::collections::BTreeMap;

/// A reconstructed camera: pose, and focal length in pixels of a photo of the given width.
pub struct Estimate {
    /// Maps camera to world coordinates.
    pub world_from_camera: Isometry3<f64>,
    /// Mean focal length in pixels.
    pub focal_px: f64,
    /// Width that the focal length belongs to.
    pub width: u32,
}

/// The figures of one set. Angles in degrees, shares between 0 and 1; NaN where nothing can be said.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Score {
    /// Photos of the set.
    pub photos: usize,
    /// Photos with a pose.
    pub registered: usize,
    /// Relative rotation error over all pairs of registered photos.
    pub rotation_deg_median: f64,
    /// The same, 90th percentile.
    pub rotation_deg_90: f64,
    /// Median error of the direction from one camera to the other.
    pub direction_deg_median: f64,
    /// Share of all pairs with a direction error below 5 degrees; pairs without poses count as wrong.
    pub rta_5: f64,
    /// Root mean square distance of the aligned camera centres, divided by their extent.
    pub ate: f64,
    /// Median of |f / f_true - 1|.
    pub focal_error: f64,
    /// Median distance of points to the true surface, divided by the median true depth.
    pub point_error_median: f64,
    /// The same, 90th percentile.
    pub point_error_90: f64,
    /// Per registered photo with a true pose: its name, the rotation error after alignment in degrees and the
    /// distance of its centre from the truth as a share of the extent.
    pub per_photo: BTreeMap<String, (f64, f64)>,
}

/// Centres that are closer than this share of the extent have no direction that could be scored.
const MIN_BASELINE: f64 = 0.005;

/// Scores cameras (by photo name) and the points of the cloud.
///
/// # Errors
/// A depth picture cannot be read.
pub fn score(
    truth: &Truth,
    cameras: &BTreeMap<String, Estimate>,
    points: &[Point3<f64>],
) -> anyhow::Result<Score> {
    let posed: Vec<(&TruthPhoto, Isometry3<f64>)> =
        truth.images.iter().filter_map(|p| Some((p, p.pose()?))).collect();
    let centre = |m: &Isometry3<f64>| m.translation.vector;
    let extent = posed
        .iter()
        .flat_map(|(_, a)| posed.iter().map(|(_, b)| (centre(a) - centre(b)).norm()))
        .fold(1e-12, f64::max);

    let (mut rotations, mut directions) = (Vec::new(), Vec::new());
    let mut direction_pairs = 0;
    for (i, (pa, ta)) in posed.iter().enumerate() {
        for (pb, tb) in &posed[i + 1..] {
            let baseline = centre(tb) - centre(ta);
            let scored = baseline.norm() > MIN_BASELINE * extent;
            direction_pairs += usize::from(scored);
            let (Some(a), Some(b)) = (cameras.get(pa.name()), cameras.get(pb.name())) else { continue };
            let (a, b) = (&a.world_from_camera, &b.world_from_camera);
            let error = (b.rotation.inverse() * a.rotation) * (tb.rotation.inverse() * ta.rotation).inverse();
            rotations.push(error.angle().to_degrees());
            if scored {
                let got = a.rotation.inverse() * (centre(b) - centre(a));
                let want = ta.rotation.inverse() * baseline;
                directions.push(if got.norm() > 0.0 { got.angle(&want).to_degrees() } else { 180.0 });
            }
        }
    }
    let matched: Vec<_> =
        posed.iter().filter_map(|(p, t)| Some((*p, *t, cameras.get(p.name())?.world_from_camera))).collect();
    let similarity = align(&matched);
    let mut per_photo = BTreeMap::new();
    let mut squares = 0.0;
    for (photo, t, e) in &matched {
        let (s, r, shift) = similarity;
        let offset = (s * (r * centre(e)) + shift - centre(t)).norm();
        squares += offset * offset;
        let turn = (r * e.rotation.to_rotation_matrix()) * t.rotation.inverse().to_rotation_matrix();
        per_photo.insert(photo.name().to_owned(), (turn.angle().to_degrees(), offset / extent));
    }
    let ate = (squares / matched.len() as f64).sqrt() / extent;
    let mut point_errors = point_errors(truth, points, similarity)?;
    Ok(Score {
        photos: truth.images.len(),
        registered: truth.images.iter().filter(|p| cameras.contains_key(p.name())).count(),
        rta_5: directions.iter().filter(|d| **d < 5.0).count() as f64 / direction_pairs as f64,
        rotation_deg_90: quantile(&mut rotations, 0.9),
        rotation_deg_median: quantile(&mut rotations, 0.5),
        direction_deg_median: quantile(&mut directions, 0.5),
        ate: if matched.len() < 2 { f64::NAN } else { ate },
        focal_error: quantile(&mut focal_errors(truth, cameras), 0.5),
        point_error_median: quantile(&mut point_errors, 0.5),
        point_error_90: quantile(&mut point_errors, 0.9),
        per_photo,
    })
}

fn focal_errors(truth: &Truth, cameras: &BTreeMap<String, Estimate>) -> Vec<f64> {
    let error = |p: &TruthPhoto| {
        let estimate = cameras.get(p.name())?;
        let [fx, fy, ..] = p.intrinsics()?;
        let focal = estimate.focal_px * f64::from(p.width) / f64::from(estimate.width);
        Some((focal / (0.5 * (fx + fy)) - 1.0).abs())
    };
    truth.images.iter().filter_map(error).collect()
}

/// Scale, rotation and shift from the reconstruction to the truth. Centres nearly on a line leave the turn about
/// the line open: then the rotations decide.
fn align(matched: &[(&TruthPhoto, Isometry3<f64>, Isometry3<f64>)]) -> (f64, Rotation3<f64>, Vector3<f64>) {
    let n = matched.len().max(1) as f64;
    let mean = |pick: &dyn Fn(usize) -> Vector3<f64>| (0..matched.len()).map(pick).sum::<Vector3<f64>>() / n;
    let target = mean(&|i| matched[i].1.translation.vector);
    let source = mean(&|i| matched[i].2.translation.vector);
    let mut cross = Matrix3::zeros();
    let mut spread = Matrix3::zeros();
    let mut power = 0.0;
    for (_, t, e) in matched {
        let (dt, de) = (t.translation.vector - target, e.translation.vector - source);
        cross += dt * de.transpose();
        spread += dt * dt.transpose();
        power += de.norm_squared();
    }
    let values = spread.symmetric_eigenvalues();
    let largest = values.max();
    let second = values.iter().copied().filter(|v| *v < largest).fold(0.0, f64::max);
    let on_a_line = matched.len() < 3 || second.sqrt() < 0.05 * largest.sqrt();
    let rotation = if on_a_line { mean_turn(matched) } else { nearest_rotation(&cross) };
    let scale = (rotation.matrix().transpose() * cross).trace() / power.max(1e-300);
    let scale = if scale > 0.0 { scale } else { (spread.trace() / power.max(1e-300)).sqrt() };
    (scale, rotation, target - scale * (rotation * source))
}

/// L1 mean of the turns between true and estimated rotations: a few badly turned cameras do not move it.
fn mean_turn(matched: &[(&TruthPhoto, Isometry3<f64>, Isometry3<f64>)]) -> Rotation3<f64> {
    let turns: Vec<Rotation3<f64>> =
        matched.iter().map(|(_, t, e)| (t.rotation * e.rotation.inverse()).to_rotation_matrix()).collect();
    let mut weights = vec![1.0; turns.len()];
    let mut rotation = Rotation3::identity();
    for _ in 0..30 {
        let sum: Matrix3<f64> = turns.iter().zip(&weights).map(|(t, w)| t.matrix() * *w).sum();
        rotation = nearest_rotation(&sum);
        weights =
            turns.iter().map(|t| 1.0 / (t * rotation.inverse()).angle().to_degrees().max(1e-3)).collect();
    }
    rotation
}

fn nearest_rotation(m: &Matrix3<f64>) -> Rotation3<f64> {
    let svd = m.svd(true, true);
    let (u, v_t) = (svd.u.expect("asked for"), svd.v_t.expect("asked for"));
    let sign = (u.determinant() * v_t.determinant()).signum();
    // The singular values of nalgebra are sorted, so the last direction is the one to turn over.
    Rotation3::from_matrix_unchecked(u * Matrix3::from_diagonal(&Vector3::new(1.0, 1.0, sign)) * v_t)
}

/// Distances of points to the plane through the nearest true depth samples, in units of the median true depth;
/// the smallest over all photos that have the point in view.
fn point_errors(
    truth: &Truth,
    points: &[Point3<f64>],
    (scale, rotation, shift): (f64, Rotation3<f64>, Vector3<f64>),
) -> anyhow::Result<Vec<f64>> {
    const MOST: usize = 50_000;
    let step = points.len().div_ceil(MOST).max(1);
    let moved: Vec<Point3<f64>> =
        points.iter().step_by(step).map(|p| Point3::from(scale * (rotation * p.coords) + shift)).collect();
    let mut best = vec![f64::INFINITY; moved.len()];
    let mut depths = Vec::new();
    for photo in &truth.images {
        let (Some(pose), Some(k), Some(map)) = (photo.pose(), photo.intrinsics(), truth.depth(photo)?) else {
            continue;
        };
        depths.extend(map.values.iter().copied().filter(|d| *d > 0.0));
        for (point, best) in moved.iter().zip(&mut best) {
            let q = pose.inverse_transform_point(point);
            if q.z <= 1e-6 {
                continue;
            }
            let column = ((q.x / q.z * k[0] + k[2]) / map.divisor - 0.5).round();
            let row = ((q.y / q.z * k[1] + k[3]) / map.divisor - 0.5).round();
            if column < 2.0 || row < 2.0 || column > map.width as f64 - 3.0 || row > map.height as f64 - 3.0 {
                continue;
            }
            *best = best.min(surface_distance(&map, k, column as usize, row as usize, &q));
        }
    }
    let unit = quantile(&mut depths, 0.5);
    Ok(best.into_iter().filter(|d| d.is_finite()).map(|d| d / unit).collect())
}

fn surface_distance(
    map: &super::truth::DepthMap,
    k: [f64; 4],
    column: usize,
    row: usize,
    q: &Point3<f64>,
) -> f64 {
    let mut best = f64::INFINITY;
    for (y, x) in (row - 1..=row + 1).flat_map(|y| (column - 1..=column + 1).map(move |x| (y, x))) {
        let Some(a) = map.point(x, y, k) else { continue };
        for (dx, dy) in [(1i32, 1i32), (-1, -1), (1, -1), (-1, 1)] {
            let b = map.point(x.wrapping_add_signed(dx as isize), y, k);
            let c = map.point(x, y.wrapping_add_signed(dy as isize), k);
            let offset = q - a;
            let flat = |p: &Point3<f64>| (p.z - a.z).abs() < 0.05 * a.z;
            let distance = match (b, c) {
                (Some(b), Some(c)) if flat(&b) && flat(&c) => {
                    let normal = (b - a).cross(&(c - a)).normalize();
                    let off = offset.dot(&normal);
                    let size = (b - a).norm().max((c - a).norm());
                    let beside = (offset.norm_squared() - off * off).max(0.0).sqrt();
                    off.hypot((beside - size).max(0.0))
                }
                _ => offset.norm(),
            };
            best = best.min(distance);
        }
    }
    best
}

/// The `q` quantile (linear between samples); NaN of nothing.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let at = q * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The truth seen from another frame and scale must be perfect; one turned camera must show.
    #[test]
    fn a_moved_truth_is_perfect_and_a_turned_camera_is_not() {
        let rows = |i: usize| {
            let r = Rotation3::from_euler_angles(0.1 * i as f64, 0.3 * i as f64, -0.2);
            let m = r.matrix();
            let c = [(i as f64).sin() * 3.0, i as f64 * 0.5, (i as f64 * 0.7).cos()];
            let row = |k: usize| vec![m[(k, 0)], m[(k, 1)], m[(k, 2)], c[k]];
            serde_json::json!([row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]])
        };
        let images: Vec<_> = (0..6)
            .map(|i| {
                serde_json::json!({"file": format!("images/{i}.jpg"), "width": 640, "height": 480, "fx": 500.0,
                    "fy": 500.0, "cx": 320.0, "cy": 240.0, "world_from_camera": rows(i)})
            })
            .collect();
        let truth: Truth = serde_json::from_value(serde_json::json!({ "images": images })).unwrap();
        let frame = Isometry3::new(Vector3::new(4.0, -2.0, 1.0), Vector3::new(0.3, 1.0, -0.4));
        let mut cameras: BTreeMap<String, Estimate> = truth
            .images
            .iter()
            .map(|p| {
                let pose = p.pose().unwrap();
                let mut moved = frame * pose;
                moved.translation.vector *= 3.7;
                (p.name().to_owned(), Estimate { world_from_camera: moved, focal_px: 1040.0, width: 1280 })
            })
            .collect();
        let perfect = score(&truth, &cameras, &[]).unwrap();
        assert!(perfect.rotation_deg_90 < 1e-5 && perfect.ate < 1e-9 && perfect.rta_5 == 1.0, "{perfect:?}");
        assert!((perfect.focal_error - 0.04).abs() < 1e-9);
        let turned = cameras.get_mut("0.jpg").unwrap();
        turned.world_from_camera.rotation *= nalgebra::UnitQuaternion::from_euler_angles(0.2, 0.0, 0.0);
        cameras.remove("5.jpg");
        let worse = score(&truth, &cameras, &[]).unwrap();
        assert!(worse.rotation_deg_90 > 5.0 && worse.registered == 5 && worse.rta_5 < 0.8, "{worse:?}");
    }
}
