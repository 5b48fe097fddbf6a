//! Scenes made of planes and spheres, photographed along known paths, for tests.

use super::{PairMatches, PixelMatch};
use crate::{Camera, Intrinsics};
use nalgebra::{Isometry3, Matrix3, Point3, Rotation3, Translation3, UnitQuaternion, Vector3};

/// Reproducible random numbers (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform on the unit sphere.
    pub(super) fn direction(&mut self) -> Vector3<f64> {
        Vector3::new(self.normal(), self.normal(), self.normal()).normalize()
    }
}

/// Spheres and planes (unit normal, offset: `normal . x = offset`).
pub(super) struct Scene {
    spheres: Vec<(Vector3<f64>, f64)>,
    planes: Vec<(Vector3<f64>, f64)>,
    pub(super) cameras: Vec<Camera>,
    pub(super) width: f64,
    pub(super) height: f64,
}

fn looking(from: Vector3<f64>, at: Vector3<f64>, focal_px: f64) -> Camera {
    let forward = (at - from).normalize();
    let right = forward.cross(&Vector3::z()).normalize();
    let down = forward.cross(&right);
    let turn = Rotation3::from_matrix_unchecked(Matrix3::from_columns(&[right, down, forward]));
    Camera {
        intrinsics: Intrinsics { focal_px, center_px: [191.5, 143.5] },
        world_from_camera: Isometry3::from_parts(
            Translation3::from(from),
            UnitQuaternion::from_rotation_matrix(&turn),
        ),
    }
}

impl Scene {
    fn new(
        cameras: Vec<Camera>,
        spheres: Vec<(Vector3<f64>, f64)>,
        planes: Vec<(Vector3<f64>, f64)>,
    ) -> Self {
        Self { spheres, planes, cameras, width: 384.0, height: 288.0 }
    }

    /// Things on the ground, seen from a half circle at two heights.
    pub(super) fn orbit(count: usize) -> Self {
        let mut random = Random(11);
        let spheres = (0..14)
            .map(|_| {
                let radius = 0.25 + 0.4 * random.uniform();
                let (x, y) = (3.0 * random.uniform() - 1.5, 3.0 * random.uniform() - 1.5);
                (Vector3::new(x, y, radius * 0.8), radius)
            })
            .collect();
        let camera = |i: usize| {
            let angle = std::f64::consts::PI * i as f64 / (count - 1) as f64;
            let height = if i.is_multiple_of(2) { 1.6 } else { 2.4 };
            looking(Vector3::new(5.0 * angle.cos(), 5.0 * angle.sin(), height), Vector3::z() * 0.4, 330.0)
        };
        Self::new((0..count).map(camera).collect(), spheres, vec![(Vector3::z(), 0.0)])
    }

    /// Sideways in steps of two degrees past a wall with things in front.
    pub(super) fn strip(count: usize) -> Self {
        let mut random = Random(12);
        let spheres = (0..16)
            .map(|_| {
                let place = Vector3::new(
                    5.0 * random.uniform() - 2.5,
                    4.0 + 2.5 * random.uniform(),
                    3.0 * random.uniform(),
                );
                (place, 0.2 + 0.4 * random.uniform())
            })
            .collect();
        let step = 5.5 * 2.0f64.to_radians().tan();
        let camera = |i: usize| {
            let x = step * (i as f64 - 0.5 * (count - 1) as f64);
            looking(Vector3::new(x, 0.0, 1.5), Vector3::new(0.6 * x, 6.0, 1.4), 330.0)
        };
        let planes = vec![(Vector3::y(), 7.0), (Vector3::z(), 0.0)];
        Self::new((0..count).map(camera).collect(), spheres, planes)
    }

    /// Eighty degrees around a wall with bays.
    pub(super) fn facade(count: usize) -> Self {
        let bays = |i: usize| (Vector3::new(1.6 * i as f64 - 4.0, 0.5, 1.0 + 1.1 * (i % 3) as f64), 0.8);
        let camera = |i: usize| {
            let angle = (-40.0 + 80.0 * i as f64 / (count - 1) as f64).to_radians();
            let from = Vector3::new(8.0 * angle.sin(), -8.0 * angle.cos(), 1.7 + 0.05 * (i % 3) as f64);
            looking(from, Vector3::new(0.0, 0.0, 1.8), 330.0)
        };
        let planes = vec![(Vector3::y(), 0.0), (Vector3::z(), 0.0)];
        Self::new((0..count).map(camera).collect(), (0..6).map(bays).collect(), planes)
    }

    /// A walk along one wall of a room, looking across.
    pub(super) fn room(count: usize) -> Self {
        let mut random = Random(13);
        let spheres = (0..10)
            .map(|_| {
                let place = Vector3::new(7.0 * random.uniform() - 3.5, 2.0 + 2.0 * random.uniform(), 0.5);
                (place, 0.3 + 0.3 * random.uniform())
            })
            .collect();
        let camera = |i: usize| {
            let x = -2.0 + 4.0 * i as f64 / (count - 1) as f64;
            looking(Vector3::new(x, 0.1 * (i % 2) as f64, 1.5), Vector3::new(0.5 * x, 4.0, 1.2), 300.0)
        };
        let planes = vec![
            (Vector3::y(), 5.0),
            (Vector3::z(), 0.0),
            (Vector3::z(), 2.8),
            (Vector3::x(), -4.0),
            (Vector3::x(), 4.0),
        ];
        Self::new((0..count).map(camera).collect(), spheres, planes)
    }

    /// The nearest surface point along a ray.
    fn hit(&self, origin: &Vector3<f64>, direction: &Vector3<f64>) -> Option<Vector3<f64>> {
        let mut nearest = 60.0;
        for (normal, offset) in &self.planes {
            let along = (offset - normal.dot(origin)) / normal.dot(direction);
            if along > 1e-6 && along < nearest {
                nearest = along;
            }
        }
        for (center, radius) in &self.spheres {
            let to = center - origin;
            let middle = to.dot(direction);
            let off2 = to.norm_squared() - middle * middle;
            if off2 < radius * radius {
                let along = middle - (radius * radius - off2).sqrt();
                if along > 1e-6 && along < nearest {
                    nearest = along;
                }
            }
        }
        (nearest < 60.0).then(|| origin + direction * nearest)
    }

    /// The surface point behind a pixel of a photo.
    pub(super) fn surface(&self, camera: usize, pixel: [f64; 2]) -> Option<Vector3<f64>> {
        let camera = &self.cameras[camera];
        let origin = camera.world_from_camera.translation.vector;
        self.hit(&origin, &(camera.unproject(pixel, 1.0).coords - origin).normalize())
    }

    /// Where photo `b` sees what photo `a` has at `pixel`; `None` if hidden or outside.
    fn seen_in(&self, a: usize, pixel: [f64; 2], b: usize) -> Option<[f64; 2]> {
        let point = self.surface(a, pixel)?;
        let (there, depth) = self.cameras[b].project(&Point3::from(point));
        let inside =
            there.x >= 0.0 && there.y >= 0.0 && there.x <= self.width - 1.0 && there.y <= self.height - 1.0;
        if depth <= 0.0 || !inside {
            return None;
        }
        let visible = self.surface(b, [there.x, there.y])?;
        ((visible - point).norm() < 0.01 * depth).then_some([there.x, there.y])
    }

    /// Matches of all pairs at most `window` apart: seeds on a grid of 8 pixels in either photo, moved by up to 3 pixels
    /// per pair and seed; the far end with normal noise and rounded to whole pixels; a share of wrong ones.
    pub(super) fn matches(&self, window: usize, noise_px: f64, wrong: f64, seed: u64) -> Vec<PairMatches> {
        let mut random = Random(seed);
        let mut pairs = Vec::new();
        for a in 0..self.cameras.len() {
            for b in a + 1..self.cameras.len().min(a + window + 1) {
                let mut matches = Vec::new();
                for (from, to) in [(a, b), (b, a)] {
                    for row in 0..(self.height / 8.0) as usize {
                        for column in 0..(self.width / 8.0) as usize {
                            let jitter = |r: &mut Random| 4.0 + (7.0 * r.uniform() - 3.5).round();
                            let x = 8.0 * column as f64 + jitter(&mut random);
                            let y = 8.0 * row as f64 + jitter(&mut random);
                            let Some(there) = self.seen_in(from, [x, y], to) else { continue };
                            let bad = random.uniform() < wrong;
                            let far = if bad {
                                [
                                    random.uniform() * (self.width - 1.0),
                                    random.uniform() * (self.height - 1.0),
                                ]
                            } else {
                                there.map(|v| v + noise_px * random.normal())
                            };
                            let near = [x as f32, y as f32];
                            let far = far.map(|v| v.round() as f32);
                            let pixels = if from == a { [near, far] } else { [far, near] };
                            matches.push(PixelMatch { pixels, confidence: 1.0 + random.uniform() as f32 });
                        }
                    }
                }
                pairs.push(PairMatches { images: [a, b], matches });
            }
        }
        pairs
    }

    /// The cameras turned by exactly `degrees` about random axes, shifted by exactly `shift` times the distance to the
    /// next camera, with focal lengths off by a factor within `1 +- focal`, the same for all.
    pub(super) fn perturbed(&self, degrees: f64, shift: f64, focal: f64, seed: u64) -> Vec<Camera> {
        let mut random = Random(seed);
        let factor = if random.uniform() < 0.5 { 1.0 + focal } else { 1.0 / (1.0 + focal) };
        let centers: Vec<Vector3<f64>> =
            self.cameras.iter().map(|c| c.world_from_camera.translation.vector).collect();
        (0..self.cameras.len())
            .map(|i| {
                let next = if i + 1 < centers.len() { i + 1 } else { i - 1 };
                let step = (centers[next] - centers[i]).norm() * shift;
                let mut camera = self.cameras[i];
                let turn = UnitQuaternion::from_scaled_axis(random.direction() * degrees.to_radians());
                camera.world_from_camera.rotation *= turn;
                camera.world_from_camera.translation.vector += random.direction() * step;
                camera.intrinsics.focal_px *= factor;
                camera
            })
            .collect()
    }

    /// Median and largest error of the relative rotation over all pairs of the listed photos, in degrees.
    pub(super) fn rotation_errors(&self, cameras: &[Camera]) -> (f64, f64) {
        let mut errors = Vec::new();
        for i in 0..cameras.len() {
            for j in 0..i {
                let relative = |c: &[Camera]| {
                    c[i].world_from_camera.rotation.inverse() * c[j].world_from_camera.rotation
                };
                errors.push((relative(cameras).inverse() * relative(&self.cameras)).angle().to_degrees());
            }
        }
        errors.sort_by(f64::total_cmp);
        (errors[errors.len() / 2], errors[errors.len() - 1])
    }

    /// Root mean square distance of the centres after the best shift, scale and turn about the true first camera
    /// are removed through the rotation of the first camera, as a share of the largest distance of two centres.
    pub(super) fn center_error(&self, cameras: &[Camera]) -> f64 {
        let local = |c: &[Camera]| -> Vec<Vector3<f64>> {
            let first = c[0].world_from_camera;
            c.iter()
                .map(|c| {
                    first
                        .inverse_transform_point(&Point3::from(c.world_from_camera.translation.vector))
                        .coords
                })
                .collect()
        };
        let (got, want) = (local(cameras), local(&self.cameras));
        let scale = got.iter().zip(&want).map(|(g, w)| g.dot(w)).sum::<f64>()
            / got.iter().map(Vector3::norm_squared).sum::<f64>();
        let square: f64 = got.iter().zip(&want).map(|(g, w)| (g * scale - w).norm_squared()).sum();
        let extent = want.iter().map(Vector3::norm).fold(0.0, f64::max);
        (square / got.len() as f64).sqrt() / extent
    }
}
