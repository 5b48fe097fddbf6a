//! Pinhole cameras.

use nalgebra::{Isometry3, Point3, Vector2};

/// What a pinhole camera does to directions. Square pixels, no distortion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    /// Focal length in pixels.
    pub focal_px: f64,
    /// Principal point (x, y) in pixels; whole numbers are pixel samples, so the centre of a `W x H` image
    /// that counts its corner as (0, 0) is `(W/2 - 0.5, H/2 - 0.5)`.
    pub center_px: [f64; 2],
}

/// A photo's camera: axes x right, y down, z forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// Focal length and principal point.
    pub intrinsics: Intrinsics,
    /// Maps camera coordinates to world coordinates; its translation is the camera centre.
    pub world_from_camera: Isometry3<f64>,
}

impl Camera {
    /// The pixel where a world point appears and its depth along the optical axis; the pixel is meaningless
    /// where the depth is not positive.
    pub fn project(&self, point_in_world: &Point3<f64>) -> (Vector2<f64>, f64) {
        let p = self.world_from_camera.inverse_transform_point(point_in_world);
        let k = &self.intrinsics;
        (Vector2::new(k.focal_px * p.x / p.z + k.center_px[0], k.focal_px * p.y / p.z + k.center_px[1]), p.z)
    }

    /// The world point seen at `pixel` at `depth` along the optical axis.
    pub fn unproject(&self, pixel: [f64; 2], depth: f64) -> Point3<f64> {
        let k = &self.intrinsics;
        let x = (pixel[0] - k.center_px[0]) / k.focal_px * depth;
        let y = (pixel[1] - k.center_px[1]) / k.focal_px * depth;
        self.world_from_camera * Point3::new(x, y, depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Vector3;

    #[test]
    fn projection_undoes_unprojection() {
        let camera = Camera {
            intrinsics: Intrinsics { focal_px: 300.0, center_px: [159.5, 119.5] },
            world_from_camera: Isometry3::new(Vector3::new(0.3, -0.2, 0.9), Vector3::new(0.1, 0.7, -0.3)),
        };
        let point = camera.unproject([17.0, 201.5], 2.5);
        let (pixel, depth) = camera.project(&point);
        assert!((pixel - Vector2::new(17.0, 201.5)).norm() < 1e-9 && (depth - 2.5).abs() < 1e-12);
    }
}
