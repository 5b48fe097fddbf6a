//! The unconstrained numbers that are optimised, and what they mean.

use super::loss::Problem;
use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion, Vector3};

/// Mean of the edge scales: the scale of the world is free, so it is held here.
const BASE_SCALE: f64 = 0.5;
/// Focal lengths are stored as `20 ln f`, which gives them their step size.
const FOCAL_STEPS: f64 = 20.0;
/// Principal points are stored in units of 10 pixels off the middle.
const CENTER_STEP_PX: f64 = 10.0;

/// The raw parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Per edge: quaternion (x, y, z, w), signed-log translation, log scale.
    pub edges: Vec<[f64; 8]>,
    /// Per image: quaternion (x, y, z, w), signed-log translation of the camera-to-world pose.
    pub poses: Vec<[f64; 7]>,
    /// Per image: `20 ln f`.
    pub focals: Vec<f64>,
    /// Per image: offset of the principal point from the middle in units of 10 pixels.
    pub centers: Vec<[f64; 2]>,
    /// Per image and pixel: log depth.
    pub log_depths: Vec<Vec<f64>>,
}

impl Parameters {
    /// The camera-to-world pose of an image.
    pub fn pose(&self, image: usize) -> Isometry3<f64> {
        let p = &self.poses[image];
        Isometry3::from_parts(Translation3::from(translation(&p[4..7])), rotation(&p[..4]))
    }

    /// Stores a camera-to-world pose.
    pub fn set_pose(&mut self, image: usize, world_from_camera: &Isometry3<f64>) {
        let q = world_from_camera.rotation.coords;
        let t = &world_from_camera.translation.vector;
        self.poses[image] = [q[0], q[1], q[2], q[3], signed_log(t.x), signed_log(t.y), signed_log(t.z)];
    }

    /// Focal length of an image in pixels.
    pub fn focal_px(&self, image: usize) -> f64 {
        (self.focals[image] / FOCAL_STEPS).exp()
    }

    /// Stores a focal length in pixels.
    pub fn set_focal_px(&mut self, image: usize, focal_px: f64) {
        self.focals[image] = FOCAL_STEPS * focal_px.ln();
    }

    /// Principal point of an image in pixels.
    pub fn center_px(&self, problem: &Problem, image: usize) -> [f64; 2] {
        let [width, height] = problem.size(image);
        let [x, y] = self.centers[image];
        [width as f64 / 2.0 + CENTER_STEP_PX * x, height as f64 / 2.0 + CENTER_STEP_PX * y]
    }

    /// Rotation and translation of an edge, and its scale after renormalisation.
    pub fn edge(&self, edge: usize) -> (UnitQuaternion<f64>, Vector3<f64>, f64) {
        let p = &self.edges[edge];
        (rotation(&p[..4]), translation(&p[4..7]), (p[7] - self.mean_log_scale() + BASE_SCALE.ln()).exp())
    }

    /// Stores a similarity: points of the pair's frame go to `scale (rotation p + translation)`.
    pub fn set_edge(
        &mut self,
        edge: usize,
        rotation: &UnitQuaternion<f64>,
        translation: &Vector3<f64>,
        scale: f64,
    ) {
        let (q, t) = (rotation.coords, translation.map(|v| signed_log(v / scale)));
        self.edges[edge] = [q[0], q[1], q[2], q[3], t.x, t.y, t.z, scale.ln()];
    }

    /// The factor that brings the mean edge scale to its fixed value.
    pub fn scale_normaliser(&self) -> f64 {
        (BASE_SCALE.ln() - self.mean_log_scale()).exp()
    }

    fn mean_log_scale(&self) -> f64 {
        self.edges.iter().map(|e| e[7]).sum::<f64>() / self.edges.len().max(1) as f64
    }
}

/// The similarity of an edge as `scale [R | T]`, row-major 4x4 with a last row (0, 0, 0, 1).
pub fn edge_similarity(parameters: &Parameters, edge: usize) -> [[f64; 4]; 4] {
    let (rotation, translation, scale) = parameters.edge(edge);
    let r = rotation.to_rotation_matrix();
    let row = |i: usize| [scale * r[(i, 0)], scale * r[(i, 1)], scale * r[(i, 2)], scale * translation[i]];
    [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]]
}

/// Derivative of a focal length with respect to its parameter.
pub(super) fn focal_slope(focal_px: f64) -> f64 {
    focal_px / FOCAL_STEPS
}

/// Derivative of a principal point with respect to its parameter.
pub(super) fn center_slope() -> f64 {
    CENTER_STEP_PX
}

/// Derivative of a translation with respect to its signed-log parameter. A parameter of exactly 0 stays 0: so the
/// published program holds the first camera at the origin of the world.
pub(super) fn translation_slope(parameter: f64) -> f64 {
    if parameter == 0.0 { 0.0 } else { parameter.abs().exp() }
}

fn rotation(xyzw: &[f64]) -> UnitQuaternion<f64> {
    UnitQuaternion::from_quaternion(Quaternion::new(xyzw[3], xyzw[0], xyzw[1], xyzw[2]))
}

fn translation(parameters: &[f64]) -> Vector3<f64> {
    Vector3::from_fn(|i, _| parameters[i].signum() * parameters[i].abs().exp_m1())
}

fn signed_log(value: f64) -> f64 {
    value.signum() * value.abs().ln_1p()
}
