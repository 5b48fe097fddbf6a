//! Cameras as JSON.

use super::{ScenePhoto, WriteError, write_file};
use nalgebra::Isometry3;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One photo in `cameras.json`. Lengths are pixels of the upright photo, whose top-left pixel has its centre at
/// (0.5, 0.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraEntry {
    /// Name of the photo.
    pub name: String,
    /// Width of the upright photo.
    pub width: u32,
    /// Height of the upright photo.
    pub height: u32,
    /// Focal length along x.
    pub fx: f64,
    /// Focal length along y.
    pub fy: f64,
    /// Principal point, x.
    pub cx: f64,
    /// Principal point, y.
    pub cy: f64,
    /// First radial distortion coefficient, as COLMAP's SIMPLE_RADIAL has it.
    pub k1: f64,
    /// Whether the photo has a place in the scene.
    pub registered: bool,
    /// Rows of the matrix that maps camera coordinates (x right, y down, z forward) to world coordinates; null if
    /// the photo is not registered.
    pub world_from_camera: Option<[[f64; 4]; 4]>,
}

/// The entries of all photos, in their order.
pub fn camera_entries(photos: &[ScenePhoto]) -> Vec<CameraEntry> {
    let rows = |pose: &Isometry3<f64>| {
        let matrix = pose.to_homogeneous();
        [0, 1, 2, 3].map(|row| [0, 1, 2, 3].map(|column| matrix[(row, column)]))
    };
    let entry = |photo: &ScenePhoto| CameraEntry {
        name: photo.name.clone(),
        width: photo.size[0],
        height: photo.size[1],
        fx: photo.pinhole.focal_px[0],
        fy: photo.pinhole.focal_px[1],
        cx: photo.pinhole.center_px[0],
        cy: photo.pinhole.center_px[1],
        k1: photo.radial,
        registered: photo.world_from_camera.is_some(),
        world_from_camera: photo.world_from_camera.as_ref().map(rows),
    };
    photos.iter().map(entry).collect()
}

/// Writes `{"cameras": [...]}`, one [`CameraEntry`] for each photo, registered or not.
///
/// # Errors
/// [`WriteError::Io`]; [`WriteError::Encode`] if a number is not finite.
pub fn write_cameras_json(path: &Path, photos: &[ScenePhoto]) -> Result<(), WriteError> {
    let encode = |reason: String| WriteError::Encode { path: path.to_owned(), reason };
    let cameras = camera_entries(photos);
    for camera in &cameras {
        let pose = camera.world_from_camera.iter().flatten().flatten();
        // JSON has no NaN; the encoder would write null.
        if ![camera.fx, camera.fy, camera.cx, camera.cy, camera.k1].iter().chain(pose).all(|v| v.is_finite())
        {
            return Err(encode(format!("the camera of `{}` is not finite", camera.name)));
        }
    }
    let text = serde_json::to_string_pretty(&serde_json::json!({ "cameras": cameras }))
        .map_err(|error| encode(error.to_string()))?;
    write_file(path, |out| writeln!(out, "{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::test_scene;
    use nalgebra::Point3;

    #[test]
    fn cameras_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.json");
        let scene = test_scene::room();
        write_cameras_json(&path, &scene.photos).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let read: Vec<CameraEntry> = serde_json::from_value(json["cameras"].clone()).unwrap();
        for (got, want) in read.iter().zip(camera_entries(&scene.photos)) {
            let numbers = |c: &CameraEntry| {
                let pose = c.world_from_camera.unwrap_or_default();
                [&[c.fx, c.fy, c.cx, c.cy], pose.as_flattened()].concat()
            };
            // The parser may be a last bit off.
            assert!(numbers(got).iter().zip(numbers(&want)).all(|(a, b)| (a - b).abs() < 1e-14));
            let facts = |c: &CameraEntry| (c.name.clone(), c.width, c.height, c.registered);
            assert_eq!(facts(got), facts(&want));
        }
        assert_eq!(read.len(), scene.photos.len());
        let last = read.last().unwrap();
        assert!(!last.registered && last.world_from_camera.is_none());
    }

    #[test]
    fn rows_map_camera_to_world() {
        let scene = test_scene::room();
        let rows = camera_entries(&scene.photos)[1].world_from_camera.unwrap();
        let point = Point3::new(0.3, -0.2, 2.0);
        let want = scene.photos[1].world_from_camera.unwrap() * point;
        for axis in 0..3 {
            let got =
                rows[axis][0] * point.x + rows[axis][1] * point.y + rows[axis][2] * point.z + rows[axis][3];
            assert!((got - want[axis]).abs() < 1e-12);
        }
    }

    #[test]
    fn a_camera_that_is_not_finite_is_refused() {
        let mut photos = test_scene::room().photos;
        photos[0].pinhole.focal_px[1] = f64::NAN;
        let error = write_cameras_json(Path::new("cameras.json"), &photos).unwrap_err().to_string();
        assert!(error.contains("cameras.json") && error.contains(&photos[0].name), "{error}");
    }
}
