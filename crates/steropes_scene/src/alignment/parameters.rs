//! What the optimiser moves, and how cameras and depths follow from it.
//!
//! Poses are relative to the parent in the kinematic tree. Each canonical cloud has a size `s` and turns about the
//! point of its optical axis at its median depth `m`, at the distance `z = s m f / b` from the camera (`f` focal,
//! `b` base focal length): a change of the focal length moves the camera so that the cloud keeps its apparent size.
//! All lengths are multiplied by `g = 1 / min s`.

use super::{AlignedImages, AlignmentImage, KinematicTree};
use crate::camera::{Camera, Intrinsics};
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use steropes_ops::geometry::alignment_loop::{LoopImage, LoopScene};
use steropes_ops::geometry::sparse_alignment::{PinholeGradient, PinholeView, RigidGradient, RigidView};

/// Parameters of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ImageParameters {
    /// Rotation relative to the parent as a quaternion x, y, z, w of any length.
    pub quaternion: [f64; 4],
    /// Translation relative to the parent.
    pub translation: [f64; 3],
    /// Logarithm of the size.
    pub log_size: f64,
    /// Logarithm of the focal length in pixels.
    pub log_focal: f64,
    /// Principal point divided by width and height.
    pub center: [f64; 2],
}

/// Number of values in [`ImageParameters`].
pub(super) const VALUES: usize = 11;

impl ImageParameters {
    pub(super) fn to_array(self) -> [f64; VALUES] {
        let ([x, y, z, w], [a, b, c]) = (self.quaternion, self.translation);
        [x, y, z, w, a, b, c, self.log_size, self.log_focal, self.center[0], self.center[1]]
    }

    pub(super) fn from_array(v: [f64; VALUES]) -> Self {
        Self {
            quaternion: [v[0], v[1], v[2], v[3]],
            translation: [v[4], v[5], v[6]],
            log_size: v[7],
            log_focal: v[8],
            center: [v[9], v[10]],
        }
    }
}

/// All parameters, or the derivatives by them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// One entry per image.
    pub images: Vec<ImageParameters>,
    /// Anchor depths divided by their median, image after image.
    pub depths: Vec<f64>,
}

/// Constants of one image.
#[derive(Clone, Debug)]
struct Constants {
    size: [f64; 2],
    base_focal: f64,
    median_depth: f64,
    /// Where the optical axis of the canonical cloud meets the image, in pixels.
    pivot: [f64; 2],
    anchors: std::ops::Range<usize>,
}

/// The forward model: constants of all images and the tree.
pub(super) struct Model {
    images: Vec<Constants>,
    tree: KinematicTree,
}

/// Values of one image at some parameters.
#[derive(Clone, Debug)]
struct Decoded {
    size: f64,
    /// Distance of the pivot before the global scale.
    distance: f64,
    relative: Matrix3<f64>,
    rotation: Matrix3<f64>,
    /// Place of the pivot before the global scale.
    place: Vector3<f64>,
    /// Direction of the pivot in the camera, depth 1.
    direction: Vector3<f64>,
    focal_is_free: bool,
}

/// Everything that follows from the parameters; reused from step to step.
#[derive(Default)]
pub(super) struct Forward {
    /// `1 / min size`
    global: f64,
    decoded: Vec<Decoded>,
    pub(super) views: Vec<PinholeView>,
    pub(super) rigid: Vec<RigidView>,
    pub(super) depths: Vec<f64>,
}

/// Derivatives by what [`Forward`] holds.
#[derive(Default)]
pub(super) struct Backward {
    pub(super) pinhole: Vec<PinholeGradient>,
    pub(super) rigid: Vec<RigidGradient>,
    pub(super) depths: Vec<f64>,
}

impl Backward {
    pub(super) fn clear(&mut self, images: usize, anchors: usize) {
        self.pinhole.clear();
        self.pinhole.resize(images, PinholeGradient::default());
        self.rigid.clear();
        self.rigid.resize(images, RigidGradient::default());
        self.depths.clear();
        self.depths.resize(anchors, 0.0);
    }
}

/// The lower of the two middle values.
pub(super) fn lower_median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    let middle = (sorted.len() - 1) / 2;
    *sorted.select_nth_unstable_by(middle, f32::total_cmp).1
}

impl Model {
    pub(super) fn new(images: &[AlignmentImage], tree: KinematicTree) -> Self {
        let mut first = 0;
        let constants = |image: &AlignmentImage| {
            let anchors = first..first + image.anchor_depths.len();
            first = anchors.end;
            Constants {
                size: image.size.map(|v| v as f64),
                base_focal: image.base_focal_px,
                median_depth: f64::from(lower_median(&image.anchor_depths)),
                pivot: image.principal_px,
                anchors,
            }
        };
        Self { images: images.iter().map(constants).collect(), tree }
    }

    pub(super) fn tree(&self) -> &KinematicTree {
        &self.tree
    }

    /// The constants of all images for the loop on a device, with the priors at `identity`.
    pub(super) fn loop_images(&self, identity: &Parameters) -> Vec<LoopImage> {
        let image = |(c, p): (&Constants, &ImageParameters)| LoopImage {
            size: c.size,
            base_focal_px: c.base_focal,
            median_depth: c.median_depth,
            pivot_px: c.pivot,
            anchors: c.anchors.len(),
            prior_focal_px: p.log_focal.exp(),
            prior_center: p.center,
        };
        self.images.iter().zip(&identity.images).map(image).collect()
    }

    /// Cameras and depths of all images as a result.
    pub(super) fn aligned_scene(&self, scene: &LoopScene) -> AlignedImages {
        let depths = |c: &Constants| scene.depths[c.anchors.clone()].to_vec();
        AlignedImages {
            cameras: scene.views.iter().map(camera).collect(),
            anchor_depths: self.images.iter().map(depths).collect(),
            base_focals_px: self.images.iter().map(|c| c.base_focal).collect(),
        }
    }

    pub(super) fn anchors(&self) -> usize {
        self.images.last().map_or(0, |c| c.anchors.end)
    }

    /// Parameters before any step. Shared intrinsics start at means over the images.
    pub(super) fn identity(&self, images: &[AlignmentImage], shared_intrinsics: bool) -> Parameters {
        let total: f64 = images.iter().map(|i| i.mean_confidence).sum();
        let mean = |value: &dyn Fn(&AlignmentImage) -> f64| {
            images.iter().map(|i| i.mean_confidence * value(i)).sum::<f64>() / total
        };
        let relative = |i: &AlignmentImage, c: usize| i.principal_px[c] / i.size[c] as f64;
        let image = |i: &AlignmentImage| {
            let (focal, center) = if shared_intrinsics {
                (mean(&|i| i.base_focal_px), [mean(&|i| relative(i, 0)), mean(&|i| relative(i, 1))])
            } else {
                (i.base_focal_px, [relative(i, 0), relative(i, 1)])
            };
            ImageParameters {
                quaternion: [0.0, 0.0, 0.0, 1.0],
                log_focal: focal.ln(),
                center,
                ..ImageParameters::default()
            }
        };
        let depths = images
            .iter()
            .zip(&self.images)
            .flat_map(|(i, c)| i.anchor_depths.iter().map(|&d| f64::from(d) / c.median_depth));
        Parameters { images: images.iter().map(image).collect(), depths: depths.collect() }
    }

    /// Cameras and depths at the given parameters.
    pub(super) fn forward(&self, parameters: &Parameters, out: &mut Forward) {
        let smallest = parameters.images.iter().map(|p| p.log_size.exp()).fold(f64::INFINITY, f64::min);
        out.global = 1.0 / smallest;
        out.decoded.clear();
        out.views.clear();
        out.rigid.clear();
        out.depths.resize(parameters.depths.len(), 0.0);
        for (p, c) in parameters.images.iter().zip(&self.images) {
            let diagonal = c.size[0].hypot(c.size[1]);
            let wanted = p.log_focal.exp();
            let focal = wanted.clamp(0.25 * diagonal, 10.0 * diagonal);
            let principal = [p.center[0] * c.size[0], p.center[1] * c.size[1]];
            let (size, relative) = (p.log_size.exp(), rotation_of(p.quaternion));
            out.decoded.push(Decoded {
                size,
                distance: size * c.median_depth * focal / c.base_focal,
                relative,
                rotation: relative,
                place: Vector3::from(p.translation),
                direction: Vector3::new(
                    (c.pivot[0] - principal[0]) / focal,
                    (c.pivot[1] - principal[1]) / focal,
                    1.0,
                ),
                focal_is_free: focal == wanted,
            });
            out.views.push(PinholeView {
                rotation: [[0.0; 3]; 3],
                center: [0.0; 3],
                focal_px: focal,
                principal_px: principal,
                relief: c.base_focal / focal,
            });
        }
        for &[parent, child] in self.tree.edges() {
            let (rotation, place) = (out.decoded[parent].rotation, out.decoded[parent].place);
            let d = &mut out.decoded[child];
            d.place = rotation * d.place + place;
            d.rotation = rotation * d.relative;
        }
        for (d, view) in out.decoded.iter().zip(&mut out.views) {
            let center = out.global * (d.place - d.rotation * (d.distance * d.direction));
            view.rotation = std::array::from_fn(|r| std::array::from_fn(|c| d.rotation[(r, c)]));
            view.center = center.into();
            let scale = out.global * d.size;
            out.rigid.push(RigidView { rotation: view.rotation, center: view.center, scale });
        }
        self.depths(parameters, out);
    }

    /// `g (z + (d - 1) m s)` at all anchors.
    fn depths(&self, parameters: &Parameters, out: &mut Forward) {
        for (d, c) in out.decoded.iter().zip(&self.images) {
            let slope = out.global * c.median_depth * d.size;
            let at_zero = out.global * d.distance - slope;
            let source = &parameters.depths[c.anchors.clone()];
            for (depth, relative) in out.depths[c.anchors.clone()].iter_mut().zip(source) {
                *depth = at_zero + slope * relative;
            }
        }
    }

    /// Camera-frame points before size and global scale: depths at unit size, for the coarse stage.
    pub(super) fn unit_depths(&self, parameters: &Parameters, forward: &Forward) -> Vec<f64> {
        let mut depths = vec![0.0; parameters.depths.len()];
        for ((d, c), view) in forward.decoded.iter().zip(&self.images).zip(&forward.views) {
            debug_assert!(d.size > 0.0, "sizes are exponentials");
            let distance = c.median_depth * view.focal_px / c.base_focal;
            let source = &parameters.depths[c.anchors.clone()];
            for (depth, &relative) in depths[c.anchors.clone()].iter_mut().zip(source) {
                *depth = distance + (relative - 1.0) * c.median_depth;
            }
        }
        depths
    }

    /// Adds to `out` what the derivatives `back` by cameras and depths mean for the parameters.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        forward: &Forward,
        back: &Backward,
        out: &mut Parameters,
    ) {
        let images = self.images.len();
        let mut by_global = 0.0;
        let (mut by_rotation, mut by_place) = (Vec::with_capacity(images), Vec::with_capacity(images));
        let mut by_size = Vec::with_capacity(images);
        for (i, (c, d)) in self.images.iter().zip(&forward.decoded).enumerate() {
            let (g, view) = (forward.global, &forward.views[i]);
            let (pinhole, rigid) = (&back.pinhole[i], &back.rigid[i]);
            let [by_depths, by_relief_of_depths, by_depths_times] = depth_sums(c, parameters, forward, back);
            // Depths and the size of the rigid cloud.
            let mut distance = g * by_depths;
            let mut size = g * c.median_depth * by_relief_of_depths + g * rigid.scale;
            by_global += by_depths_times / g + d.size * rigid.scale;
            // Camera centre C = g (T - R o), o = z e.
            let centre = Vector3::from(pinhole.center) + Vector3::from(rigid.center);
            by_global += centre.dot(&Vector3::from(view.center)) / g;
            let offset = d.distance * d.direction;
            let by_offset = -g * (d.rotation.transpose() * centre);
            by_rotation
                .push(matrix(&pinhole.rotation) + matrix(&rigid.rotation) - g * centre * offset.transpose());
            by_place.push(g * centre);
            distance += by_offset.dot(&d.direction);
            let by_direction = d.distance * by_offset;
            let principal = [0, 1].map(|k| pinhole.principal_px[k] - by_direction[k] / view.focal_px);
            let mut focal = pinhole.focal_px - pinhole.relief * c.base_focal / view.focal_px.powi(2);
            focal -= (by_direction[0] * d.direction[0] + by_direction[1] * d.direction[1]) / view.focal_px;
            // z = s m f / b
            size += distance * c.median_depth * view.focal_px / c.base_focal;
            focal += distance * d.size * c.median_depth / c.base_focal;
            by_size.push(size);
            let image = &mut out.images[i];
            if d.focal_is_free {
                image.log_focal += view.focal_px * focal;
            }
            for ((out, by), side) in image.center.iter_mut().zip(principal).zip(c.size) {
                *out += by * side;
            }
            let slope = g * c.median_depth * d.size;
            for (out, by) in out.depths[c.anchors.clone()].iter_mut().zip(&back.depths[c.anchors.clone()]) {
                *out += slope * by;
            }
        }
        self.backward_chain(forward, &mut by_rotation, &mut by_place, &mut out.images);
        for ((image, by), p) in out.images.iter_mut().zip(&by_rotation).zip(&parameters.images) {
            let q = by_quaternion(p.quaternion, by);
            for (o, v) in image.quaternion.iter_mut().zip(q) {
                *o += v;
            }
        }
        backward_sizes(forward, &by_size, by_global, &mut out.images);
    }

    /// Turns derivatives by absolute into such by relative rotations, and adds those of translations.
    fn backward_chain(
        &self,
        forward: &Forward,
        by_rotation: &mut [Matrix3<f64>],
        by_place: &mut [Vector3<f64>],
        out: &mut [ImageParameters],
    ) {
        for &[parent, child] in self.tree.edges().iter().rev() {
            let (p, c) = (&forward.decoded[parent], &forward.decoded[child]);
            let (rotation, place) = (by_rotation[child], by_place[child]);
            let relative_place = p.rotation.transpose() * (c.place - p.place);
            by_rotation[parent] += rotation * c.relative.transpose() + place * relative_place.transpose();
            by_place[parent] += place;
            by_rotation[child] = p.rotation.transpose() * rotation;
            by_place[child] = p.rotation.transpose() * place;
        }
        for (image, place) in out.iter_mut().zip(by_place) {
            for (t, v) in image.translation.iter_mut().zip(place.iter()) {
                *t += v;
            }
        }
    }

    /// Cameras and depths as a result.
    pub(super) fn aligned(&self, forward: &Forward) -> AlignedImages {
        AlignedImages {
            cameras: forward.views.iter().map(camera).collect(),
            anchor_depths: self
                .images
                .iter()
                .map(|c| forward.depths[c.anchors.clone()].iter().map(|&d| d as f32).collect())
                .collect(),
            base_focals_px: self.images.iter().map(|c| c.base_focal).collect(),
        }
    }

    /// Parameters whose cameras are the given ones and whose clouds have the given sizes.
    pub(super) fn at_cameras(
        &self,
        mut parameters: Parameters,
        poses: &[Isometry3<f64>],
        sizes: &[f64],
    ) -> Parameters {
        let mut forward = Forward::default();
        for (p, size) in parameters.images.iter_mut().zip(sizes) {
            p.log_size = size.ln();
        }
        self.forward(&parameters, &mut forward);
        // C = g (T - R o) solved for T.
        let place = |i: usize| {
            let d = &forward.decoded[i];
            poses[i].translation.vector / forward.global + poses[i].rotation * (d.distance * d.direction)
        };
        let write = |p: &mut ImageParameters, rotation: UnitQuaternion<f64>, translation: Vector3<f64>| {
            p.quaternion = rotation.coords.into();
            p.translation = translation.into();
        };
        let root = self.tree.root();
        write(&mut parameters.images[root], poses[root].rotation, place(root));
        for &[parent, child] in self.tree.edges() {
            let back = poses[parent].rotation.inverse();
            let translation = back * (place(child) - place(parent));
            write(&mut parameters.images[child], back * poses[child].rotation, translation);
        }
        parameters
    }
}

fn camera(view: &PinholeView) -> Camera {
    let rotation = Rotation3::from_matrix_unchecked(matrix(&view.rotation));
    Camera {
        intrinsics: Intrinsics { focal_px: view.focal_px, center_px: view.principal_px },
        world_from_camera: Isometry3::from_parts(
            Translation3::from(Vector3::from(view.center)),
            // A GPU's rotation is orthonormal to f32 only.
            UnitQuaternion::new_normalize(UnitQuaternion::from_rotation_matrix(&rotation).into_inner()),
        ),
    }
}

/// Sums over an image's anchors of the derivative by depth: plain, times `d - 1`, times the depth.
fn depth_sums(c: &Constants, parameters: &Parameters, forward: &Forward, back: &Backward) -> [f64; 3] {
    const WIDTH: usize = 8;
    let range = c.anchors.clone();
    let (by, relative, depth) =
        (&back.depths[range.clone()], &parameters.depths[range.clone()], &forward.depths[range]);
    // Sums side by side: one chain of additions would wait for each of them.
    let mut sums = [[0.0; WIDTH]; 3];
    for ((by, relative), depth) in by.chunks(WIDTH).zip(relative.chunks(WIDTH)).zip(depth.chunks(WIDTH)) {
        for (i, ((by, relative), depth)) in by.iter().zip(relative).zip(depth).enumerate() {
            sums[0][i] += by;
            sums[1][i] += by * (relative - 1.0);
            sums[2][i] += by * depth;
        }
    }
    sums.map(|s| s.iter().sum())
}

/// Adds the derivatives by log sizes; that of the smallest size is shared among equal ones.
fn backward_sizes(forward: &Forward, by_size: &[f64], by_global: f64, out: &mut [ImageParameters]) {
    let smallest = forward.decoded.iter().map(|d| d.size).fold(f64::INFINITY, f64::min);
    let ties = forward.decoded.iter().filter(|d| d.size == smallest).count() as f64;
    for ((image, d), by) in out.iter_mut().zip(&forward.decoded).zip(by_size) {
        image.log_size += d.size * by;
        if d.size == smallest {
            image.log_size -= forward.global.powi(2) * by_global * d.size / ties;
        }
    }
}

fn matrix(rows: &[[f64; 3]; 3]) -> Matrix3<f64> {
    Matrix3::from_fn(|r, c| rows[r][c])
}

/// The rotation matrix of a quaternion x, y, z, w of any length.
fn rotation_of(q: [f64; 4]) -> Matrix3<f64> {
    let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [x, y, z, w] = q.map(|v| v / norm);
    Matrix3::new(
        w * w + x * x - y * y - z * z,
        2.0 * (x * y - z * w),
        2.0 * (x * z + y * w),
        2.0 * (x * y + z * w),
        w * w - x * x + y * y - z * z,
        2.0 * (y * z - x * w),
        2.0 * (x * z - y * w),
        2.0 * (y * z + x * w),
        w * w - x * x - y * y + z * z,
    )
}

/// Derivative by a quaternion of any length, given that by the matrix of [`rotation_of`].
fn by_quaternion(q: [f64; 4], m: &Matrix3<f64>) -> [f64; 4] {
    let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    let unit = q.map(|v| v / norm);
    let [x, y, z, w] = unit;
    let sum = |a: usize, b: usize| m[(a, b)] + m[(b, a)];
    let difference = |a: usize, b: usize| m[(a, b)] - m[(b, a)];
    let [d0, d1, d2] = [m[(0, 0)], m[(1, 1)], m[(2, 2)]];
    let by_unit = [
        2.0 * (x * (d0 - d1 - d2) + y * sum(0, 1) + z * sum(0, 2) + w * difference(2, 1)),
        2.0 * (y * (d1 - d0 - d2) + x * sum(0, 1) + z * sum(1, 2) + w * difference(0, 2)),
        2.0 * (z * (d2 - d0 - d1) + x * sum(0, 2) + y * sum(1, 2) + w * difference(1, 0)),
        2.0 * (w * (d0 + d1 + d2) + x * difference(2, 1) + y * difference(0, 2) + z * difference(1, 0)),
    ];
    let along: f64 = by_unit.iter().zip(unit).map(|(a, b)| a * b).sum();
    std::array::from_fn(|i| (by_unit[i] - unit[i] * along) / norm)
}
