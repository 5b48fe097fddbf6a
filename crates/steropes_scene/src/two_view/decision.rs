//! The choice between a scene with depth, a plane, a rotation and chance.

use super::correspondences::Correspondences;
use super::pose::{angles, chiral_pose, in_front, poses_of_homography, rotation_of_homography};
use super::refine::{FocalPrior, HomographyModel, Model as _, PoseModel, Refined, RotationModel, refined};
use super::residuals::{Relation, robust_cost, square_residuals};
use super::settled::Settled;
use super::significance::{log10_choose, log10_false_alarms, log10_surprise};
use super::{Failure, PhotoGuess, RelativePose, TwoView, TwoViewKind};
use nalgebra::{Matrix3, UnitQuaternion, Vector3};

/// The best homography and the best pose, to decide between them.
pub(super) struct Decision<'a> {
    pub(super) all: &'a Correspondences,
    pub(super) plane: Option<Settled<HomographyModel>>,
    pub(super) space: Option<Settled<PoseModel>>,
    pub(super) prior: FocalPrior,
    /// Largest decimal logarithm of the number of false alarms.
    pub(super) worst_allowed: f64,
}

/// The model that won, in the units of [`Correspondences`].
pub(super) struct Explained {
    kind: TwoViewKind,
    pose: PoseModel,
    alternative: Option<PoseModel>,
    plane: Option<Matrix3<f64>>,
    inliers: Vec<bool>,
    squares: Vec<f64>,
    limit: f64,
    focal_sigma: [f64; 2],
    log10: f64,
}

impl Decision<'_> {
    /// The winner, or why there is none with the logarithm of its false alarms.
    pub(super) fn outcome(self) -> Result<Explained, (Failure, f64)> {
        // Each of the two models is one more chance of a false alarm.
        let alarms = |relation, matrix| log10_false_alarms(relation, matrix, self.all) + 2f64.log10();
        let of_plane = self.plane.as_ref().map(|p| alarms(Relation::Homography, &p.matrix));
        let of_space = self.space.as_ref().map(|s| alarms(Relation::Epipolar, &s.matrix));
        let holds = |log10: Option<f64>| log10.is_some_and(|l| l <= self.worst_allowed);
        match (&self.space, &self.plane) {
            (None, None) => Err((Failure::NoModel, 0.0)),
            (Some(space), plane)
                if holds(of_space)
                    && plane
                        .as_ref()
                        .is_none_or(|p| !holds(of_plane) || has_parallax(space, p, self.all)) =>
            {
                Ok(self.general(space, of_space.unwrap_or(0.0)))
            }
            (_, Some(plane)) if holds(of_plane) => Ok(self.without_depth(plane, of_plane.unwrap_or(0.0))),
            _ => {
                let best = of_plane.unwrap_or(0.0).min(of_space.unwrap_or(0.0));
                Err((Failure::NotSignificant, best.min(0.0)))
            }
        }
    }

    fn general(&self, space: &Settled<PoseModel>, log10: f64) -> Explained {
        let noise = angle_noise(space.sigma, &space.fit.model);
        let agrees = space.agrees();
        let pose = chiral_pose(&space.fit.model, self.all, &agrees, noise);
        let front = in_front(&pose, self.all, 3.0 * noise);
        Explained {
            kind: TwoViewKind::General,
            pose,
            alternative: None,
            plane: self.plane.as_ref().map(|p| p.matrix),
            inliers: agrees.iter().zip(front).map(|(a, f)| *a && f).collect(),
            squares: space.squares.clone(),
            limit: space.limit,
            focal_sigma: focal_deviation(&self.prior, 5, |k| space.fit.deviation(k)),
            log10,
        }
    }

    /// A plane or a rotation: all that one homography can say.
    fn without_depth(&self, plane: &Settled<HomographyModel>, log10: f64) -> Explained {
        let agrees = plane.agrees();
        let guess = PoseModel {
            rotation: UnitQuaternion::identity(),
            direction: Vector3::z_axis(),
            log_focal: self.prior.log_mean,
            prior: self.prior,
        };
        let start = rotation_of_homography(&plane.matrix, &guess);
        let turn = refined(&start, self.all, plane.limit, plane.sigma, 20);
        let squares = square_residuals(Relation::Homography, &turn.model.matrix(), self.all);
        if is_rotation(plane, &squares, &agrees, self.all) {
            return self.rotation(plane, &turn, squares, log10);
        }
        let mut poses = poses_of_homography(&plane.matrix, &guess, self.all, &agrees);
        let cost = |p: &PoseModel| robust_cost(Relation::Epipolar, &p.matrix(), self.all, plane.limit);
        poses.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let Some(pose) = poses.first().copied() else {
            return self.rotation(plane, &turn, squares, log10);
        };
        Explained {
            kind: TwoViewKind::Planar,
            pose,
            alternative: poses.get(1).copied(),
            plane: Some(plane.matrix),
            inliers: agrees,
            squares: plane.squares.clone(),
            limit: plane.limit,
            focal_sigma: self.prior.sigma,
            log10,
        }
    }

    fn rotation(
        &self,
        plane: &Settled<HomographyModel>,
        fit: &Refined<RotationModel>,
        squares: Vec<f64>,
        log10: f64,
    ) -> Explained {
        let limit = plane.limit * 2f64.sqrt();
        Explained {
            kind: TwoViewKind::PureRotation,
            pose: PoseModel {
                rotation: fit.model.rotation,
                direction: Vector3::z_axis(),
                log_focal: fit.model.log_focal,
                prior: self.prior,
            },
            alternative: None,
            plane: Some(plane.matrix),
            inliers: squares.iter().map(|r| *r <= limit * limit).collect(),
            squares,
            limit,
            focal_sigma: focal_deviation(&self.prior, 3, |k| fit.deviation(k)),
            log10,
        }
    }
}

/// Standard deviation of the logarithm of both focal lengths; parameters from `first` on are the free ones.
fn focal_deviation(prior: &FocalPrior, first: usize, of: impl Fn(usize) -> Option<f64>) -> [f64; 2] {
    let mut sigma = [0.0; 2];
    for (k, photo) in prior.free().enumerate() {
        // A flat direction leaves the belief as it was.
        sigma[photo] = of(first + k).unwrap_or(prior.sigma[photo]).min(prior.sigma[photo]);
    }
    if prior.shared {
        sigma[1] = sigma[0];
    }
    sigma
}

/// The angle between viewing rays that noise of `sigma` gives.
fn angle_noise(sigma: f64, pose: &PoseModel) -> f64 {
    pose.log_focal.iter().map(|l| (sigma / l.exp()).powi(2)).sum::<f64>().sqrt()
}

/// Whether the matches that the pose explains deviate from the homography along their epipolar lines in a way that
/// noise does not.
///
/// Two tests, one is enough. Far from the plane: among matches whose homography residual `e` is over twice the
/// threshold `t`, noise or mismatches that point anywhere meet the epipolar line within `t` with probability
/// `2/pi asin(t / e)`; more hits than that are parallax (two free parameters, the epipole, fit two by construction).
/// Near the plane: the variance along the epipolar lines is at least twice that across them, by five standard errors.
fn has_parallax(space: &Settled<PoseModel>, plane: &Settled<HomographyModel>, all: &Correspondences) -> bool {
    const SURE: f64 = -4.0;
    let t = space.limit;
    let (mut far, mut hits, mut chance) = (0.0, 0.0, 0.0);
    let (mut count, mut across, mut both) = (0.0, 0.0, 0.0);
    for ((&e_square, &h_square), &weight) in space.squares.iter().zip(&plane.squares).zip(&all.weight) {
        if h_square > 4.0 * t * t {
            far += weight;
            chance += weight * std::f64::consts::FRAC_2_PI * (t / h_square.sqrt()).min(1.0).asin();
            hits += if e_square <= t * t { weight } else { 0.0 };
        }
        if e_square <= t * t {
            count += weight;
            across += weight * e_square;
            both += weight * h_square.min(t * t);
        }
    }
    let trials = (far - 2.0).max(0.0);
    let choices = if far > 2.0 { log10_choose(far, 2.0) } else { 0.0 };
    if choices + log10_surprise((hits - 2.0).max(0.0), trials, chance / far.max(1e-9)) <= SURE {
        return true;
    }
    if count < 10.0 {
        return false;
    }
    // Without parallax `both - across` is a second sample of the variance `across`; each has a relative standard error
    // of sqrt(2 / n).
    let (across, along) = (across / count, (both - across) / count);
    let floor = space.sigma.powi(2) * 0.5;
    let standard_error = across.max(floor) * (4.0 / count).sqrt();
    along > 2.0 * across.max(floor) && along - across.max(floor) > 5.0 * standard_error
}

/// Whether a rotation explains what the homography explains: at least nine tenths of its matches at 1.4 times the
/// threshold, and without clearly larger residuals.
fn is_rotation(
    plane: &Settled<HomographyModel>,
    squares: &[f64],
    agrees: &[bool],
    all: &Correspondences,
) -> bool {
    let limit = plane.limit * plane.limit;
    let (mut total, mut kept, mut of_plane, mut of_turn) = (0.0, 0.0, 0.0, 0.0);
    for i in (0..squares.len()).filter(|&i| agrees[i]) {
        let weight = all.weight[i];
        total += weight;
        kept += if squares[i] <= 2.0 * limit { weight } else { 0.0 };
        of_plane += weight * plane.squares[i];
        of_turn += weight * squares[i].min(4.0 * limit);
    }
    let floor = total * plane.sigma.powi(2);
    kept >= 0.9 * total && of_turn <= 1.5 * of_plane.max(floor)
}

impl Explained {
    pub(super) fn in_pixels(self, all: &Correspondences, photos: &[PhotoGuess; 2]) -> TwoView {
        let relative = |pose: &PoseModel| RelativePose {
            camera2_from_camera1: pose.rotation,
            translation: (self.kind != TwoViewKind::PureRotation).then_some(pose.direction),
        };
        let to_units = photos.map(|p| {
            let s = 1.0 / all.scale_px;
            Matrix3::new(s, 0.0, -s * p.center_px[0], 0.0, s, -s * p.center_px[1], 0.0, 0.0, 1.0)
        });
        let from_units = to_units[1].try_inverse().expect("a scaling and a shift can be undone");
        let normalised = |m: Matrix3<f64>| m / m.norm();
        let chosen = || (0..all.len()).filter(|&i| self.inliers[i]);
        let weight: f64 = chosen().map(|i| all.weight[i]).sum();
        let count = chosen().count();
        let mean_square = chosen().map(|i| self.squares[i]).sum::<f64>() / count.max(1) as f64;
        let every = angles(&self.pose, all);
        let mut rays: Vec<f64> = chosen().map(|i| every[i]).collect();
        rays.sort_by(f64::total_cmp);
        TwoView {
            kind: self.kind,
            pose: Some(relative(&self.pose)),
            alternative: self.alternative.as_ref().map(relative),
            focal_px: self.pose.log_focal.map(|l| l.exp() * all.scale_px),
            focal_sigma: self.focal_sigma,
            fundamental: (self.kind != TwoViewKind::PureRotation)
                .then(|| normalised(to_units[1].transpose() * self.pose.matrix() * to_units[0])),
            homography: self.plane.map(|h| normalised(from_units * h * to_units[0])),
            inlier_count: count,
            independent_matches: all.effective_count(),
            independent_inliers: weight,
            threshold_px: self.limit * all.scale_px,
            rms_px: mean_square.sqrt() * all.scale_px,
            median_angle_rad: rays.get(rays.len() / 2).copied().unwrap_or(0.0),
            log10_false_alarms: self.log10,
            inliers: self.inliers,
        }
    }
}
