//! Homogeneous transforms of points, and intrinsic matrices in the two pixel conventions.

use nalgebra::{Isometry3, Matrix3, Matrix4, Point2, Point3, Vector2};

/// `m` applied to points in space, `(m [x y z 1]ᵀ)` without division: the last row is taken as (0, 0, 0, 1).
pub fn transform_points(m: &Matrix4<f64>, points: &[Point3<f64>]) -> Vec<Point3<f64>> {
    let (linear, shift) = (m.fixed_view::<3, 3>(0, 0).into_owned(), m.fixed_view::<3, 1>(0, 3).into_owned());
    points.iter().map(|p| Point3::from(linear * p.coords + shift)).collect()
}

/// `k` applied to camera-frame points and divided by the last coordinate: where an intrinsic matrix sees them, in
/// pixels.
pub fn project_points(k: &Matrix3<f64>, points: &[Point3<f64>]) -> Vec<Point2<f64>> {
    points
        .iter()
        .map(|p| {
            let q = k * p.coords;
            Point2::new(q.x / q.z, q.y / q.z)
        })
        .collect()
}

/// A homography applied to points of the plane, with division.
pub fn apply_homography(h: &Matrix3<f64>, points: &[Point2<f64>]) -> Vec<Point2<f64>> {
    let lifted: Vec<Point3<f64>> = points.iter().map(|p| Point3::new(p.x, p.y, 1.0)).collect();
    project_points(h, &lifted)
}

/// The upper two rows of `m` applied to points of the plane as an affine map, without division.
pub fn apply_affine(m: &Matrix3<f64>, points: &[Point2<f64>]) -> Vec<Point2<f64>> {
    let linear = m.fixed_view::<2, 2>(0, 0).into_owned();
    let shift = Vector2::new(m[(0, 2)], m[(1, 2)]);
    points.iter().map(|p| Point2::from(linear * p.coords + shift)).collect()
}

/// The intrinsic matrix for pixel coordinates whose image corner is (0, 0), from the one for coordinates whose
/// first pixel centre is (0, 0): the principal point moves by half a pixel.
pub fn corner_from_center_origin(k: &Matrix3<f64>) -> Matrix3<f64> {
    shifted(k, 0.5)
}

/// The inverse of [`corner_from_center_origin`].
pub fn center_from_corner_origin(k: &Matrix3<f64>) -> Matrix3<f64> {
    shifted(k, -0.5)
}

fn shifted(k: &Matrix3<f64>, by: f64) -> Matrix3<f64> {
    let mut moved = *k;
    moved[(0, 2)] += by;
    moved[(1, 2)] += by;
    moved
}

/// The median distance between two of the camera centres; 0 for fewer than two.
pub fn median_center_distance(poses: &[Isometry3<f64>]) -> f64 {
    let mut distances: Vec<f64> = poses
        .iter()
        .enumerate()
        .flat_map(|(i, a)| poses[..i].iter().map(|b| (a.translation.vector - b.translation.vector).norm()))
        .collect();
    distances.sort_by(f64::total_cmp);
    match distances.len() {
        0 => 0.0,
        n if n % 2 == 1 => distances[n / 2],
        n => 0.5 * (distances[n / 2 - 1] + distances[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_divides_and_an_affine_map_does_not() {
        let m = Matrix3::new(2.0, 0.0, 1.0, 0.0, 3.0, -1.0, 0.0, 0.0, 2.0);
        let p = [Point2::new(4.0, 5.0)];
        assert_eq!(apply_homography(&m, &p), [Point2::new(4.5, 7.0)]);
        assert_eq!(apply_affine(&m, &p), [Point2::new(9.0, 14.0)]);
        assert_eq!(center_from_corner_origin(&corner_from_center_origin(&m)), m);
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        let at = |x: f64| Isometry3::translation(x, 0.0, 0.0);
        assert_eq!(median_center_distance(&[at(0.0)]), 0.0);
        assert_eq!(median_center_distance(&[at(0.0), at(1.0), at(3.0)]), 2.0);
        assert_eq!(median_center_distance(&[at(0.0), at(1.0), at(3.0), at(7.0)]), 3.5);
    }
}
