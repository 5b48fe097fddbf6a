//! A calibrated camera as the network sees through it: directions of pixels in the robot's frame.

use crate::{Calibration, WatchError};
use nalgebra::{Rotation3, Vector3};
use steropes_scene::photo::PixelMap;

/// Directions of the pixels of the network's image, in the frame of the robot: x forward, y left, z up, origin on the floor below the lens.
#[derive(Clone, Debug)]
pub struct Eye {
    /// Width and height of the network's image.
    pub size: [usize; 2],
    /// Focal lengths in pixels of the network's image.
    pub focal_px: [f64; 2],
    /// Principal point there; whole numbers are pixel samples.
    pub center_px: [f64; 2],
    /// Turns the camera's axes (x right, y down, z forward) into the robot's.
    pub robot_from_camera: Rotation3<f64>,
    /// Height of the lens above the floor; 1 if it is not known, so that lengths are in that unit.
    pub above_floor: f64,
    rays: Vec<Vector3<f64>>,
}

impl Eye {
    /// The camera of `calibration` through the network's image that `map` describes.
    ///
    /// # Errors
    /// [`WatchError::FrameSize`] if frames are of another size than the calibration's.
    pub fn new(calibration: &Calibration, map: &PixelMap) -> Result<Self, WatchError> {
        let camera = &calibration.camera;
        if map.upright_size != [camera.width, camera.height] {
            return Err(WatchError::FrameSize {
                expected: [camera.width, camera.height],
                found: map.upright_size,
            });
        }
        let scale = map.scale();
        let size = map.network_size.map(|side| side as usize);
        let focal_px = [0, 1].map(|axis| camera.focal_px[axis] / scale[axis]);
        let center_px = map.network_from_upright(camera.center_px);
        let robot_from_camera = mounting(camera.pitch, camera.roll, camera.yaw);
        let above_floor = camera.above_floor.unwrap_or(1.0);
        let mut eye = Self { size, focal_px, center_px, robot_from_camera, above_floor, rays: Vec::new() };
        let pixels = (0..size[1]).flat_map(|y| (0..size[0]).map(move |x| [x as f64, y as f64]));
        eye.rays = pixels.map(|pixel| eye.ray(pixel)).collect();
        Ok(eye)
    }

    /// The robot's direction of a pixel, of length such that its part along the optical axis is 1.
    pub fn ray(&self, pixel: [f64; 2]) -> Vector3<f64> {
        let [x, y] = [0, 1].map(|axis| (pixel[axis] - self.center_px[axis]) / self.focal_px[axis]);
        self.robot_from_camera * Vector3::new(x, y, 1.0)
    }

    /// The direction of pixel `i`, counted row by row.
    pub fn ray_of(&self, i: usize) -> Vector3<f64> {
        self.rays[i]
    }

    /// The point at `depth` along the optical axis seen by pixel `i`.
    pub fn point(&self, i: usize, depth: f64) -> Vector3<f64> {
        self.rays[i] * depth + Vector3::new(0.0, 0.0, self.above_floor)
    }

    /// The pixel that sees a point, and its depth; `None` if it is not in front of the camera.
    pub fn project(&self, point: &Vector3<f64>) -> Option<([f64; 2], f64)> {
        let p = self.robot_from_camera.inverse() * (point - Vector3::new(0.0, 0.0, self.above_floor));
        let pixel = [
            self.focal_px[0] * p.x / p.z + self.center_px[0],
            self.focal_px[1] * p.y / p.z + self.center_px[1],
        ];
        (p.z > 1e-6).then_some((pixel, p.z))
    }

    /// Whether a point lies in the picture.
    pub fn sees(&self, point: &Vector3<f64>) -> bool {
        self.project(point).is_some_and(|(pixel, _)| {
            (0..2).all(|axis| (-0.5..self.size[axis] as f64 - 0.5).contains(&pixel[axis]))
        })
    }
}

/// Turns the axes of a camera that looks `pitch` down, hangs `roll` to the right and looks `yaw` to the left into the robot's.
fn mounting(pitch: f64, roll: f64, yaw: f64) -> Rotation3<f64> {
    let level = Rotation3::from_matrix_unchecked(nalgebra::Matrix3::new(
        0.0, 0.0, 1.0, //
        -1.0, 0.0, 0.0, //
        0.0, -1.0, 0.0,
    ));
    let about = |axis: Vector3<f64>, degrees: f64| {
        Rotation3::from_axis_angle(&nalgebra::Unit::new_unchecked(axis), degrees.to_radians())
    };
    about(Vector3::z(), yaw) * about(Vector3::y(), pitch) * about(Vector3::x(), roll) * level
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::calibration::tests::robot;
    use std::path::Path;
    use steropes_scene::photo::{InputFormat, Orientation};

    /// The eye of a calibration at the size that the watch uses.
    pub(crate) fn eye(calibration: &Calibration) -> Eye {
        let format = InputFormat { preset: 320, patch: 16, square_ok: false };
        let size = [calibration.camera.width, calibration.camera.height];
        let map = PixelMap::new(Path::new("frame"), size, Orientation::NoTransforms, &format).unwrap();
        Eye::new(calibration, &map).unwrap()
    }

    #[test]
    fn a_camera_that_looks_down_sees_the_floor_where_it_must() {
        let eye = eye(&robot());
        assert_eq!(eye.size, [320, 176]);
        let (pixel, depth) = eye.project(&Vector3::new(2.0, 0.3, 0.0)).unwrap();
        // By hand: 5 degrees down, 0.55 m high.
        let (s, c) = 5f64.to_radians().sin_cos();
        let want_depth = 2.0 * c + 0.55 * s;
        let down = 0.55 * c - 2.0 * s;
        assert!((depth - want_depth).abs() < 1e-9);
        assert!((pixel[0] - (eye.center_px[0] - 215.0 * 0.3 / want_depth)).abs() < 1e-9);
        assert!((pixel[1] - (eye.center_px[1] + 215.0 * down / want_depth)).abs() < 1e-9);
        let back = eye.ray(pixel) * depth + Vector3::new(0.0, 0.0, 0.55);
        assert!((back - Vector3::new(2.0, 0.3, 0.0)).norm() < 1e-9);
    }

    #[test]
    fn yaw_is_to_the_left_and_roll_to_the_right() {
        let mut turned = robot();
        turned.camera.yaw = 30.0;
        let middle = |calibration: &Calibration| {
            let eye = eye(calibration);
            eye.ray(eye.center_px)
        };
        assert!(middle(&turned).y > 0.45);
        let mut rolled = robot();
        rolled.camera.roll = 10.0;
        let eye = eye(&rolled);
        // The right side of the picture hangs down: what it shows at the middle row lies lower.
        assert!(eye.ray([eye.center_px[0] + 100.0, eye.center_px[1]]).z < eye.ray(eye.center_px).z - 0.05);
    }

    #[test]
    fn frames_of_another_size_are_refused() {
        let mut other = robot();
        other.camera.width = 1280;
        let format = InputFormat { preset: 320, patch: 16, square_ok: false };
        let map = PixelMap::new(Path::new("frame"), [640, 360], Orientation::NoTransforms, &format).unwrap();
        assert!(Eye::new(&other, &map).unwrap_err().to_string().contains("calibrate for this size"));
    }
}
