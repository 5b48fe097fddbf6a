//! Which of several poses puts the points in front of both cameras, and the poses of a plane.

use super::correspondences::Correspondences;
use super::refine::{PoseModel, RotationModel, calibration, inverse_calibration};
use crate::geometry::procrustes::nearest_rotation;
use nalgebra::{Matrix3, Rotation3, Unit, UnitQuaternion, Vector3};

/// The two viewing rays of one match in the frame of camera 2.
struct Rays {
    first: Vector3<f64>,
    second: Vector3<f64>,
}

impl Rays {
    fn new(pose: &PoseModel, points: &Correspondences, i: usize) -> Self {
        let f = pose.log_focal.map(|l| (-l).exp());
        let first = Vector3::new(points.x1[i] * f[0], points.y1[i] * f[0], 1.0).normalize();
        let second = Vector3::new(points.x2[i] * f[1], points.y2[i] * f[1], 1.0).normalize();
        Self { first: pose.rotation * first, second }
    }

    /// Distances along both rays of the point where they pass, times the square sine of their angle.
    fn scaled_depths(&self, direction: &Vector3<f64>) -> [f64; 2] {
        let normal = self.first.cross(&self.second);
        // depth_2 second = depth_1 first + t, crossed with one ray and then projected on the common normal.
        [-direction.cross(&self.second).dot(&normal), -direction.cross(&self.first).dot(&normal)]
    }

    fn angle(&self) -> f64 {
        self.first.cross(&self.second).norm().atan2(self.first.dot(&self.second))
    }
}

/// Angle between the viewing rays of every match.
pub(super) fn angles(pose: &PoseModel, points: &Correspondences) -> Vec<f64> {
    (0..points.len()).map(|i| Rays::new(pose, points, i).angle()).collect()
}

/// Whether every match lies in front of both cameras; matches whose rays are parallel within `angle_noise` may lie
/// anywhere and pass.
pub(super) fn in_front(pose: &PoseModel, points: &Correspondences, angle_noise: f64) -> Vec<bool> {
    (0..points.len())
        .map(|i| {
            let rays = Rays::new(pose, points, i);
            rays.angle() < angle_noise || rays.scaled_depths(&pose.direction).iter().all(|d| *d > 0.0)
        })
        .collect()
}

/// Of the four poses with the same epipolar geometry the one that puts most of the chosen matches in front of both
/// cameras; matches count by how sure their depth is, as against rays that differ by `angle_noise`.
pub(super) fn chiral_pose(
    pose: &PoseModel,
    points: &Correspondences,
    chosen: &[bool],
    angle_noise: f64,
) -> PoseModel {
    // The other rotation of the same essential matrix: half a turn about the baseline after the first.
    let half_turn = UnitQuaternion::from_axis_angle(&pose.direction, std::f64::consts::PI);
    let candidates =
        [(false, 1.0), (false, -1.0), (true, 1.0), (true, -1.0)].map(|(twisted, sign)| PoseModel {
            rotation: if twisted { half_turn * pose.rotation } else { pose.rotation },
            direction: Unit::new_unchecked(pose.direction.into_inner() * sign),
            ..*pose
        });
    let votes = candidates.map(|candidate| support(&candidate, points, chosen, angle_noise));
    let best = (0..4).max_by(|&a, &b| votes[a].total_cmp(&votes[b]).then(b.cmp(&a)));
    candidates[best.expect("there are four")]
}

fn support(pose: &PoseModel, points: &Correspondences, chosen: &[bool], angle_noise: f64) -> f64 {
    let mut votes = 0.0;
    for i in (0..points.len()).filter(|&i| chosen[i]) {
        let rays = Rays::new(pose, points, i);
        if rays.scaled_depths(&pose.direction).iter().all(|d| *d > 0.0) {
            let square = rays.angle().powi(2);
            votes += points.weight[i] * square / (square + angle_noise.powi(2));
        }
    }
    votes
}

/// The rotation nearest to a homography between photos of these focal lengths.
pub(super) fn rotation_of_homography(h: &Matrix3<f64>, start: &PoseModel) -> RotationModel {
    let turn = inverse_calibration(start.log_focal[1]) * h * calibration(start.log_focal[0]);
    let sign = turn.determinant().signum();
    RotationModel {
        rotation: nearest_rotation(&(turn * sign)).0,
        log_focal: start.log_focal,
        prior: start.prior,
    }
}

/// The poses, at most two, in which a plane seen by both cameras gives this homography; none for a pure rotation.
///
/// Source: Ma, Soatto, Kosecka, Sastry, "An Invitation to 3-D Vision", section 5.3.3 (four solutions); those that put
/// most of the chosen matches behind a camera are left out.
pub(super) fn poses_of_homography(
    h: &Matrix3<f64>,
    template: &PoseModel,
    points: &Correspondences,
    chosen: &[bool],
) -> Vec<PoseModel> {
    let mut turn = inverse_calibration(template.log_focal[1]) * h * calibration(template.log_focal[0]);
    turn /= turn.singular_values()[1];
    // Depths keep their sign, so x2^T H x1 is positive for points in front of both cameras.
    turn *= turn.determinant().signum();
    let svd = (turn.transpose() * turn).svd(false, true);
    let Some(v_t) = svd.v_t else { return Vec::new() };
    let (largest, smallest) = (svd.singular_values[0], svd.singular_values[2]);
    if largest - smallest < 1e-9 {
        return Vec::new();
    }
    let v = v_t.transpose() * v_t.determinant().signum();
    let (v1, v2, v3) = (v.column(0).into_owned(), v.column(1).into_owned(), v.column(2).into_owned());
    let (a, b) = ((1.0 - smallest).max(0.0).sqrt(), (largest - 1.0).max(0.0).sqrt());
    let mut poses = Vec::new();
    for sign in [1.0, -1.0] {
        let u = (a * v1 + sign * b * v3) / (largest - smallest).sqrt();
        let before = Matrix3::from_columns(&[v2, u, v2.cross(&u)]);
        let (w2, w) = (turn * v2, turn * u);
        let after = Matrix3::from_columns(&[w2, w, w2.cross(&w)]);
        let rotation = Rotation3::from_matrix_unchecked(after * before.transpose());
        let normal = v2.cross(&u);
        let shift = (turn - rotation.matrix()) * normal;
        let f = (-template.log_focal[0]).exp();
        let facing: f64 = (0..points.len())
            .filter(|&i| chosen[i])
            .map(|i| {
                let ray = Vector3::new(points.x1[i] * f, points.y1[i] * f, 1.0);
                points.weight[i] * normal.dot(&ray).signum()
            })
            .sum();
        let direction = Unit::new_normalize(shift * facing.signum());
        if direction.iter().all(|c| c.is_finite()) {
            let rotation = UnitQuaternion::from_rotation_matrix(&rotation);
            poses.push(PoseModel { rotation, direction, ..*template });
        }
    }
    poses
}
