//! How the camera moved from the keyframe, and which matches move on their own.

use crate::{Eye, Match};
use nalgebra::{Isometry3, Matrix6, Rotation3, Translation3, UnitQuaternion, Vector3, Vector6};

/// Rounds of the robust fit.
const ROUNDS: usize = 12;
/// Fewest matches of a motion.
const LEAST_MATCHES: usize = 12;
/// Least scale of errors, pixels of the network's image: matches are whole pixels.
const LEAST_SIGMA: f64 = 0.5;

/// How the robot moved between the keyframe and the current frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Motion {
    /// Maps points in the robot's frame now to its frame at the time of the keyframe.
    pub key_from_current: Isometry3<f64>,
    /// Scale of the errors of matches that agree, pixels of the network's image.
    pub sigma_px: f64,
    /// Share of the matches that agree.
    pub agree: f64,
    /// Median over matches of what the translation alone moves them, in pixels: no parallax below about the errors' scale.
    pub parallax_px: f64,
}

impl Motion {
    /// The motion that most matches agree on, from the metric points that they show now.
    ///
    /// `expected` is how far the robot is said to have driven, with its standard deviation; it holds the fit where matches say little.
    /// `depth_sigma` is the standard deviation of the logarithm of depths. `None` for too few matches, or if less than a third agree.
    ///
    /// Robust (Geman and McClure) Gauss-Newton on the pixels of the keyframe.
    pub fn measure(
        eye: &Eye,
        matches: &[Match],
        points: &[Vector3<f64>],
        expected: Option<[f64; 2]>,
        depth_sigma: f64,
    ) -> Option<Self> {
        if matches.len() < LEAST_MATCHES {
            return None;
        }
        let ahead = expected.map_or(0.0, |[length, _]| length);
        let mut pose = Isometry3::translation(ahead, 0.0, 0.0);
        let mut sigma = f64::INFINITY;
        for round in 0..ROUNDS {
            let errors: Vec<Option<Error>> =
                matches.iter().zip(points).map(|(m, p)| Error::of(eye, m, p, &pose, depth_sigma)).collect();
            let mut sizes: Vec<f64> = errors.iter().flatten().map(|e| e.size()).collect();
            if sizes.len() < LEAST_MATCHES {
                return None;
            }
            sizes.sort_by(f64::total_cmp);
            let median = 1.4826 * sizes[sizes.len() / 2] / std::f64::consts::SQRT_2;
            sigma = median.max(LEAST_SIGMA);
            let (mut normal, mut right) = (Matrix6::zeros(), Vector6::zeros());
            for e in errors.iter().flatten() {
                let scale = (2.5 * sigma).powi(2);
                let weight = (scale / (scale + e.size().powi(2))).powi(2) / (sigma * sigma);
                for row in 0..2 {
                    let j = e.jacobian[row];
                    normal += j * j.transpose() * (weight * e.trust);
                    right += j * (weight * e.trust * e.pixels[row]);
                }
            }
            // The robot drives along its heading: sideways and upwards it moves little, and as far as it says.
            let length = pose.translation.vector;
            let held = [expected.map_or(f64::INFINITY, |[_, s]| s.max(0.01)), 0.1, 0.03];
            for axis in 0..3 {
                let precision = held[axis].powi(-2);
                let wanted = if axis == 0 { ahead } else { 0.0 };
                normal[(axis, axis)] += precision;
                right[axis] += precision * (wanted - length[axis]);
                normal[(axis + 3, axis + 3)] += 0.3f64.powi(-2);
            }
            let step = normal.cholesky()?.solve(&right);
            let turn = UnitQuaternion::from_scaled_axis(Vector3::new(step[3], step[4], step[5]));
            let shift = length + Vector3::new(step[0], step[1], step[2]);
            pose = Isometry3::from_parts(Translation3::from(shift), turn * pose.rotation);
            if round > 3 && step.norm() < 1e-6 {
                break;
            }
        }
        let sizes = matches
            .iter()
            .zip(points)
            .map(|(m, p)| Error::of(eye, m, p, &pose, depth_sigma).map(|e| e.size()));
        let agreeing = sizes.filter(|size| size.is_some_and(|s| s < 3.0 * sigma)).count();
        let agree = agreeing as f64 / matches.len() as f64;
        let mut shifts: Vec<f64> = points.iter().filter_map(|p| parallax(eye, p, &pose)).collect();
        shifts.sort_by(f64::total_cmp);
        let parallax_px = shifts.get(shifts.len() / 2).copied().unwrap_or(0.0);
        (agree >= 1.0 / 3.0).then_some(Self { key_from_current: pose, sigma_px: sigma, agree, parallax_px })
    }

    /// How far the robot drove along its heading since the keyframe, metres.
    pub fn ahead(&self) -> f64 {
        self.key_from_current.translation.vector.x
    }

    /// The pixel of the keyframe in which a point would be if it did not move.
    pub fn expected(&self, eye: &Eye, point: &Vector3<f64>) -> Option<[f64; 2]> {
        moved(eye, point, &self.key_from_current).and_then(|p| eye.project(&p)).map(|(pixel, _)| pixel)
    }
}

/// A point of the robot's frame now in the robot's frame then. The robot turns about the lens.
fn moved(eye: &Eye, point: &Vector3<f64>, pose: &Isometry3<f64>) -> Option<Vector3<f64>> {
    let lens = Vector3::new(0.0, 0.0, eye.above_floor);
    let p = pose.rotation * (point - lens) + pose.translation.vector + lens;
    p.iter().all(|v| v.is_finite()).then_some(p)
}

/// What the translation alone moves a point in the picture, pixels.
fn parallax(eye: &Eye, point: &Vector3<f64>, pose: &Isometry3<f64>) -> Option<f64> {
    let turned = Isometry3::from_parts(Translation3::identity(), pose.rotation);
    let (with, _) = eye.project(&moved(eye, point, pose)?)?;
    let (without, _) = eye.project(&moved(eye, point, &turned)?)?;
    Some((with[0] - without[0]).hypot(with[1] - without[1]))
}

/// How far a match is from where the motion puts it in the keyframe.
struct Error {
    /// Observed minus expected.
    pixels: [f64; 2],
    /// Derivatives of the expected pixel by translation and rotation.
    jacobian: [Vector6<f64>; 2],
    /// Share of its precision that the error of its depth leaves.
    trust: f64,
}

impl Error {
    fn of(
        eye: &Eye,
        m: &Match,
        point: &Vector3<f64>,
        pose: &Isometry3<f64>,
        depth_sigma: f64,
    ) -> Option<Self> {
        let p = moved(eye, point, pose)?;
        let (pixel, depth) = eye.project(&p)?;
        let camera: Rotation3<f64> = eye.robot_from_camera.inverse();
        let lens = Vector3::new(0.0, 0.0, eye.above_floor);
        let in_camera = camera * (p - lens);
        let turned = p - lens - pose.translation.vector;
        let row = |axis: usize| {
            let f = eye.focal_px[axis];
            let mut of_camera = Vector3::zeros();
            of_camera[axis] = f / depth;
            of_camera[2] = -f * in_camera[axis] / (depth * depth);
            let by_point = camera.inverse() * of_camera;
            // d (w x turned) = turned x g in the turn w.
            let by_turn = turned.cross(&by_point);
            Vector6::new(by_point.x, by_point.y, by_point.z, by_turn.x, by_turn.y, by_turn.z)
        };
        let of_depth = depth_sigma * parallax(eye, point, pose)?;
        Some(Self {
            pixels: [0, 1].map(|axis| m.key[axis] - pixel[axis]),
            jacobian: [row(0), row(1)],
            trust: 1.0 / (1.0 + of_depth * of_depth),
        })
    }

    fn size(&self) -> f64 {
        self.pixels[0].hypot(self.pixels[1]) * self.trust.sqrt()
    }
}

/// How much larger something is now than in the keyframe, and its standard deviation: the ratio of its distances then and now.
///
/// A robust similarity of the matches. `None` for fewer than eight, if they are no wider than a few pixels, or if no similarity explains most of
/// them to about a pixel: they are not on one surface then.
pub fn expansion(matches: &[Match]) -> Option<[f64; 2]> {
    const LEAST: usize = 8;
    const MOST_SIGMA: f64 = 1.5;
    if matches.len() < LEAST {
        return None;
    }
    let mut weights: Vec<f64> = vec![1.0; matches.len()];
    let mut outcome = None;
    for round in 0..10 {
        let total: f64 = weights.iter().sum();
        let mean = |side: &dyn Fn(&Match) -> [f64; 2]| {
            let sum = matches.iter().zip(&weights).fold([0.0; 2], |s, (m, w)| {
                let p = side(m);
                [s[0] + w * p[0], s[1] + w * p[1]]
            });
            sum.map(|v| v / total)
        };
        let (now, then) = (mean(&|m| m.current), mean(&|m| m.key));
        let (mut along, mut across, mut spread) = (0.0, 0.0, 0.0);
        let apart = |m: &Match| {
            ([m.current[0] - now[0], m.current[1] - now[1]], [m.key[0] - then[0], m.key[1] - then[1]])
        };
        for (m, w) in matches.iter().zip(&weights) {
            let (c, k) = apart(m);
            along += w * (k[0] * c[0] + k[1] * c[1]);
            across += w * (k[0] * c[1] - k[1] * c[0]);
            spread += w * (k[0] * k[0] + k[1] * k[1]);
        }
        if !spread.is_finite() || spread <= 9.0 * total {
            return None;
        }
        let (a, b) = (along / spread, across / spread);
        let errors: Vec<f64> = matches
            .iter()
            .map(|m| {
                let (c, k) = apart(m);
                (c[0] - a * k[0] + b * k[1]).hypot(c[1] - b * k[0] - a * k[1])
            })
            .collect();
        let mut sorted = errors.clone();
        sorted.sort_by(f64::total_cmp);
        let sigma = (1.4826 * sorted[sorted.len() / 2] / std::f64::consts::SQRT_2).max(LEAST_SIGMA);
        if round == 9 && sigma > MOST_SIGMA {
            return None;
        }
        let scale = (2.5 * sigma).powi(2);
        weights = errors.iter().map(|e| (scale / (scale + e * e)).powi(2)).collect();
        outcome = Some([a.hypot(b), sigma / spread.sqrt()]);
    }
    outcome
}
