//! Points from the rays of several cameras, some of which may be wrong.

use super::{LensCamera, Observation};
use nalgebra::{Matrix3, Vector2, Vector3};

/// When a triangulated point is accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TriangulateOptions {
    /// Observations farther than this from the point's projection are left out (divided by the square root of
    /// their weight).
    pub max_error_px: f64,
    /// Largest angle between two rays of the point must be at least this.
    pub min_angle_rad: f64,
}

/// A point and the observations that agree with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Triangulated {
    /// Position in the world.
    pub point: Vector3<f64>,
    /// One entry per observation given: whether it agrees.
    pub agrees: Vec<bool>,
    /// Largest angle between two agreeing rays, in radians.
    pub angle_rad: f64,
}

/// Pairs of rays tried as a start, at most.
const MOST_STARTS: usize = 12;

/// The point on which most observations agree, in front of all of them; `None` if fewer than two agree or
/// their rays are too nearly parallel.
///
/// Starts are the midpoints of pairs of rays, judged by the sum of squared errors cut off at the limit; the best
/// is refined by damped Gauss-Newton steps on the agreeing observations, which are then chosen anew.
///
/// # Source
/// Hartley and Sturm, "Triangulation", CVIU 1997; Lee and Civera, "Triangulation: why optimize?",
/// arXiv:1907.11917, for the midpoint.
pub fn triangulate_track(
    cameras: &[LensCamera],
    track: &[Observation],
    options: &TriangulateOptions,
) -> Option<Triangulated> {
    let rays: Vec<Ray> = track.iter().map(|o| Ray::new(&cameras[o.image], o)).collect();
    let limit = options.max_error_px * options.max_error_px;
    let mut best: Option<(f64, Vector3<f64>)> = None;
    for (i, j) in starting_pairs(&rays) {
        if let Some(point) = midpoint(&rays[i], &rays[j]) {
            let cost = cut_off_cost(cameras, track, &point, limit);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, point));
            }
        }
    }
    let (_, mut point) = best?;
    let mut agrees = agreeing(cameras, track, &point, limit);
    for _ in 0..2 {
        if agrees.iter().filter(|&&a| a).count() < 2 {
            return None;
        }
        point = polished(cameras, track, &agrees, point);
        agrees = agreeing(cameras, track, &point, limit);
    }
    if agrees.iter().filter(|&&a| a).count() < 2 {
        return None;
    }
    let angle_rad = widest_angle(cameras, track, &agrees, &point);
    (angle_rad >= options.min_angle_rad).then_some(Triangulated { point, agrees, angle_rad })
}

/// A point for cameras that may be off by many degrees: the depth along the ray of one observation, out of a
/// geometric series, at which the sum of robust errors (Cauchy, `scale_px`) is least. In front of every camera
/// that can see it; far away where the rays do not meet, so that the point then only speaks about rotations.
///
/// The ray is the one of the track's first observation with the largest weight. `None` only if no depth puts the point
/// in front of two cameras.
pub(super) fn swept_point(
    cameras: &[LensCamera],
    track: &[Observation],
    scale_px: f64,
) -> Option<Vector3<f64>> {
    const STEPS: i32 = 36;
    let lead = track.iter().fold(&track[0], |best, o| if o.weight > best.weight { o } else { best });
    let camera = &cameras[lead.image];
    let ray = Ray::new(camera, lead);
    let baseline = track.iter().map(|o| (cameras[o.image].center() - ray.origin).norm()).fold(0.0, f64::max);
    if baseline == 0.0 {
        return None;
    }
    let cost_at = |point: &Vector3<f64>| {
        let (mut cost, mut seen) = (0.0, 0);
        for o in track {
            match cameras[o.image].project(point) {
                Some(pixel) => {
                    seen += 1;
                    let error = (pixel - Vector2::from(o.pixel)).norm_squared();
                    cost += (error / (scale_px * scale_px)).ln_1p();
                }
                None => cost += 20.0,
            }
        }
        (cost, seen)
    };
    let mut best: Option<(f64, Vector3<f64>)> = None;
    for step in 0..STEPS {
        // 0.6 to about 290 baselines.
        let distance = 0.6 * baseline * 1.193f64.powi(step);
        let point = ray.origin + ray.direction * distance;
        let (cost, seen) = cost_at(&point);
        if seen >= 2 && best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, point));
        }
    }
    // Twice a finer series around the best depth.
    let mut ratio = 1.193f64;
    for _ in 0..2 {
        let (_, middle) = best?;
        for step in -4..=4 {
            let point = ray.origin + (middle - ray.origin) * ratio.powf(f64::from(step) / 5.0);
            let (cost, seen) = cost_at(&point);
            if seen >= 2 && best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, point));
            }
        }
        ratio = ratio.powf(0.2);
    }
    best.map(|(_, point)| point)
}

struct Ray {
    origin: Vector3<f64>,
    direction: Vector3<f64>,
}

impl Ray {
    fn new(camera: &LensCamera, observation: &Observation) -> Self {
        Self { origin: camera.center(), direction: camera.ray(&Vector2::from(observation.pixel)) }
    }
}

/// All pairs of a short track; of a long one those with the widest angle.
fn starting_pairs(rays: &[Ray]) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for j in 1..rays.len() {
        for i in 0..j {
            pairs.push((rays[i].direction.cross(&rays[j].direction).norm_squared(), i, j));
        }
    }
    if pairs.len() > MOST_STARTS {
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        // Widest pairs may all share one wrong ray: take them evenly from the wider half.
        let step = (pairs.len() / 2 / MOST_STARTS).max(1);
        pairs = pairs.into_iter().step_by(step).take(MOST_STARTS).collect();
    }
    pairs.into_iter().map(|(_, i, j)| (i, j)).collect()
}

/// Middle of the shortest connection of two rays; `None` if they are parallel or it lies behind one of them.
fn midpoint(a: &Ray, b: &Ray) -> Option<Vector3<f64>> {
    let between = b.origin - a.origin;
    let cosine = a.direction.dot(&b.direction);
    let sine2 = a.direction.cross(&b.direction).norm_squared();
    if sine2 < 1e-12 {
        return None;
    }
    let along_a = (between.dot(&a.direction) - cosine * between.dot(&b.direction)) / sine2;
    let along_b = (cosine * between.dot(&a.direction) - between.dot(&b.direction)) / sine2;
    if along_a <= 0.0 || along_b <= 0.0 {
        return None;
    }
    Some((a.origin + a.direction * along_a + b.origin + b.direction * along_b) * 0.5)
}

/// Weighted squared error in pixels; infinite behind the camera.
fn squared_error(camera: &LensCamera, observation: &Observation, point: &Vector3<f64>) -> f64 {
    camera.project(point).map_or(f64::INFINITY, |pixel| {
        (pixel - Vector2::from(observation.pixel)).norm_squared() * observation.weight
    })
}

fn cut_off_cost(cameras: &[LensCamera], track: &[Observation], point: &Vector3<f64>, limit: f64) -> f64 {
    track.iter().map(|o| squared_error(&cameras[o.image], o, point).min(limit)).sum()
}

fn agreeing(cameras: &[LensCamera], track: &[Observation], point: &Vector3<f64>, limit: f64) -> Vec<bool> {
    track.iter().map(|o| squared_error(&cameras[o.image], o, point) <= limit).collect()
}

/// The point moved to the least sum of squared errors of the chosen observations.
fn polished(
    cameras: &[LensCamera],
    track: &[Observation],
    chosen: &[bool],
    start: Vector3<f64>,
) -> Vector3<f64> {
    let chosen_track = || track.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(o, _)| o);
    let cost = |point: &Vector3<f64>| -> f64 {
        chosen_track().map(|o| squared_error(&cameras[o.image], o, point)).sum()
    };
    let mut point = start;
    let mut now = cost(&point);
    let mut damping = 1e-4;
    for _ in 0..8 {
        let mut square = Matrix3::zeros();
        let mut slope = Vector3::zeros();
        for o in chosen_track() {
            let camera = &cameras[o.image];
            let Some(at) = camera.linearize(&point) else { return point };
            let by_point = at.by_camera_point * camera.rotation.matrix();
            square += by_point.transpose() * by_point * o.weight;
            slope += by_point.transpose() * (Vector2::from(o.pixel) - at.pixel) * o.weight;
        }
        let damped = square + Matrix3::from_diagonal(&square.diagonal()) * damping;
        let Some(step) = damped.cholesky().map(|c| c.solve(&slope)) else { return point };
        let next = point + step;
        let then = cost(&next);
        if then < now {
            let settled = now - then < 1e-6 * now;
            (point, now, damping) = (next, then, damping * 0.1);
            if settled {
                break;
            }
        } else {
            damping *= 10.0;
        }
    }
    point
}

/// Largest angle between two of the rays from the point to the cameras of the chosen observations.
pub(super) fn widest_angle(
    cameras: &[LensCamera],
    track: &[Observation],
    chosen: &[bool],
    point: &Vector3<f64>,
) -> f64 {
    let directions: Vec<Vector3<f64>> = track
        .iter()
        .zip(chosen)
        .filter(|(_, chosen)| **chosen)
        .map(|(o, _)| (cameras[o.image].center() - point).normalize())
        .collect();
    let mut widest: f64 = 0.0;
    for (i, a) in directions.iter().enumerate() {
        for b in &directions[..i] {
            widest = widest.max(a.cross(b).norm().atan2(a.dot(b)));
        }
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::synthetic::Scene;

    const OPTIONS: TriangulateOptions = TriangulateOptions { max_error_px: 2.0, min_angle_rad: 0.01 };

    fn cameras() -> Vec<LensCamera> {
        Scene::orbit(8).cameras.iter().map(LensCamera::new).collect()
    }

    fn track(cameras: &[LensCamera], images: &[usize], point: &Vector3<f64>) -> Vec<Observation> {
        images
            .iter()
            .map(|&image| {
                let pixel = cameras[image].project(point).unwrap().into();
                Observation { image, pixel, weight: 1.0, depth: None }
            })
            .collect()
    }

    #[test]
    fn exact_rays_meet_and_wrong_ones_are_named() {
        let (cameras, point) = (cameras(), Vector3::new(0.3, -0.2, 0.5));
        let mut seen = track(&cameras, &[0, 1, 2, 4, 5], &point);
        seen[2].pixel[0] += 40.0;
        seen[4].pixel[1] -= 25.0;
        let got = triangulate_track(&cameras, &seen, &OPTIONS).unwrap();
        assert!((got.point - point).norm() < 1e-8, "{}", got.point);
        assert_eq!(got.agrees, [true, true, false, true, false]);
        let directions = [0, 1, 4].map(|i| (cameras[i].center() - point).normalize());
        assert!((got.angle_rad - directions[0].angle(&directions[2])).abs() < 1e-8);
    }

    #[test]
    fn the_least_squares_point_is_found() {
        let (cameras, point) = (cameras(), Vector3::new(0.3, -0.2, 0.5));
        let mut seen = track(&cameras, &[1, 2, 3], &point);
        seen[0].pixel[1] += 1.0;
        seen[2].pixel[0] -= 0.7;
        let got = triangulate_track(&cameras, &seen, &OPTIONS).unwrap().point;
        let cost = |p: &Vector3<f64>| cut_off_cost(&cameras, &seen, p, 1e9);
        for step in [Vector3::x(), Vector3::y(), Vector3::z()] {
            assert!(cost(&(got + step * 1e-4)) > cost(&got) && cost(&(got - step * 1e-4)) > cost(&got));
        }
    }

    #[test]
    fn points_behind_cameras_and_parallel_rays_are_refused() {
        let cameras = cameras();
        let mut seen = track(&cameras, &[0, 1], &Vector3::new(0.0, 0.0, 0.5));
        // Rays that leave each other meet behind the cameras.
        seen[0].pixel[0] += 300.0;
        seen[1].pixel[0] -= 300.0;
        assert!(triangulate_track(&cameras, &seen, &OPTIONS).is_none());
        let still = track(&cameras, &[0, 1], &Vector3::new(0.0, 0.0, 0.5));
        let same_place = [cameras[0], cameras[0]];
        assert!(triangulate_track(&same_place, &still, &OPTIONS).is_none());
        let strict = TriangulateOptions { min_angle_rad: 1.5, ..OPTIONS };
        assert!(triangulate_track(&cameras, &still, &OPTIONS).is_some());
        assert!(triangulate_track(&cameras, &still, &strict).is_none());
        assert!(triangulate_track(&cameras, &still[..1], &OPTIONS).is_none());
    }

    #[test]
    fn the_sweep_finds_the_depth_and_never_leaves_the_front() {
        let (cameras, point) = (cameras(), Vector3::new(0.3, -0.2, 0.5));
        let mut seen = track(&cameras, &[1, 2, 3], &point);
        let swept = swept_point(&cameras, &seen, 10.0).unwrap();
        let distance = (cameras[1].center() - point).norm();
        assert!((swept - point).norm() < 0.01 * distance, "{swept}");
        seen[0].pixel[0] += 150.0;
        seen[1].pixel[0] -= 150.0;
        seen[2].pixel[0] -= 150.0;
        let swept = swept_point(&cameras, &seen, 10.0).unwrap();
        let in_front = |i: usize| cameras[i].project(&swept).is_some();
        assert!((1..4).filter(|&i| in_front(i)).count() >= 2);
    }
}
