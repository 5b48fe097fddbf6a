//! The container, the accessors and the axes, read back byte by byte.

use super::*;
use crate::write::test_scene;
use nalgebra::{Isometry3, Point3, Quaternion};

struct File {
    json: Value,
    binary: Vec<u8>,
}

fn read(path: &Path) -> File {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], word(4), word(8)), (&b"glTF"[..], 2, bytes.len()));
    let text_len = word(12);
    assert_eq!((text_len % 4, &bytes[16..20]), (0, &b"JSON"[..]));
    let binary_at = 20 + text_len;
    assert_eq!(&bytes[binary_at + 4..binary_at + 8], b"BIN\0");
    assert_eq!((word(binary_at) % 4, binary_at + 8 + word(binary_at)), (0, bytes.len()));
    File {
        json: serde_json::from_slice(&bytes[20..binary_at]).unwrap(),
        binary: bytes[binary_at + 8..].to_vec(),
    }
}

impl File {
    fn number(&self, value: &Value) -> usize {
        value.as_u64().unwrap_or(0) as usize
    }

    fn view(&self, index: &Value) -> &[u8] {
        let view = &self.json["bufferViews"][self.number(index)];
        let offset = self.number(&view["byteOffset"]);
        assert_eq!(offset % 4, 0, "aligned");
        &self.binary[offset..offset + self.number(&view["byteLength"])]
    }

    fn floats(&self, accessor: &Value, width: usize) -> Vec<Vec<f32>> {
        let accessor = &self.json["accessors"][self.number(accessor)];
        assert_eq!(accessor["componentType"], 5126);
        let bytes = self.view(&accessor["bufferView"]);
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let rows: Vec<Vec<f32>> = values.chunks_exact(width).map(<[f32]>::to_vec).collect();
        assert_eq!(rows.len(), self.number(&accessor["count"]));
        if let Some(min) = accessor["min"].as_array() {
            for (axis, low) in min.iter().enumerate() {
                let column = || rows.iter().map(|row| row[axis]);
                assert_eq!(low.as_f64().unwrap() as f32, column().fold(f32::INFINITY, f32::min));
                let high = accessor["max"][axis].as_f64().unwrap() as f32;
                assert_eq!(high, column().fold(f32::NEG_INFINITY, f32::max));
            }
        }
        rows
    }

    fn node(&self, name: &str) -> &Value {
        self.json["nodes"].as_array().unwrap().iter().find(|n| n["name"] == name).unwrap()
    }

    fn pose(&self, node: &Value) -> Isometry3<f64> {
        let v = |key: &str, i: usize| node[key][i].as_f64().unwrap();
        let rotation =
            Quaternion::new(v("rotation", 3), v("rotation", 0), v("rotation", 1), v("rotation", 2));
        let translation = Vector3::new(v("translation", 0), v("translation", 1), v("translation", 2));
        Isometry3::from_parts(translation.into(), UnitQuaternion::new_normalize(rotation))
    }
}

fn written() -> (test_scene::TestScene, File) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.glb");
    let scene = test_scene::room();
    write_glb(&path, &scene.cloud, &scene.photos).unwrap();
    (scene, read(&path))
}

#[test]
fn points_and_colours_come_back() {
    let (scene, file) = written();
    let mesh = &file.json["meshes"][file.number(&file.node("points")["mesh"])];
    let primitive = &mesh["primitives"][0];
    assert_eq!(primitive["mode"], 0);
    let positions = file.floats(&primitive["attributes"]["POSITION"], 3);
    assert_eq!(positions.len(), scene.cloud.points.len());
    assert_eq!(positions[777], scene.cloud.points[777]);
    let colors = &file.json["accessors"][file.number(&primitive["attributes"]["COLOR_0"])];
    assert_eq!((&colors["normalized"], &colors["componentType"]), (&Value::from(true), &Value::from(5121)));
    let [r, g, b] = scene.cloud.colors[777];
    assert_eq!(file.view(&colors["bufferView"])[4 * 777..4 * 778], [r, g, b, 255]);
    assert!(positions.iter().flatten().all(|v| v.is_finite()));
    assert!(file.number(&file.json["buffers"][0]["byteLength"]) <= file.binary.len());
}

/// What the first camera sees in front of it lies on the -z axis, and what is above it in the photo has larger y.
#[test]
fn the_first_camera_looks_along_minus_z_with_y_up() {
    let (scene, file) = written();
    let turn = file.pose(file.node("scene"));
    let first = scene.photos[0].world_from_camera.unwrap();
    let ahead = turn * (first * Point3::new(0.0, 0.0, 2.0));
    assert!((ahead - Point3::new(0.0, 0.0, -2.0)).norm() < 1e-5, "{ahead}");
    let above_right = turn * (first * Point3::new(0.5, -0.25, 2.0));
    assert!((above_right - Point3::new(0.5, 0.25, -2.0)).norm() < 1e-5, "{above_right}");
}

#[test]
fn each_registered_photo_has_frustum_picture_and_camera() {
    let (scene, file) = written();
    for (index, photo, pose) in registered(&scene.photos) {
        let node = file.node(&photo.name);
        let got = file.pose(node);
        assert!((got.translation.vector - pose.translation.vector).norm() < 1e-6);
        assert!(got.rotation.angle_to(&pose.rotation) < 1e-3);
        let primitives = &file.json["meshes"][file.number(&node["mesh"])]["primitives"];
        // Lines, and triangles, which are the default.
        assert_eq!((&primitives[0]["mode"], primitives[1].get("mode")), (&Value::from(1), None));
        let corners = file.floats(&primitives[1]["attributes"]["POSITION"], 3);
        let [fx, _] = photo.pinhole.focal_px;
        // The picture plane spans the photo's angle of view.
        let half_width = (corners[1][0] - corners[0][0]) / 2.0 / corners[0][2];
        assert!((f64::from(half_width) - f64::from(photo.size[0]) / 2.0 / fx).abs() < 1e-5, "{index}");
        assert_eq!(file.floats(&primitives[1]["attributes"]["TEXCOORD_0"], 2)[0], [0.0, 0.0], "top left");
        let camera =
            &file.json["cameras"][file.number(&file.node(&format!("view of {}", photo.name))["camera"])];
        let yfov = camera["perspective"]["yfov"].as_f64().unwrap();
        assert!((yfov - 2.0 * (f64::from(photo.size[1]) / 2.0 / 520.0).atan()).abs() < 1e-5);
    }
    assert_eq!(file.json["cameras"].as_array().unwrap().len(), 7);
    let picture = &file.json["images"][0];
    let jpeg = image::load_from_memory(file.view(&picture["bufferView"])).unwrap();
    assert_eq!((jpeg.width(), jpeg.height()), (128, 96));
}

#[test]
fn no_photos_are_fine_and_no_points_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.glb");
    let scene = test_scene::room();
    let error = write_glb(&path, &SceneCloud::default(), &scene.photos).unwrap_err().to_string();
    assert!(error.contains("scene.glb`: `points` must be at least one point, got none"), "{error}");
    assert!(!path.exists());
    write_glb(&path, &scene.cloud, &[]).unwrap();
    assert!(read(&path).json.get("cameras").is_none());
}
