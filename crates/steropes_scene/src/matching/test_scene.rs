//! Two views of a box with spheres in it, seen from inside, with descriptors that are functions of the world point.

use super::{DescriptorMap, Metric};
use crate::{Camera, Intrinsics};
use nalgebra::{Isometry3, Point3, Rotation3, Translation3, UnitQuaternion, Vector3};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs;

pub(super) const DEPTH: usize = 24;

/// A rendered view.
pub(super) struct View {
    pub(super) camera: Camera,
    pub(super) width: usize,
    pub(super) height: usize,
    /// Per pixel.
    pub(super) points_in_world: Vec<Point3<f64>>,
    pub(super) descriptors: Tensor,
}

impl View {
    pub(super) fn map(&self) -> DescriptorMap {
        DescriptorMap::new(&self.descriptors, Metric::Dot).unwrap()
    }

    /// Where a world point appears, and whether it is inside and not hidden (within 2 % of the depth seen there).
    pub(super) fn visible(&self, point: &Point3<f64>) -> Option<[f64; 2]> {
        let (pixel, depth) = self.camera.project(point);
        let (x, y) = (pixel.x.round(), pixel.y.round());
        if depth <= 0.0 || x < 0.0 || y < 0.0 || x >= self.width as f64 || y >= self.height as f64 {
            return None;
        }
        let (_, seen) = self.camera.project(&self.points_in_world[x as usize + self.width * y as usize]);
        ((seen - depth).abs() < 0.02 * depth).then_some([pixel.x, pixel.y])
    }
}

/// Two views of the room `salt`, 25 degrees apart, with `noise` on the descriptors.
pub(super) fn two_views(salt: &str, width: usize, height: usize, noise: f32) -> [View; 2] {
    let room = Room::new(salt);
    [-12.5f64, 12.5].map(|degrees| {
        let a = degrees.to_radians();
        let center = Vector3::new(3.2 * a.sin(), 0.3 * (3.0 * a).sin() - 0.3, -3.2 * a.cos());
        let z = -center.normalize();
        let x = Vector3::y().cross(&z).normalize();
        let axes = nalgebra::Matrix3::from_columns(&[x, z.cross(&x), z]);
        let rotation = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(axes));
        let camera = Camera {
            intrinsics: Intrinsics {
                focal_px: 0.9 * width as f64,
                center_px: [width as f64 / 2.0, height as f64 / 2.0],
            },
            world_from_camera: Isometry3::from_parts(Translation3::from(center), rotation),
        };
        room.render(camera, width, height, noise, &format!("{salt}/{degrees}"))
    })
}

struct Room {
    spheres: Vec<(Vector3<f64>, f64)>,
    /// Per channel the wave vector and the phase.
    waves: Vec<(Vector3<f64>, f64)>,
}

impl Room {
    fn new(salt: &str) -> Self {
        let u: Vec<f64> =
            inputs::uniform(&format!("{salt}/spheres"), 24).into_iter().map(f64::from).collect();
        let sphere = |u: &[f64]| (Vector3::new(1.5 * u[0], 0.2 + u[1], 1.5 * u[2]), 0.525 + 0.175 * u[3]);
        let n: Vec<f64> =
            inputs::normal(&format!("{salt}/waves"), 3 * DEPTH).into_iter().map(f64::from).collect();
        let phases = inputs::uniform(&format!("{salt}/phases"), DEPTH);
        let wave = |k: usize| {
            let scale = 0.7 * (6.0f64 / 0.7).powf(k as f64 / (DEPTH - 1) as f64);
            (
                scale * Vector3::from_row_slice(&n[3 * k..3 * k + 3]),
                std::f64::consts::PI * f64::from(phases[k]),
            )
        };
        Self { spheres: u.chunks(4).map(sphere).collect(), waves: (0..DEPTH).map(wave).collect() }
    }

    fn render(&self, camera: Camera, width: usize, height: usize, noise: f32, salt: &str) -> View {
        let origin = camera.world_from_camera.translation.vector;
        let points_in_world: Vec<_> = (0..width * height)
            .map(|i| {
                let ahead = camera.unproject([(i % width) as f64, (i / width) as f64], 1.0);
                let direction = (ahead.coords - origin).normalize();
                Point3::from(origin + self.distance(&origin, &direction) * direction)
            })
            .collect();
        let random = inputs::normal(&format!("{salt}/noise"), width * height * DEPTH);
        let mut descriptors: Vec<f32> = points_in_world.iter().flat_map(|p| self.descriptor(p)).collect();
        for (descriptor, random) in descriptors.chunks_mut(DEPTH).zip(random.chunks(DEPTH)) {
            descriptor.iter_mut().zip(random).for_each(|(d, r)| *d += noise * r);
            let norm = descriptor.iter().map(|v| v * v).sum::<f32>().sqrt();
            descriptor.iter_mut().for_each(|v| *v /= norm);
        }
        let descriptors = Tensor::new(&Device::cpu(), &[height, width, DEPTH], descriptors).unwrap();
        View { camera, width, height, points_in_world, descriptors }
    }

    /// From a point inside of the box to the first wall or sphere.
    fn distance(&self, origin: &Vector3<f64>, direction: &Vector3<f64>) -> f64 {
        let walls = [4.0, 2.5, 4.0];
        let wall = (0..3).map(|c| (walls[c] * direction[c].signum() - origin[c]) / direction[c]);
        let sphere = self.spheres.iter().filter_map(|(center, radius)| {
            let along = direction.dot(&(center - origin));
            let off = (origin + along * direction - center).norm_squared();
            (off < radius * radius).then(|| along - (radius * radius - off).sqrt()).filter(|t| *t > 0.0)
        });
        wall.chain(sphere).fold(f64::INFINITY, f64::min)
    }

    fn descriptor(&self, point: &Point3<f64>) -> Vec<f32> {
        let values: Vec<f64> =
            self.waves.iter().map(|(w, phase)| (w.dot(&point.coords) + phase).cos()).collect();
        let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        values.iter().map(|v| (v / norm) as f32).collect()
    }
}
