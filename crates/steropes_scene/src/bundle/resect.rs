//! One camera against fixed points.

use super::{BundleError, LensCamera, Loss, require, require_length};
use nalgebra::{SMatrix, SVector, Vector2, Vector3, Vector6};

/// How [`resect`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResectOptions {
    /// Standard deviation of a pixel coordinate.
    pub noise_px: f64,
    /// Errors up to this many standard deviations count as agreement.
    pub agreement: f64,
    /// Whether the focal length is found too.
    pub free_focal: bool,
}

impl Default for ResectOptions {
    fn default() -> Self {
        Self { noise_px: 1.0, agreement: 4.0, free_focal: false }
    }
}

/// A camera placed by [`resect`].
#[derive(Clone, Debug, PartialEq)]
pub struct Resection {
    /// The camera.
    pub camera: LensCamera,
    /// One per point: whether its pixel agrees.
    pub agrees: Vec<bool>,
    /// Median distance of all pixels from their projections; infinite if most points are behind the camera.
    pub median_error_px: f64,
}

/// Squared whitened error of a point behind the camera.
const UNSEEN: f64 = 1e6;

/// Moves one camera so that fixed points project to their pixels; most of them must be right.
///
/// The robust loss tightens in steps from an eighth of the focal length to `3 noise_px`, so that a start
/// that is off by tens of degrees still converges.
///
/// # Errors
/// [`BundleError`] if the lists differ in length, have fewer than 4 points, or a number is out of range.
///
/// # Source
/// Graduated non-convexity: Yang et al., arXiv:1909.08605; the steps are Levenberg-Marquardt.
pub fn resect(
    start: &LensCamera,
    points: &[Vector3<f64>],
    pixels: &[Vector2<f64>],
    options: &ResectOptions,
) -> Result<Resection, BundleError> {
    const OP: &str = "resect";
    require_length(OP, "pixels", points.len(), pixels.len())?;
    require(OP, "points", "at least 4 points", points.len() as f64, points.len() >= 4)?;
    require(OP, "start.focal_px", "above 0", start.focal_px, start.focal_px > 0.0)?;
    require(OP, "options.noise_px", "above 0", options.noise_px, options.noise_px > 0.0)?;
    require(OP, "options.agreement", "above 0", options.agreement, options.agreement > 0.0)?;
    for value in points.iter().flatten_vectors().chain(pixels.iter().flatten_vectors()) {
        require(OP, "points, pixels", "finite", value, true)?;
    }
    let mut camera = *start;
    let mut scale = (start.focal_px / 8.0).max(3.0 * options.noise_px);
    loop {
        let last = scale <= 3.0 * options.noise_px;
        camera = settled(camera, points, pixels, scale, options.free_focal);
        if last {
            break;
        }
        scale = (scale * 0.4).max(3.0 * options.noise_px);
    }
    let errors: Vec<f64> = points
        .iter()
        .zip(pixels)
        .map(|(x, pixel)| camera.project(x).map_or(f64::INFINITY, |p| (p - pixel).norm()))
        .collect();
    let limit = options.agreement * options.noise_px;
    let agrees = errors.iter().map(|e| *e <= limit).collect();
    let mut sorted = errors;
    sorted.sort_by(f64::total_cmp);
    Ok(Resection { camera, agrees, median_error_px: sorted[sorted.len() / 2] })
}

/// The numbers inside a sequence of vectors.
trait FlattenVectors {
    fn flatten_vectors(self) -> impl Iterator<Item = f64>;
}

impl<'a, const N: usize, I: Iterator<Item = &'a SVector<f64, N>>> FlattenVectors for I {
    fn flatten_vectors(self) -> impl Iterator<Item = f64> {
        self.flat_map(|v| v.iter().copied())
    }
}

fn cost(camera: &LensCamera, points: &[Vector3<f64>], pixels: &[Vector2<f64>], loss: Loss) -> f64 {
    points
        .iter()
        .zip(pixels)
        .map(|(x, pixel)| {
            let squared = camera.project(x).map_or(UNSEEN, |p| (p - pixel).norm_squared().min(UNSEEN));
            loss.value_and_weight(squared).0
        })
        .sum()
}

/// Levenberg-Marquardt at one scale of the loss.
fn settled(
    start: LensCamera,
    points: &[Vector3<f64>],
    pixels: &[Vector2<f64>],
    scale_px: f64,
    free_focal: bool,
) -> LensCamera {
    let loss = Loss::Cauchy { scale: scale_px };
    let mut camera = start;
    let mut now = cost(&camera, points, pixels, loss);
    let mut damping = 1e-3;
    for _ in 0..30 {
        let mut square = SMatrix::<f64, 7, 7>::zeros();
        let mut slope = SVector::<f64, 7>::zeros();
        for (x, pixel) in points.iter().zip(pixels) {
            let Some(at) = camera.linearize(x) else { continue };
            let error = at.pixel - pixel;
            let weight = loss.value_and_weight(error.norm_squared()).1;
            let mut by = SMatrix::<f64, 2, 7>::zeros();
            by.fixed_columns_mut::<6>(0).copy_from(&at.by_twist());
            if free_focal {
                by.set_column(6, &at.by_lens.column(0));
            }
            square += by.transpose() * by * weight;
            slope += by.transpose() * error * weight;
        }
        for k in 0..7 {
            square[(k, k)] = if square[(k, k)] > 0.0 { square[(k, k)] * (1.0 + damping) } else { 1.0 };
        }
        let Some(step) = square.cholesky().map(|c| -c.solve(&slope)) else { return camera };
        let mut trial = camera.moved(&Vector6::from(step.fixed_rows::<6>(0)));
        trial.focal_px *= step[6].exp();
        let then = cost(&trial, points, pixels, loss);
        if then < now {
            let settled = now - then < 1e-7 * now;
            (camera, now, damping) = (trial, then, (damping * 0.2f64).max(1e-9));
            if settled {
                break;
            }
        } else {
            damping *= 8.0;
            if damping > 1e8 {
                break;
            }
        }
    }
    camera
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::synthetic::{Random, Scene};

    fn seen() -> (LensCamera, Vec<Vector3<f64>>, Vec<Vector2<f64>>) {
        let scene = Scene::orbit(8);
        let camera = LensCamera::new(&scene.cameras[3]);
        let mut random = Random(9);
        let (mut points, mut pixels) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let pixel = [random.uniform() * 383.0, random.uniform() * 287.0];
            let Some(point) = scene.surface(3, pixel) else { continue };
            let noisy = pixel.map(|v| v + 0.5 * random.normal());
            let wrong = [random.uniform() * 383.0, random.uniform() * 287.0];
            points.push(point);
            pixels.push(Vector2::from(if random.uniform() < 0.3 { wrong } else { noisy }));
        }
        (camera, points, pixels)
    }

    #[test]
    fn converges_from_thirty_degrees_with_a_third_of_wrong_pixels() {
        let (camera, points, pixels) = seen();
        for seed in 0..5 {
            let mut random = Random(seed);
            let mut twist = Vector6::zeros();
            twist.fixed_rows_mut::<3>(0).copy_from(&(random.direction() * 30.0f64.to_radians()));
            twist.fixed_rows_mut::<3>(3).copy_from(&(random.direction() * 0.8));
            let mut start = camera.moved(&twist);
            start.focal_px *= 1.1;
            let options = ResectOptions { free_focal: true, ..ResectOptions::default() };
            let got = resect(&start, &points, &pixels, &options).unwrap();
            let off = (got.camera.rotation.matrix() - camera.rotation.matrix()).norm().to_degrees();
            assert!(off < 0.2, "{off} degrees from seed {seed}");
            assert!((got.camera.focal_px / camera.focal_px - 1.0).abs() < 0.01);
            assert!(got.median_error_px < 1.5);
            let agreeing = got.agrees.iter().filter(|&&a| a).count() as f64 / points.len() as f64;
            assert!((0.6..0.8).contains(&agreeing), "{agreeing}");
        }
    }

    #[test]
    fn the_focal_length_is_held_unless_free() {
        let (mut camera, points, pixels) = seen();
        camera.focal_px *= 1.05;
        let got = resect(&camera, &points, &pixels, &ResectOptions::default()).unwrap();
        assert_eq!(got.camera.focal_px, camera.focal_px);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let (camera, mut points, pixels) = seen();
        let standard = ResectOptions::default();
        let refused = |got: Result<Resection, BundleError>, part: &str| {
            let error = got.unwrap_err().to_string();
            assert!(error.starts_with("resect: `") && error.contains(part), "{error}");
        };
        refused(resect(&camera, &points, &pixels[1..], &standard), "pixels");
        refused(resect(&camera, &points[..3], &pixels[..3], &standard), "at least 4 points, got 3");
        let no_focal = LensCamera { focal_px: 0.0, ..camera };
        refused(resect(&no_focal, &points, &pixels, &standard), "focal_px");
        let bad = ResectOptions { noise_px: 0.0, ..standard };
        refused(resect(&camera, &points, &pixels, &bad), "noise_px");
        let bad = ResectOptions { agreement: -1.0, ..standard };
        refused(resect(&camera, &points, &pixels, &bad), "agreement");
        points[7].y = f64::NAN;
        refused(resect(&camera, &points, &pixels, &standard), "finite");
    }
}
