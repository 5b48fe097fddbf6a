//! The projection of bundle adjustment and its derivatives.

use crate::{Camera, Intrinsics};
use nalgebra::UnitQuaternion;
use nalgebra::{
    Isometry3, Matrix2, Matrix2x3, Matrix2x4, Matrix3, Rotation3, Translation3, Vector2, Vector3,
};

/// Nearest depth that still projects, as a share of the distance between camera and point.
const NEAREST: f64 = 1e-3;

/// A pinhole camera with one radial distortion term, in the form the equations use.
///
/// A world point `X` is `p = rotation X + translation` in the camera, `(u, v) = (p.x, p.y) / p.z`, and its pixel
/// is `focal_px (1 + radial (u^2 + v^2)) (u, v) + center_px`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LensCamera {
    /// Camera from world, rotation.
    pub rotation: Rotation3<f64>,
    /// Camera from world, translation.
    pub translation: Vector3<f64>,
    /// Focal length in pixels.
    pub focal_px: f64,
    /// Principal point in pixels.
    pub center_px: Vector2<f64>,
    /// First radial coefficient, on normalised coordinates; 0 for a pinhole.
    pub radial: f64,
}

/// Pixel and derivatives of one projection.
pub(super) struct Projection {
    /// Where the point appears.
    pub(super) pixel: Vector2<f64>,
    /// The point in camera coordinates.
    pub(super) point_in_camera: Vector3<f64>,
    /// Pixel by point in camera coordinates.
    pub(super) by_camera_point: Matrix2x3<f64>,
    /// Pixel by (ln focal, principal point x, y, radial).
    pub(super) by_lens: Matrix2x4<f64>,
}

impl LensCamera {
    /// The camera without distortion.
    pub fn new(camera: &Camera) -> Self {
        let camera_from_world = camera.world_from_camera.inverse();
        Self {
            rotation: camera_from_world.rotation.to_rotation_matrix(),
            translation: camera_from_world.translation.vector,
            focal_px: camera.intrinsics.focal_px,
            center_px: Vector2::from(camera.intrinsics.center_px),
            radial: 0.0,
        }
    }

    /// The camera as the rest of the program knows it; the radial coefficient is lost.
    pub fn to_camera(&self) -> Camera {
        let rotation = UnitQuaternion::from_rotation_matrix(&self.rotation);
        let camera_from_world = Isometry3::from_parts(Translation3::from(self.translation), rotation);
        Camera {
            intrinsics: Intrinsics {
                focal_px: self.focal_px,
                center_px: [self.center_px.x, self.center_px.y],
            },
            world_from_camera: camera_from_world.inverse(),
        }
    }

    /// Camera centre in the world.
    pub fn center(&self) -> Vector3<f64> {
        -(self.rotation.inverse() * self.translation)
    }

    /// The point in camera coordinates.
    pub fn to_camera_frame(&self, point_in_world: &Vector3<f64>) -> Vector3<f64> {
        self.rotation * point_in_world + self.translation
    }

    /// The pixel of a world point; `None` if it is not in front of the camera.
    pub fn project(&self, point_in_world: &Vector3<f64>) -> Option<Vector2<f64>> {
        let p = self.to_camera_frame(point_in_world);
        if !is_in_front(&p) {
            return None;
        }
        let uv = Vector2::new(p.x / p.z, p.y / p.z);
        Some(uv * (self.focal_px * (1.0 + self.radial * uv.norm_squared())) + self.center_px)
    }

    /// Unit direction in the world of the ray through a pixel.
    pub fn ray(&self, pixel: &Vector2<f64>) -> Vector3<f64> {
        let uv = self.undistorted(pixel);
        self.rotation.inverse() * Vector3::new(uv.x, uv.y, 1.0).normalize()
    }

    /// Normalised coordinates of a pixel: the distortion undone by fixed-point iteration.
    pub fn undistorted(&self, pixel: &Vector2<f64>) -> Vector2<f64> {
        let distorted = (pixel - self.center_px) / self.focal_px;
        if self.radial == 0.0 {
            return distorted;
        }
        // Beyond the turning point of the polynomial there is no answer; the clamp keeps the iteration finite.
        let mut uv = distorted;
        for _ in 0..20 {
            uv = distorted / (1.0 + self.radial * uv.norm_squared()).max(0.25);
        }
        uv
    }

    /// The camera turned by `exp(twist[0..3])` and shifted by `twist[3..6]`, both after camera-from-world.
    pub(super) fn moved(&self, twist: &nalgebra::Vector6<f64>) -> Self {
        let turn = Rotation3::from_scaled_axis(twist.fixed_rows::<3>(0).into_owned());
        Self {
            rotation: turn * self.rotation,
            translation: turn * self.translation + twist.fixed_rows::<3>(3),
            ..*self
        }
    }

    /// Pixel and derivatives; `None` if the point is not in front of the camera.
    pub(super) fn linearize(&self, point_in_world: &Vector3<f64>) -> Option<Projection> {
        let p = self.to_camera_frame(point_in_world);
        if !is_in_front(&p) {
            return None;
        }
        let inverse_depth = 1.0 / p.z;
        let uv = Vector2::new(p.x * inverse_depth, p.y * inverse_depth);
        let square = uv.norm_squared();
        let stretch = 1.0 + self.radial * square;
        let by_uv =
            (Matrix2::identity() * stretch + uv * uv.transpose() * (2.0 * self.radial)) * self.focal_px;
        let uv_by_point = Matrix2x3::new(1.0, 0.0, -uv.x, 0.0, 1.0, -uv.y) * inverse_depth;
        let from_center = uv * (self.focal_px * stretch);
        let by_radial = uv * (self.focal_px * square);
        Some(Projection {
            pixel: from_center + self.center_px,
            point_in_camera: p,
            by_camera_point: by_uv * uv_by_point,
            by_lens: Matrix2x4::new(
                from_center.x,
                1.0,
                0.0,
                by_radial.x, //
                from_center.y,
                0.0,
                1.0,
                by_radial.y,
            ),
        })
    }
}

impl Projection {
    /// Pixel by the twist of [`LensCamera::moved`]: rotation, then translation.
    pub(super) fn by_twist(&self) -> nalgebra::Matrix2x6<f64> {
        let mut out = nalgebra::Matrix2x6::zeros();
        let turn: Matrix3<f64> = -self.point_in_camera.cross_matrix();
        out.fixed_columns_mut::<3>(0).copy_from(&(self.by_camera_point * turn));
        out.fixed_columns_mut::<3>(3).copy_from(&self.by_camera_point);
        out
    }
}

/// Whether a point in camera coordinates can be seen: not behind, and not so far to the side that its pixel
/// would be beyond any photo.
fn is_in_front(p: &Vector3<f64>) -> bool {
    p.z > NEAREST * (p.x.abs() + p.y.abs()) && p.z > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Point3, Vector6};

    fn camera() -> LensCamera {
        LensCamera {
            rotation: Rotation3::from_scaled_axis(Vector3::new(0.2, -0.5, 0.3)),
            translation: Vector3::new(0.3, -0.1, 2.0),
            focal_px: 317.0,
            center_px: Vector2::new(191.5, 143.5),
            radial: -0.12,
        }
    }

    #[test]
    fn agrees_with_the_camera_of_the_crate() {
        let pinhole = LensCamera { radial: 0.0, ..camera() };
        let x = Vector3::new(0.4, -0.3, 1.7);
        let (pixel, _) = pinhole.to_camera().project(&Point3::from(x));
        assert!((pixel - pinhole.project(&x).unwrap()).norm() < 1e-9);
        let back = LensCamera::new(&pinhole.to_camera());
        assert!((back.rotation.matrix() - pinhole.rotation.matrix()).norm() < 1e-12);
        assert!((back.center() - pinhole.center()).norm() < 1e-12);
    }

    #[test]
    fn a_ray_undoes_projection_with_distortion() {
        let x = Vector3::new(0.4, -0.3, 1.7);
        let pixel = camera().project(&x).unwrap();
        let along = (x - camera().center()).normalize();
        assert!((camera().ray(&pixel) - along).norm() < 1e-9);
    }

    #[test]
    fn nothing_behind_is_projected() {
        let behind = camera().center() - camera().rotation.inverse() * Vector3::z();
        assert!(camera().project(&behind).is_none() && camera().linearize(&behind).is_none());
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let x = Vector3::new(0.4, -0.3, 1.7);
        let at = camera().linearize(&x).unwrap();
        let h = 1e-6;
        let near = |got: Vector2<f64>, want: Vector2<f64>, what: &str| {
            assert!((got - want).norm() < 1e-5 * want.norm().max(1.0), "{what}: {got} {want}");
        };
        for i in 0..6 {
            let mut step = Vector6::zeros();
            step[i] = h;
            let plus = camera().moved(&step).project(&x).unwrap();
            let minus = camera().moved(&-step).project(&x).unwrap();
            near(at.by_twist().column(i).into_owned(), (plus - minus) / (2.0 * h), "twist");
        }
        for i in 0..3 {
            let mut step = Vector3::zeros();
            step[i] = h;
            let slope =
                (camera().project(&(x + step)).unwrap() - camera().project(&(x - step)).unwrap()) / (2.0 * h);
            let by_point = at.by_camera_point * camera().rotation.matrix();
            near(by_point.column(i).into_owned(), slope, "point");
        }
        for i in 0..4 {
            let lens = |h: f64| {
                let mut c = camera();
                match i {
                    0 => c.focal_px *= h.exp(),
                    1 => c.center_px.x += h,
                    2 => c.center_px.y += h,
                    _ => c.radial += h,
                }
                c.project(&x).unwrap()
            };
            near(at.by_lens.column(i).into_owned(), (lens(h) - lens(-h)) / (2.0 * h), "lens");
        }
    }
}
