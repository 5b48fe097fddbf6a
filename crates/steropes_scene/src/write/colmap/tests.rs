//! Readers written from the format's description, and round trips through both forms.

use super::*;
use crate::write::{Observation, test_scene};
use nalgebra::{Point3, Quaternion, UnitQuaternion, Vector3};
use std::path::PathBuf;

struct Bytes(Vec<u8>, usize);

impl Bytes {
    fn open(path: PathBuf) -> Self {
        Self(std::fs::read(path).unwrap(), 0)
    }
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.1 += N;
        self.0[self.1 - N..self.1].try_into().unwrap()
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.take())
    }
    fn name(&mut self) -> String {
        let end = self.1 + self.0[self.1..].iter().position(|&b| b == 0).unwrap();
        let name = String::from_utf8(self.0[self.1..end].to_vec()).unwrap();
        self.1 = end + 1;
        name
    }
    fn finish(self) {
        assert_eq!(self.1, self.0.len(), "bytes left over");
    }
}

/// The models in use and how many parameters each has.
const MODELS: [((i32, &str), usize); 4] =
    [(SIMPLE_PINHOLE, 3), (PINHOLE, 4), (SIMPLE_RADIAL, 4), (OPENCV, 8)];

fn read_bin(folder: &Path) -> Model {
    let mut file = Bytes::open(folder.join("cameras.bin"));
    let cameras = (0..file.u64())
        .map(|_| {
            let (id, model) = (file.u32(), file.u32());
            let size = [file.u64(), file.u64()];
            let (model, parameters) = MODELS.into_iter().find(|m| m.0.0 as u32 == model).unwrap();
            CameraRecord { id, size, model, parameters: (0..parameters).map(|_| file.f64()).collect() }
        })
        .collect();
    file.finish();
    let mut file = Bytes::open(folder.join("images.bin"));
    let images = (0..file.u64())
        .map(|_| ImageRecord {
            id: file.u32(),
            quaternion: [file.f64(), file.f64(), file.f64(), file.f64()],
            translation: [file.f64(), file.f64(), file.f64()],
            camera_id: file.u32(),
            name: file.name(),
            observations: (0..file.u64()).map(|_| ([file.f64(), file.f64()], file.u64())).collect(),
        })
        .collect();
    file.finish();
    let mut file = Bytes::open(folder.join("points3D.bin"));
    let points = (0..file.u64())
        .map(|_| PointRecord {
            id: file.u64(),
            position: [file.f64(), file.f64(), file.f64()],
            color: file.take(),
            error: file.f64(),
            track: (0..file.u64()).map(|_| [file.u32(), file.u32()]).collect(),
        })
        .collect();
    file.finish();
    Model { cameras, images, points }
}

fn lines(path: PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
}

fn numbers(words: &[&str]) -> Vec<f64> {
    words.iter().map(|w| w.parse().unwrap()).collect()
}

fn read_txt(folder: &Path) -> Model {
    let cameras = lines(folder.join("cameras.txt"))
        .iter()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            CameraRecord {
                id: words[0].parse().unwrap(),
                size: [words[2].parse().unwrap(), words[3].parse().unwrap()],
                model: MODELS.into_iter().find(|m| m.0.1 == words[1]).unwrap().0,
                parameters: numbers(&words[4..]),
            }
        })
        .collect();
    let images = lines(folder.join("images.txt"))
        .chunks(2)
        .map(|pair| {
            let words: Vec<_> = pair[0].splitn(10, ' ').collect();
            let values = numbers(&words[1..8]);
            let words_2d: Vec<_> = pair[1].split(' ').filter(|w| !w.is_empty()).collect();
            ImageRecord {
                id: words[0].parse().unwrap(),
                quaternion: values[..4].try_into().unwrap(),
                translation: values[4..].try_into().unwrap(),
                camera_id: words[8].parse().unwrap(),
                name: words[9].to_owned(),
                observations: words_2d
                    .chunks(3)
                    .map(|w| ([w[0].parse().unwrap(), w[1].parse().unwrap()], w[2].parse().unwrap()))
                    .collect(),
            }
        })
        .collect();
    let points = lines(folder.join("points3D.txt"))
        .iter()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            PointRecord {
                id: words[0].parse().unwrap(),
                position: numbers(&words[1..4]).try_into().unwrap(),
                color: [4, 5, 6].map(|i| words[i].parse().unwrap()),
                error: words[7].parse().unwrap(),
                track: words[8..].chunks(2).map(|w| [w[0].parse().unwrap(), w[1].parse().unwrap()]).collect(),
            }
        })
        .collect();
    Model { cameras, images, points }
}

#[test]
fn both_forms_hold_the_same_scene() {
    let folder = tempfile::tempdir().unwrap();
    let scene = test_scene::room();
    write_colmap(folder.path(), &scene.photos, &scene.tracks).unwrap();
    let model = Model::new(folder.path(), &scene.photos, &scene.tracks).unwrap();
    assert_eq!(read_bin(folder.path()), model);
    assert_eq!(read_txt(folder.path()), model);
}

/// Reads the model back and projects every point with COLMAP's conventions: it must meet its observations.
#[test]
fn points_project_onto_their_observations() {
    let folder = tempfile::tempdir().unwrap();
    let scene = test_scene::room();
    write_colmap(folder.path(), &scene.photos, &scene.tracks).unwrap();
    let model = read_bin(folder.path());
    assert!(model.points.len() > 20);
    for point in &model.points {
        for &[image_id, index] in &point.track {
            let image = model.images.iter().find(|i| i.id == image_id).unwrap();
            let camera = model.cameras.iter().find(|c| c.id == image.camera_id).unwrap();
            let [w, x, y, z] = image.quaternion;
            let rotation = UnitQuaternion::new_normalize(Quaternion::new(w, x, y, z));
            let p = rotation * Point3::from(point.position) + Vector3::from(image.translation);
            let (fx, fy, cx, cy) = match camera.parameters[..] {
                [f, cx, cy] => (f, f, cx, cy),
                [fx, fy, cx, cy] => (fx, fy, cx, cy),
                _ => panic!("three or four parameters"),
            };
            let (seen, id) = image.observations[index as usize];
            assert_eq!(id, point.id);
            assert!((fx * p.x / p.z + cx - seen[0]).abs() < 1e-6, "{image_id} {index}");
            assert!((fy * p.y / p.z + cy - seen[1]).abs() < 1e-6, "{image_id} {index}");
        }
    }
}

#[test]
fn photos_that_are_not_registered_leave_no_trace() {
    let mut scene = test_scene::room();
    let folder = tempfile::tempdir().unwrap();
    scene.photos[1].world_from_camera = None;
    let lone =
        vec![Observation { photo: 0, point_px: [1.0, 2.0] }, Observation { photo: 1, point_px: [3.0, 4.0] }];
    let lone = Track { observations: lone, ..scene.tracks[0].clone() };
    scene.tracks.push(lone);
    let model = Model::new(folder.path(), &scene.photos, &scene.tracks).unwrap();
    assert!(model.images.iter().all(|i| i.id != 2));
    assert!(model.points.iter().all(|p| p.id != scene.tracks.len() as u64 && p.track.len() >= 2));
    assert!(model.points.iter().flat_map(|p| &p.track).all(|[image, _]| *image != 2));
    scene.photos.iter_mut().for_each(|p| p.world_from_camera = None);
    let error = write_colmap(folder.path(), &scene.photos, &[]).unwrap_err().to_string();
    assert!(error.contains("at least one registered photo"), "{error}");
}

#[test]
fn equal_lenses_share_a_camera() {
    let scene = test_scene::room();
    let mut photos = scene.photos[..3].to_vec();
    photos[0].pinhole.focal_px = [400.0, 401.0];
    let model = Model::new(Path::new("colmap"), &photos, &[]).unwrap();
    assert_eq!(model.cameras.len(), 2);
    assert_eq!(model.cameras.iter().map(|c| c.model).collect::<Vec<_>>(), [PINHOLE, SIMPLE_PINHOLE]);
    assert_eq!(model.images[1].camera_id, model.images[2].camera_id);
}

#[test]
fn a_distorted_lens_has_a_model_that_says_so() {
    let mut scene = test_scene::room();
    scene.photos[0].radial = -0.25;
    scene.photos[1].radial = 0.125;
    scene.photos[1].pinhole.focal_px = [400.0, 401.0];
    let folder = tempfile::tempdir().unwrap();
    write_colmap(folder.path(), &scene.photos, &scene.tracks).unwrap();
    let model = read_bin(folder.path());
    assert_eq!(model, read_txt(folder.path()));
    assert_eq!((model.cameras[0].model, model.cameras[0].parameters[3]), (SIMPLE_RADIAL, -0.25));
    assert_eq!((model.cameras[1].model, model.cameras[1].parameters[4]), (OPENCV, 0.125));
    assert_eq!(model.cameras[2].model, SIMPLE_PINHOLE, "the third photo has another lens");
}
