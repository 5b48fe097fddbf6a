//! The pose of a camera from known points and their pixels.

use super::procrustes::nearest_rotation;
use super::random::SplitMix;
use super::{GeometryError, check_finite, check_length, polynomial::real_roots};
use crate::Intrinsics;
use nalgebra::{
    Isometry3, Matrix3, Matrix6, Point3, Translation3, UnitQuaternion, Vector2, Vector3, Vector6,
};

/// How [`pnp`] searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PnpOptions {
    /// Seed of the samples; the same seed gives the same bits.
    pub seed: u64,
    /// Most samples of three points; the search ends sooner when more can hardly help.
    pub max_iterations: usize,
    /// Points that project within this distance of their pixel are inliers.
    pub threshold_px: f64,
}

impl Default for PnpOptions {
    fn default() -> Self {
        Self { seed: 0, max_iterations: 1000, threshold_px: 5.0 }
    }
}

/// A camera pose and the points that agree with it.
#[derive(Clone, Debug, PartialEq)]
pub struct PnpPose {
    /// Maps camera coordinates to world coordinates.
    pub world_from_camera: Isometry3<f64>,
    /// Per point: in front of the camera and within the threshold.
    pub inliers: Vec<bool>,
    /// How many points are inliers.
    pub inlier_count: usize,
}

/// The pose of a camera of known intrinsics that most points agree with, or `None` if there are fewer than 4 points
/// or fewer than 4 agree.
///
/// Samples of three points give up to four poses each; the pose with the least truncated square reprojection error
/// is refined over all points under the Geman-McClure loss, whose scale follows the spread of the inliers.
///
/// # Shapes
/// `points_in_world` and `pixels` have the same length.
///
/// # Errors
/// [`GeometryError::Argument`] for unequal lengths, NaN or infinite values, a focal length or threshold that is not
/// positive.
///
/// # Source
/// Three-point pose: Grunert's quartic as given by Haralick, Lee, Ottenberg, Noelle, "Review and analysis of solutions
/// of the three point perspective pose estimation problem", IJCV 1994. Search: Chum, Matas, Kittler, "Locally optimized
/// RANSAC", DAGM 2003. Written from the papers.
pub fn pnp(
    points_in_world: &[[f64; 3]],
    pixels: &[[f64; 2]],
    intrinsics: &Intrinsics,
    options: &PnpOptions,
) -> Result<Option<PnpPose>, GeometryError> {
    check_arguments("pnp", points_in_world, pixels, options)?;
    check_focal("pnp", intrinsics.focal_px)?;
    Ok(Search::new(points_in_world, pixels, intrinsics, options).run())
}

/// As [`pnp`] with an unknown focal length: the best of 21 candidates, from half to three times the longer side of the
/// photo in a geometric series, or the one that is given. Returns the focal length in pixels with the pose.
///
/// The candidate with most inliers wins, the first one on ties.
///
/// # Shapes
/// `points_in_world` and `pixels` have the same length; `size_px` is width and height.
///
/// # Errors
/// As [`pnp`], and for an empty photo.
pub fn fast_pnp(
    points_in_world: &[[f64; 3]],
    pixels: &[[f64; 2]],
    focal_px: Option<f64>,
    center_px: [f64; 2],
    size_px: [usize; 2],
    options: &PnpOptions,
) -> Result<Option<(f64, PnpPose)>, GeometryError> {
    const OP: &str = "fast_pnp";
    check_arguments(OP, points_in_world, pixels, options)?;
    check_finite(OP, "center_px", [&center_px])?;
    if size_px.contains(&0) {
        return Err(GeometryError::argument(OP, "size_px", "positive", format!("{size_px:?}")));
    }
    let candidates = match focal_px {
        Some(focal) => {
            check_focal(OP, focal)?;
            vec![focal]
        }
        None => focal_candidates(size_px),
    };
    let mut best: Option<(f64, PnpPose)> = None;
    for focal_px in candidates {
        let intrinsics = Intrinsics { focal_px, center_px };
        let found = Search::new(points_in_world, pixels, &intrinsics, options).run();
        if let Some(pose) = found
            && best.as_ref().is_none_or(|(_, b)| pose.inlier_count > b.inlier_count)
        {
            best = Some((focal_px, pose));
        }
    }
    Ok(best)
}

/// The pose near `pose` that minimises the object-space error of the points marked in `inliers`: the distance of each
/// camera-frame point from its viewing ray, measured across the optical axis. Near and far points count alike in
/// space, not in pixels; so the published dense aligner finishes its poses.
///
/// # Errors
/// As [`pnp`], and if `inliers` is not one per point.
///
/// # Source
/// The cost of Terzakis and Lourakis, "A consistently fast and globally optimal solution to the perspective-n-point
/// problem", ECCV 2020; minimised here by Gauss-Newton steps from a robust start.
pub fn refine_in_object_space(
    points_in_world: &[[f64; 3]],
    pixels: &[[f64; 2]],
    intrinsics: &Intrinsics,
    inliers: &[bool],
    pose: &Isometry3<f64>,
) -> Result<Isometry3<f64>, GeometryError> {
    const OP: &str = "refine_in_object_space";
    check_arguments(OP, points_in_world, pixels, &PnpOptions::default())?;
    check_focal(OP, intrinsics.focal_px)?;
    check_length(OP, "inliers", inliers.len(), points_in_world.len())?;
    let mut camera_from_world = pose.inverse();
    for _ in 0..10 {
        let (mut h, mut g) = (Matrix6::zeros(), Vector6::zeros());
        for i in (0..inliers.len()).filter(|&i| inliers[i]) {
            let p = camera_from_world * Point3::from(points_in_world[i]);
            let [u, v] = [0, 1].map(|c| (pixels[i][c] - intrinsics.center_px[c]) / intrinsics.focal_px);
            // A motion (w, d) takes p to p + w x p + d; the residual is (x - u z, y - v z).
            let rows = [
                (p.x - u * p.z, Vector6::new(-u * p.y, p.z + u * p.x, -p.y, 1.0, 0.0, -u)),
                (p.y - v * p.z, Vector6::new(-p.z - v * p.y, v * p.x, p.x, 0.0, 1.0, -v)),
            ];
            for (residual, row) in rows {
                h += row * row.transpose();
                g += row * residual;
            }
        }
        let Some(step) = h.cholesky().map(|c| -c.solve(&g)) else { break };
        let turn = UnitQuaternion::from_scaled_axis(step.fixed_rows::<3>(0).into_owned());
        let shift = Translation3::from(step.fixed_rows::<3>(3).into_owned());
        camera_from_world = Isometry3::from_parts(shift, turn) * camera_from_world;
        if step.norm() < 1e-12 {
            break;
        }
    }
    Ok(camera_from_world.inverse())
}

/// The focal lengths in pixels that [`fast_pnp`] tries for a photo of `size_px`.
pub fn focal_candidates(size_px: [usize; 2]) -> Vec<f64> {
    let side = size_px[0].max(size_px[1]) as f64;
    (0..21).map(|i| side * 0.5 * 6f64.powf(f64::from(i) / 20.0)).collect()
}

fn check_arguments(
    op: &'static str,
    points: &[[f64; 3]],
    pixels: &[[f64; 2]],
    options: &PnpOptions,
) -> Result<(), GeometryError> {
    check_length(op, "pixels", pixels.len(), points.len())?;
    check_finite(op, "points_in_world", points)?;
    check_finite(op, "pixels", pixels)?;
    if !(options.threshold_px > 0.0 && options.threshold_px.is_finite()) {
        return Err(GeometryError::argument(op, "threshold_px", "positive", options.threshold_px));
    }
    Ok(())
}

fn check_focal(op: &'static str, focal_px: f64) -> Result<(), GeometryError> {
    if focal_px > 0.0 && focal_px.is_finite() {
        return Ok(());
    }
    Err(GeometryError::argument(op, "focal_px", "positive", focal_px))
}

/// Chance that the search ends before a sample without outliers was drawn.
const MISS_PROBABILITY: f64 = 1e-4;

/// One problem in units of the focal length; poses inside are camera_from_world.
struct Search<'a> {
    points: &'a [[f64; 3]],
    /// Pixels relative to the principal point, in focal lengths.
    rays: Vec<Vector2<f64>>,
    threshold: f64,
    options: &'a PnpOptions,
}

impl<'a> Search<'a> {
    fn new(points: &'a [[f64; 3]], pixels: &[[f64; 2]], k: &Intrinsics, options: &'a PnpOptions) -> Self {
        let rays = pixels
            .iter()
            .map(|p| Vector2::new(p[0] - k.center_px[0], p[1] - k.center_px[1]) / k.focal_px)
            .collect();
        Self { points, rays, threshold: options.threshold_px / k.focal_px, options }
    }

    fn run(&self) -> Option<PnpPose> {
        let n = self.points.len();
        if n < 4 {
            return None;
        }
        let mut random = SplitMix::new(self.options.seed);
        let mut best: Option<(f64, Isometry3<f64>)> = None;
        let mut needed = self.options.max_iterations.max(1);
        let mut iteration = 0;
        while iteration < needed {
            iteration += 1;
            let sample: [usize; 3] = random.distinct(n);
            for pose in three_point_poses(sample.map(|i| self.points[i]), sample.map(|i| self.rays[i])) {
                if !self.improves(&pose, &mut best) {
                    continue;
                }
                self.improves(&self.refined(&pose, self.threshold, 5), &mut best);
                let inliers = best.map_or(0, |(_, pose)| self.count(&pose));
                needed = needed.min(iterations_needed(inliers as f64 / n as f64, 3));
            }
        }
        let (_, pose) = best?;
        let pose = self.polished(&pose);
        let inliers: Vec<bool> =
            (0..n).map(|i| self.square_error(&pose, i) <= self.threshold.powi(2)).collect();
        let inlier_count = inliers.iter().filter(|&&b| b).count();
        (inlier_count >= 4).then(|| PnpPose { world_from_camera: pose.inverse(), inliers, inlier_count })
    }

    /// Replaces `best` if `pose` has the smaller truncated square error.
    fn improves(&self, pose: &Isometry3<f64>, best: &mut Option<(f64, Isometry3<f64>)>) -> bool {
        let limit = self.threshold.powi(2);
        let bound = best.map_or(f64::INFINITY, |(cost, _)| cost);
        let mut cost = 0.0;
        for i in 0..self.points.len() {
            cost += self.square_error(pose, i).min(limit);
            if cost >= bound {
                return false;
            }
        }
        *best = Some((cost, *pose));
        true
    }

    /// Square reprojection error in focal lengths; infinite behind the camera.
    fn square_error(&self, pose: &Isometry3<f64>, i: usize) -> f64 {
        let p = pose.transform_point(&Point3::from(self.points[i]));
        if p.z <= 0.0 { f64::INFINITY } else { (p.xy().coords / p.z - self.rays[i]).norm_squared() }
    }

    fn count(&self, pose: &Isometry3<f64>) -> usize {
        (0..self.points.len()).filter(|&i| self.square_error(pose, i) <= self.threshold.powi(2)).count()
    }

    /// Refinement with the loss at three times the spread of the inliers, kept unless it loses many of them.
    fn polished(&self, pose: &Isometry3<f64>) -> Isometry3<f64> {
        let coarse = self.refined(pose, self.threshold, 20);
        let limit = self.threshold.powi(2);
        let mut errors: Vec<f64> =
            (0..self.points.len()).map(|i| self.square_error(&coarse, i)).filter(|e| *e <= limit).collect();
        if errors.len() < 4 {
            return coarse;
        }
        let middle = errors.len() / 2;
        let median = *errors.select_nth_unstable_by(middle, f64::total_cmp).1;
        // The median of the square error of two normal coordinates is 2 ln 2 variances.
        let sigma = (median / (2.0 * 2f64.ln())).sqrt();
        let fine = self.refined(&coarse, (3.0 * sigma).clamp(1e-3 * self.threshold, self.threshold), 20);
        if self.count(&fine) * 10 >= self.count(&coarse) * 9 { fine } else { coarse }
    }

    /// Levenberg-Marquardt on `sum e^2 / (1 + e^2 / scale^2)`.
    fn refined(&self, pose: &Isometry3<f64>, scale: f64, steps: usize) -> Isometry3<f64> {
        let mut pose = *pose;
        let (mut cost, mut hessian, mut gradient) = self.normal_equations(&pose, scale);
        let mut damping = 1e-4;
        for _ in 0..steps {
            let mut damped = hessian;
            for k in 0..6 {
                damped[(k, k)] += damping * hessian[(k, k)].max(1e-12);
            }
            let Some(factor) = damped.cholesky() else { break };
            let step: Vector6<f64> = -factor.solve(&gradient);
            let turn = UnitQuaternion::from_scaled_axis(step.fixed_rows::<3>(0).into_owned());
            let shift = Translation3::from(step.fixed_rows::<3>(3).into_owned());
            let moved = Isometry3::from_parts(shift, turn) * pose;
            let (moved_cost, h, g) = self.normal_equations(&moved, scale);
            if moved_cost < cost {
                let done = cost - moved_cost < 1e-12 * cost;
                (pose, cost, hessian, gradient) = (moved, moved_cost, h, g);
                damping = (damping * 0.1).max(1e-12);
                if done {
                    break;
                }
            } else {
                damping *= 10.0;
                if damping > 1e6 {
                    break;
                }
            }
        }
        pose
    }

    /// Cost, Gauss-Newton matrix and gradient for small motions (rotation, translation) in camera coordinates.
    fn normal_equations(&self, pose: &Isometry3<f64>, scale: f64) -> (f64, Matrix6<f64>, Vector6<f64>) {
        let (mut cost, mut hessian, mut gradient) = (0.0, Matrix6::zeros(), Vector6::zeros());
        let limit = scale * scale;
        for (point, ray) in self.points.iter().zip(&self.rays) {
            let p = pose.transform_point(&Point3::from(*point));
            if p.z <= 0.0 {
                cost += limit;
                continue;
            }
            let (x, y, depth) = (p.x / p.z, p.y / p.z, p.z);
            let error = Vector2::new(x, y) - ray;
            let square = error.norm_squared();
            cost += limit * square / (limit + square);
            let weight = (limit / (limit + square)).powi(2);
            let rows = [
                Vector6::new(-x * y, 1.0 + x * x, -y, 1.0 / depth, 0.0, -x / depth),
                Vector6::new(-1.0 - y * y, x * y, x, 0.0, 1.0 / depth, -y / depth),
            ];
            for (row, e) in rows.iter().zip([error.x, error.y]) {
                hessian += weight * row * row.transpose();
                gradient += weight * e * row;
            }
        }
        (cost, hessian, gradient)
    }
}

/// Samples of `size` that must be drawn to meet one without outliers.
pub(crate) fn iterations_needed(inlier_share: f64, size: i32) -> usize {
    let good = inlier_share.clamp(0.0, 1.0).powi(size);
    if good >= 1.0 - 1e-9 {
        return 1;
    }
    (MISS_PROBABILITY.ln() / (1.0 - good).ln()).ceil().clamp(1.0, 1e9) as usize
}

/// The camera_from_world poses, at most four, that see three points along three rays `(x, y, 1)`.
fn three_point_poses(points: [[f64; 3]; 3], rays: [Vector2<f64>; 3]) -> Vec<Isometry3<f64>> {
    let world = points.map(Vector3::from);
    let bearings = rays.map(|r| Vector3::new(r.x, r.y, 1.0).normalize());
    let squares = [
        (world[1] - world[2]).norm_squared(),
        (world[0] - world[2]).norm_squared(),
        (world[0] - world[1]).norm_squared(),
    ];
    let cosines =
        [bearings[1].dot(&bearings[2]), bearings[0].dot(&bearings[2]), bearings[0].dot(&bearings[1])];
    if squares.iter().any(|d| *d <= 0.0) {
        return Vec::new();
    }
    let mut poses = Vec::with_capacity(4);
    for v in real_roots(&grunert_quartic(squares, cosines)).iter().copied() {
        let Some(distances) = polished_distances(v, squares, cosines) else { continue };
        let camera: [Vector3<f64>; 3] = std::array::from_fn(|i| bearings[i] * distances[i]);
        let (mean_w, mean_c) =
            (world.iter().sum::<Vector3<f64>>() / 3.0, camera.iter().sum::<Vector3<f64>>() / 3.0);
        let moment: Matrix3<f64> =
            world.iter().zip(&camera).map(|(w, c)| (c - mean_c) * (w - mean_w).transpose()).sum();
        let (rotation, _) = nearest_rotation(&moment);
        poses.push(Isometry3::from_parts(Translation3::from(mean_c - rotation * mean_w), rotation));
    }
    poses
}

/// Coefficients, constant term first, of the quartic in v = s3 / s1.
fn grunert_quartic([a2, b2, c2]: [f64; 3], [ca, cb, cg]: [f64; 3]) -> [f64; 5] {
    let (q, sum) = ((a2 - c2) / b2, (a2 + c2) / b2);
    let (a, c) = (a2 / b2, c2 / b2);
    [
        (1.0 + q).powi(2) - 4.0 * a * cg * cg,
        4.0 * (-q * (1.0 + q) * cb + 2.0 * a * cg * cg * cb - (1.0 - sum) * ca * cg),
        2.0 * (q * q - 1.0 + 2.0 * q * q * cb * cb + 2.0 * (1.0 - c) * ca * ca - 4.0 * sum * ca * cb * cg
            + 2.0 * (1.0 - a) * cg * cg),
        4.0 * (q * (1.0 - q) * cb - (1.0 - sum) * ca * cg + 2.0 * c * ca * ca * cb),
        (q - 1.0).powi(2) - 4.0 * c * ca * ca,
    ]
}

/// The three distances along the bearings for a root of the quartic, after Newton steps on the three cosine laws.
fn polished_distances(v: f64, [a2, b2, c2]: [f64; 3], [ca, cb, cg]: [f64; 3]) -> Option<[f64; 3]> {
    let q = (a2 - c2) / b2;
    let u = ((q - 1.0) * v * v - 2.0 * q * cb * v + 1.0 + q) / (2.0 * (cg - v * ca));
    let s1 = (b2 / (1.0 + v * v - 2.0 * v * cb)).sqrt();
    let mut s = Vector3::new(s1, u * s1, v * s1);
    for _ in 0..3 {
        let error = Vector3::new(
            s.y * s.y + s.z * s.z - 2.0 * s.y * s.z * ca - a2,
            s.x * s.x + s.z * s.z - 2.0 * s.x * s.z * cb - b2,
            s.x * s.x + s.y * s.y - 2.0 * s.x * s.y * cg - c2,
        );
        let slope = 2.0
            * Matrix3::new(
                0.0,
                s.y - s.z * ca,
                s.z - s.y * ca,
                s.x - s.z * cb,
                0.0,
                s.z - s.x * cb,
                s.x - s.y * cg,
                s.y - s.x * cg,
                0.0,
            );
        let Some(inverse) = slope.try_inverse() else { break };
        s -= inverse * error;
    }
    s.iter().all(|d| *d > 0.0 && d.is_finite()).then_some([s.x, s.y, s.z])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [usize; 2] = [640, 480];
    const K: Intrinsics = Intrinsics { focal_px: 500.0, center_px: [319.5, 239.5] };

    /// A camera, points that it sees (in a plane if asked), their pixels with noise, and replaced pixels.
    struct Scene {
        points: Vec<[f64; 3]>,
        pixels: Vec<[f64; 2]>,
        world_from_camera: Isometry3<f64>,
    }

    fn scene(seed: u64, n: usize, planar: bool, noise_px: f64, outliers: usize) -> Scene {
        let mut random = SplitMix::new(seed);
        let mut three = |s: f64| s * Vector3::new(random.normal(), random.normal(), random.normal());
        let world_from_camera = Isometry3::new(three(2.0), three(0.8));
        let (mut points, mut pixels) = (Vec::new(), Vec::new());
        for i in 0..n {
            let pixel = [random.uniform() * 640.0, random.uniform() * 480.0];
            let ray = Vector3::new(
                (pixel[0] - K.center_px[0]) / K.focal_px,
                (pixel[1] - K.center_px[1]) / K.focal_px,
                1.0,
            );
            let depth =
                if planar { 4.0 / (1.0 + 0.3 * ray.x + 0.2 * ray.y) } else { 2.0 + 4.0 * random.uniform() };
            points.push((world_from_camera * Point3::from(ray * depth)).coords.into());
            let noisy = pixel.map(|v| v + noise_px * random.normal());
            let random_pixel = [random.uniform() * 640.0, random.uniform() * 480.0];
            pixels.push(if i < outliers { random_pixel } else { noisy });
        }
        Scene { points, pixels, world_from_camera }
    }

    fn errors(a: &Isometry3<f64>, b: &Isometry3<f64>) -> (f64, f64) {
        let turn = (a.rotation.inverse() * b.rotation).angle().to_degrees();
        (turn, (a.translation.vector - b.translation.vector).norm())
    }

    #[test]
    fn three_points_contain_the_true_pose() {
        for seed in 0..50 {
            let s = scene(seed, 3, false, 0.0, 0);
            let rays = std::array::from_fn(|i| {
                Vector2::new(s.pixels[i][0] - K.center_px[0], s.pixels[i][1] - K.center_px[1]) / K.focal_px
            });
            let poses = three_point_poses(std::array::from_fn(|i| s.points[i]), rays);
            let best =
                poses.iter().map(|p| errors(&p.inverse(), &s.world_from_camera).0).fold(f64::MAX, f64::min);
            assert!(best < 1e-5, "seed {seed}: {best} of {}", poses.len());
        }
    }

    #[test]
    fn exact_points_with_outliers_and_planes() {
        for seed in 0..10 {
            for (planar, outliers) in [(false, 0), (false, 30), (false, 70), (true, 30)] {
                let s = scene(seed, 100, planar, 0.0, outliers);
                let got = pnp(&s.points, &s.pixels, &K, &PnpOptions::default()).unwrap().unwrap();
                let (turn, shift) = errors(&got.world_from_camera, &s.world_from_camera);
                assert!(turn < 0.05 && shift < 1e-3, "seed {seed} {planar} {outliers}: {turn} {shift}");
                assert!(got.inliers[outliers..].iter().all(|b| *b));
                assert!(got.inlier_count <= 100 - outliers + 5);
            }
        }
    }

    #[test]
    fn noise_averages_out() {
        for seed in 0..5 {
            let s = scene(seed, 400, false, 1.0, 120);
            let got = pnp(&s.points, &s.pixels, &K, &PnpOptions::default()).unwrap().unwrap();
            let (turn, shift) = errors(&got.world_from_camera, &s.world_from_camera);
            assert!(turn < 0.1 && shift < 0.01, "seed {seed}: {turn} {shift}");
        }
    }

    #[test]
    fn the_focal_candidate_next_to_the_truth_wins() {
        let s = scene(3, 200, false, 0.2, 40);
        let options = PnpOptions { threshold_px: 2.0, ..PnpOptions::default() };
        let (focal, pose) =
            fast_pnp(&s.points, &s.pixels, None, K.center_px, SIZE, &options).unwrap().unwrap();
        let candidates = focal_candidates(SIZE);
        assert!((candidates[0] - 320.0).abs() < 1e-9 && (candidates[20] - 1920.0).abs() < 1e-9);
        assert!(candidates.contains(&focal) && (focal / K.focal_px).ln().abs() < 0.05, "{focal}");
        assert!(errors(&pose.world_from_camera, &s.world_from_camera).0 < 1.5);
        let given =
            fast_pnp(&s.points, &s.pixels, Some(500.0), K.center_px, SIZE, &options).unwrap().unwrap();
        assert_eq!(given.0, 500.0);
        assert!(errors(&given.1.world_from_camera, &s.world_from_camera).0 < 0.05);
    }

    /// Exact points give the exact pose back from a start that is a little off, whatever their depths.
    #[test]
    fn object_space_error_is_zero_at_the_true_pose() {
        let truth = Isometry3::new(Vector3::new(0.3, -0.2, 0.5), Vector3::new(0.2, -0.4, 0.1));
        let k = Intrinsics { focal_px: 300.0, center_px: [160.0, 120.0] };
        let camera = crate::Camera { intrinsics: k, world_from_camera: truth };
        let pixels: Vec<[f64; 2]> = (0..40).map(|i| [7.0 * f64::from(i), f64::from(i * i % 240)]).collect();
        let points: Vec<[f64; 3]> = pixels
            .iter()
            .zip(0..)
            .map(|(p, i)| camera.unproject(*p, 1.0 + f64::from(i % 7)).coords.into())
            .collect();
        let start = truth * Isometry3::new(Vector3::new(0.02, 0.01, -0.03), Vector3::new(0.01, 0.02, -0.01));
        let mut inliers = vec![true; 40];
        let found = refine_in_object_space(&points, &pixels, &k, &inliers, &start).unwrap();
        assert!((found.translation.vector - truth.translation.vector).norm() < 1e-9);
        assert!(found.rotation.angle_to(&truth.rotation) < 1e-9);
        let mut wrong = points.clone();
        wrong[3] = [9.0, 9.0, 9.0];
        inliers[3] = false;
        let without = refine_in_object_space(&wrong, &pixels, &k, &inliers, &start).unwrap();
        assert!(
            (without.translation.vector - truth.translation.vector).norm() < 1e-9,
            "an outlier has no say"
        );
        assert!(refine_in_object_space(&points, &pixels, &k, &inliers[1..], &start).is_err());
    }

    #[test]
    fn same_seed_same_bits_and_too_few_points_give_nothing() {
        let s = scene(4, 60, false, 0.5, 20);
        let run = |n: usize| pnp(&s.points[..n], &s.pixels[..n], &K, &PnpOptions::default()).unwrap();
        assert_eq!(run(60), run(60));
        assert!(run(3).is_none() && run(0).is_none());
        // Points in one place: no sample has a pose.
        assert!(pnp(&[[1.0; 3]; 9], &[[5.0; 2]; 9], &K, &PnpOptions::default()).unwrap().is_none());
    }

    #[test]
    fn errors_name_the_argument() {
        let (points, pixels) = ([[0.0, 0.0, 1.0]; 5], [[1.0, 2.0]; 5]);
        let options = PnpOptions::default();
        let message = |r: Result<Option<PnpPose>, GeometryError>| r.unwrap_err().to_string();
        assert!(
            message(pnp(&points, &pixels[..4], &K, &options)).contains("`pixels` must be of length 5, got 4")
        );
        assert!(message(pnp(&[[f64::NAN; 3]; 5], &pixels, &K, &options)).contains("`points_in_world`"));
        let k = Intrinsics { focal_px: 0.0, ..K };
        assert!(message(pnp(&points, &pixels, &k, &options)).contains("`focal_px` must be positive"));
        let bad = PnpOptions { threshold_px: -1.0, ..options };
        assert!(message(pnp(&points, &pixels, &K, &bad)).contains("`threshold_px`"));
        assert!(fast_pnp(&points, &pixels, None, [0.0; 2], [0, 4], &options).is_err());
    }
}
