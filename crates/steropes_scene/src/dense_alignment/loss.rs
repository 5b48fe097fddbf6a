//! The loss and its gradient in closed form.

use super::parameters::{Parameters, center_slope, focal_slope, translation_slope};
use super::{AlignError, Edge};
use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

/// How a confidence becomes a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConfidenceWeight {
    /// `ln C`.
    #[default]
    Log,
    /// `sqrt C`.
    Sqrt,
    /// `C - 1`.
    MinusOne,
    /// `C`.
    Identity,
}

impl ConfidenceWeight {
    fn apply(self, confidence: f64) -> f64 {
        match self {
            Self::Log => confidence.ln(),
            Self::Sqrt => confidence.sqrt(),
            Self::MinusOne => confidence - 1.0,
            Self::Identity => confidence,
        }
    }
}

/// How a residual vector is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Distance {
    /// Its Euclidean length; robust.
    #[default]
    L1,
    /// Its squared length.
    L2,
}

/// All residuals, arranged by image so that the threads never share a depth.
pub struct Problem {
    sizes: Vec<[usize; 2]>,
    maps: Vec<Vec<Map>>, // per image
    ends: Vec<[usize; 2]>,
    distance: Distance,
}

/// The prediction of one edge for one image.
struct Map {
    edge: usize,
    points: Vec<[f32; 3]>,
    weights: Vec<f64>,
}

/// The derivative of the loss, in the layout of [`Parameters`].
pub type Gradient = Parameters;

/// Pixels per task: fixed, so that sums come out the same for any number of threads.
const CHUNK: usize = 4096;

impl Problem {
    /// Arranges the predictions of `edges` for images of the given sizes (width, height).
    ///
    /// # Errors
    /// [`AlignError`] if an edge names an image that is not there or a map has the wrong number of pixels.
    pub fn new(
        sizes: &[[usize; 2]],
        edges: &[Edge],
        weight: ConfidenceWeight,
        distance: Distance,
    ) -> Result<Self, AlignError> {
        let pixels = |image: usize| sizes[image][0] * sizes[image][1];
        for e in edges {
            if e.first >= sizes.len() || e.second >= sizes.len() {
                return Err(AlignError::Index { first: e.first, second: e.second, images: sizes.len() });
            }
            let maps = [
                (e.first, e.points_first.len()),
                (e.first, e.confidence_first.len()),
                (e.second, e.points_second.len()),
                (e.second, e.confidence_second.len()),
            ];
            if let Some(&(image, found)) = maps.iter().find(|(image, found)| *found != pixels(*image)) {
                return Err(AlignError::Pixels { image, expected: pixels(image), found });
            }
        }
        // Each side is a mean over all pixels of that side.
        let area_first: usize = edges.iter().map(|e| pixels(e.first)).sum();
        let area_second: usize = edges.iter().map(|e| pixels(e.second)).sum();
        let mut maps: Vec<Vec<Map>> = sizes.iter().map(|_| Vec::new()).collect();
        for (edge, e) in edges.iter().enumerate() {
            for (image, points, confidence, area) in [
                (e.first, &e.points_first, &e.confidence_first, area_first),
                (e.second, &e.points_second, &e.confidence_second, area_second),
            ] {
                let weights = confidence.iter().map(|c| weight.apply(f64::from(*c)) / area as f64).collect();
                maps[image].push(Map { edge, points: points.clone(), weights });
            }
        }
        let ends = edges.iter().map(|e| [e.first, e.second]).collect();
        Ok(Self { sizes: sizes.to_vec(), maps, ends, distance })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.sizes.len()
    }

    /// Images (first, second) of each edge.
    pub fn ends(&self) -> &[[usize; 2]] {
        &self.ends
    }

    /// Width and height of an image.
    pub fn size(&self, image: usize) -> [usize; 2] {
        self.sizes[image]
    }

    /// The loss at `parameters` and its gradient.
    pub fn evaluate(&self, parameters: &Parameters) -> (f64, Gradient) {
        let mut gradient = zero_like(parameters);
        let mut edges = vec![EdgeSums::default(); self.ends.len()];
        let mut loss = 0.0;
        for image in 0..self.images() {
            loss += self.add_image(parameters, image, &mut edges, &mut gradient);
        }
        finish_edges(parameters, &edges, &mut gradient);
        (loss, gradient)
    }

    fn add_image(
        &self,
        parameters: &Parameters,
        image: usize,
        edges: &mut [EdgeSums],
        gradient: &mut Gradient,
    ) -> f64 {
        let maps = &self.maps[image];
        let camera = CameraAt::new(self, parameters, image);
        let similarities: Vec<_> = maps
            .iter()
            .map(|m| {
                let (rotation, translation, scale) = parameters.edge(m.edge);
                (rotation.to_rotation_matrix().into_inner(), translation, scale)
            })
            .collect();
        let partials: Vec<Partial> = gradient.log_depths[image]
            .par_chunks_mut(CHUNK)
            .enumerate()
            .map(|(chunk, depth_gradient)| {
                let mut sums = Partial::new(maps.len());
                for (k, depth_gradient) in depth_gradient.iter_mut().enumerate() {
                    let pixel = chunk * CHUNK + k;
                    let depth = parameters.log_depths[image][pixel].exp();
                    let point = camera.point(pixel, depth);
                    let mut pull = Vector3::zeros();
                    for ((map, (r, t, s)), edge) in maps.iter().zip(&similarities).zip(&mut sums.edges) {
                        let m = Vector3::from(map.points[pixel].map(f64::from));
                        let turned = r * m + t;
                        let residual = point.world - *s * turned;
                        let (value, slope) = self.measure(&residual);
                        sums.loss += map.weights[pixel] * value;
                        let g = map.weights[pixel] * slope;
                        pull += g;
                        edge.add(&-g, &m, &turned);
                    }
                    *depth_gradient = depth * sums.add_pixel(&camera, &point, &pull);
                }
                sums
            })
            .collect();
        let mut total = Partial::new(maps.len());
        for partial in &partials {
            total.merge(partial);
        }
        for (map, sums) in maps.iter().zip(&total.edges) {
            edges[map.edge].merge(sums);
        }
        let pose = &parameters.poses[image];
        gradient.poses[image][..4].copy_from_slice(&quaternion_gradient(&pose[..4], &total.rotation));
        for k in 0..3 {
            gradient.poses[image][4 + k] = total.translation[k] * translation_slope(pose[4 + k]);
        }
        gradient.focals[image] = total.focal * focal_slope(camera.focal);
        gradient.centers[image] = total.center.map(|c| c * center_slope());
        total.loss
    }

    /// A residual's measure and its derivative; a zero residual pulls nowhere.
    fn measure(&self, residual: &Vector3<f64>) -> (f64, Vector3<f64>) {
        match self.distance {
            Distance::L2 => (residual.norm_squared(), 2.0 * residual),
            Distance::L1 => {
                let length = residual.norm();
                (length, if length > 0.0 { residual / length } else { Vector3::zeros() })
            }
        }
    }
}

/// One camera, decoded.
struct CameraAt {
    rotation: Matrix3<f64>,
    translation: Vector3<f64>,
    focal: f64,
    center: [f64; 2],
    width: usize,
}

/// One pixel's point.
struct PointAt {
    ray: Vector3<f64>, // depth 1
    camera: Vector3<f64>,
    world: Vector3<f64>,
}

impl CameraAt {
    fn new(problem: &Problem, parameters: &Parameters, image: usize) -> Self {
        let pose = parameters.pose(image);
        Self {
            rotation: pose.rotation.to_rotation_matrix().into_inner(),
            translation: pose.translation.vector,
            focal: parameters.focal_px(image),
            center: parameters.center_px(problem, image),
            width: problem.size(image)[0],
        }
    }

    fn point(&self, pixel: usize, depth: f64) -> PointAt {
        let x = ((pixel % self.width) as f64 - self.center[0]) / self.focal;
        let y = ((pixel / self.width) as f64 - self.center[1]) / self.focal;
        let ray = Vector3::new(x, y, 1.0);
        let camera = depth * ray;
        PointAt { ray, camera, world: self.rotation * camera + self.translation }
    }
}

/// Sums over some pixels of one image.
struct Partial {
    loss: f64,
    rotation: Matrix3<f64>,
    translation: Vector3<f64>,
    focal: f64,
    center: [f64; 2],
    edges: Vec<EdgeSums>,
}

impl Partial {
    fn new(maps: usize) -> Self {
        Self {
            loss: 0.0,
            rotation: Matrix3::zeros(),
            translation: Vector3::zeros(),
            focal: 0.0,
            center: [0.0; 2],
            edges: vec![EdgeSums::default(); maps],
        }
    }

    /// Adds what a pull on the world point does to the camera; returns what it does to the depth.
    fn add_pixel(&mut self, camera: &CameraAt, point: &PointAt, pull: &Vector3<f64>) -> f64 {
        let h = camera.rotation.tr_mul(pull);
        let depth = point.camera.z;
        self.rotation += pull * point.camera.transpose();
        self.translation += pull;
        self.focal -= (h.x * point.camera.x + h.y * point.camera.y) / camera.focal;
        self.center[0] -= h.x * depth / camera.focal;
        self.center[1] -= h.y * depth / camera.focal;
        h.dot(&point.ray)
    }

    fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.rotation += other.rotation;
        self.translation += other.translation;
        self.focal += other.focal;
        self.center[0] += other.center[0];
        self.center[1] += other.center[1];
        self.edges.iter_mut().zip(&other.edges).for_each(|(a, b)| a.merge(b));
    }
}

/// Sums over some pixels of one edge: the pulls `g` on the transformed points.
#[derive(Clone, Default)]
struct EdgeSums {
    pull: Vector3<f64>,
    outer: Matrix3<f64>, // Σ g mᵀ
    scale: f64,          // Σ g · (R m + T)
}

impl EdgeSums {
    fn add(&mut self, g: &Vector3<f64>, m: &Vector3<f64>, turned: &Vector3<f64>) {
        self.pull += g;
        self.outer += g * m.transpose();
        self.scale += g.dot(turned);
    }

    fn merge(&mut self, other: &Self) {
        self.pull += other.pull;
        self.outer += other.outer;
        self.scale += other.scale;
    }
}

fn finish_edges(parameters: &Parameters, edges: &[EdgeSums], gradient: &mut Gradient) {
    let mut log_scales = Vec::with_capacity(edges.len());
    for (e, sums) in edges.iter().enumerate() {
        let (_, _, scale) = parameters.edge(e);
        let raw = &parameters.edges[e];
        let out = &mut gradient.edges[e];
        out[..4].copy_from_slice(&quaternion_gradient(&raw[..4], &(scale * sums.outer)));
        for k in 0..3 {
            out[4 + k] = scale * sums.pull[k] * translation_slope(raw[4 + k]);
        }
        log_scales.push(scale * sums.scale);
    }
    // The mean log scale is subtracted from every edge.
    let mean = log_scales.iter().sum::<f64>() / log_scales.len().max(1) as f64;
    for (out, own) in gradient.edges.iter_mut().zip(log_scales) {
        out[7] = own - mean;
    }
}

/// The gradient of a raw quaternion (x, y, z, w) from that of the rotation matrix of its unit form.
fn quaternion_gradient(xyzw: &[f64], g: &Matrix3<f64>) -> [f64; 4] {
    let norm = xyzw.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [x, y, z, w] = [xyzw[0] / norm, xyzw[1] / norm, xyzw[2] / norm, xyzw[3] / norm];
    // Derivatives of the homogeneous quadratic form of the rotation matrix on the unit sphere.
    let dx = 2.0 * (y * (g[(0, 1)] + g[(1, 0)]) + z * (g[(0, 2)] + g[(2, 0)]) + w * (g[(2, 1)] - g[(1, 2)]))
        - 4.0 * x * (g[(1, 1)] + g[(2, 2)]);
    let dy = 2.0 * (x * (g[(0, 1)] + g[(1, 0)]) + z * (g[(1, 2)] + g[(2, 1)]) + w * (g[(0, 2)] - g[(2, 0)]))
        - 4.0 * y * (g[(0, 0)] + g[(2, 2)]);
    let dz = 2.0 * (x * (g[(0, 2)] + g[(2, 0)]) + y * (g[(1, 2)] + g[(2, 1)]) + w * (g[(1, 0)] - g[(0, 1)]))
        - 4.0 * z * (g[(0, 0)] + g[(1, 1)]);
    let dw = 2.0 * (x * (g[(2, 1)] - g[(1, 2)]) + y * (g[(0, 2)] - g[(2, 0)]) + z * (g[(1, 0)] - g[(0, 1)]));
    let radial = x * dx + y * dy + z * dz + w * dw;
    [(dx - x * radial) / norm, (dy - y * radial) / norm, (dz - z * radial) / norm, (dw - w * radial) / norm]
}

fn zero_like(p: &Parameters) -> Gradient {
    Parameters {
        edges: vec![[0.0; 8]; p.edges.len()],
        poses: vec![[0.0; 7]; p.poses.len()],
        focals: vec![0.0; p.focals.len()],
        centers: vec![[0.0; 2]; p.centers.len()],
        log_depths: p.log_depths.iter().map(|d| vec![0.0; d.len()]).collect(),
    }
}
