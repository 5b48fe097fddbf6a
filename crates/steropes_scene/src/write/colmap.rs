//! COLMAP sparse models: cameras, images and points3D, as .bin and as .txt.

use super::{ScenePhoto, Track, WriteError, write_file};
use crate::photo::Pinhole;
use nalgebra::Isometry3;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

/// COLMAP's model numbers.
const SIMPLE_PINHOLE: (i32, &str) = (0, "SIMPLE_PINHOLE");
const PINHOLE: (i32, &str) = (1, "PINHOLE");
const SIMPLE_RADIAL: (i32, &str) = (2, "SIMPLE_RADIAL");
const OPENCV: (i32, &str) = (4, "OPENCV");

/// Writes `cameras`, `images` and `points3D`, each as .bin and as .txt, into the folder, which must exist.
///
/// Pixels are those of the upright photos. Only registered photos are written; photos with the very same size and
/// lens share a camera. Image ids are places in `photos` counted from 1, point ids places in `tracks` counted from 1.
/// COLMAP itself cuts names at a space when it reads the text form; the binary form holds every name.
/// Tracks keep their observations in registered photos; tracks with fewer than two of them are left out.
///
/// # Errors
/// [`WriteError::Io`]; [`WriteError::Scene`] if no photo is registered or an observation names a photo that does not
/// exist.
///
/// # Source
/// The output format as documented by COLMAP (colmap.github.io/format.html).
pub fn write_colmap(folder: &Path, photos: &[ScenePhoto], tracks: &[Track]) -> Result<(), WriteError> {
    let model = Model::new(folder, photos, tracks)?;
    write_file(&folder.join("cameras.bin"), |out| model.cameras_bin(out))?;
    write_file(&folder.join("images.bin"), |out| model.images_bin(out))?;
    write_file(&folder.join("points3D.bin"), |out| model.points_bin(out))?;
    write_file(&folder.join("cameras.txt"), |out| model.cameras_txt(out))?;
    write_file(&folder.join("images.txt"), |out| model.images_txt(out))?;
    write_file(&folder.join("points3D.txt"), |out| model.points_txt(out))
}

/// The scene with COLMAP's ids, ready to be written in either form.
#[derive(Debug, PartialEq)]
struct Model {
    cameras: Vec<CameraRecord>,
    images: Vec<ImageRecord>,
    points: Vec<PointRecord>,
}

#[derive(Debug, PartialEq)]
struct CameraRecord {
    id: u32,
    size: [u64; 2],
    /// Number and name of the model.
    model: (i32, &'static str),
    /// f or fx fy, cx cy, and what the model has of distortion.
    parameters: Vec<f64>,
}

#[derive(Debug, PartialEq)]
struct ImageRecord {
    id: u32,
    /// Rotation of camera from world: w x y z.
    quaternion: [f64; 4],
    /// Translation of camera from world.
    translation: [f64; 3],
    camera_id: u32,
    name: String,
    /// Position and point id.
    observations: Vec<([f64; 2], u64)>,
}

#[derive(Debug, PartialEq)]
struct PointRecord {
    id: u64,
    position: [f64; 3],
    color: [u8; 3],
    error: f64,
    /// Image id and index into its observations.
    track: Vec<[u32; 2]>,
}

impl CameraRecord {
    /// The simplest model that holds the lens.
    fn new(id: u32, size: [u32; 2], pinhole: &Pinhole, radial: f64) -> Self {
        let ([fx, fy], [cx, cy]) = (pinhole.focal_px, pinhole.center_px);
        let (model, parameters) = match (fx == fy, radial == 0.0) {
            (true, true) => (SIMPLE_PINHOLE, vec![fx, cx, cy]),
            (false, true) => (PINHOLE, vec![fx, fy, cx, cy]),
            (true, false) => (SIMPLE_RADIAL, vec![fx, cx, cy, radial]),
            (false, false) => (OPENCV, vec![fx, fy, cx, cy, radial, 0.0, 0.0, 0.0]),
        };
        Self { id, size: size.map(u64::from), model, parameters }
    }
}

impl Model {
    fn new(folder: &Path, photos: &[ScenePhoto], tracks: &[Track]) -> Result<Self, WriteError> {
        let mut model = Self { cameras: Vec::new(), images: Vec::new(), points: Vec::new() };
        let mut image_of_photo = HashMap::new();
        for (index, photo) in photos.iter().enumerate() {
            if let Some(pose) = &photo.world_from_camera {
                let camera_id = model.camera_id(photo);
                image_of_photo.insert(index, model.images.len());
                model.images.push(image_record(index as u32 + 1, photo, pose, camera_id));
            }
        }
        if model.images.is_empty() {
            return Err(WriteError::scene(folder, "`photos`", "at least one registered photo", "none"));
        }
        for (index, track) in tracks.iter().enumerate() {
            if let Some(wrong) = track.observations.iter().find(|o| o.photo >= photos.len()) {
                return Err(WriteError::scene(folder, "`tracks`", "about photos of the scene", wrong.photo));
            }
            model.add_point(index as u64 + 1, track, &image_of_photo);
        }
        Ok(model)
    }

    /// The id of the camera with this photo's size and lens; a new one if there is none.
    fn camera_id(&mut self, photo: &ScenePhoto) -> u32 {
        let id = self.cameras.len() as u32 + 1;
        let camera = CameraRecord::new(id, photo.size, &photo.pinhole, photo.radial);
        let same = |c: &&CameraRecord| {
            c.size == camera.size && c.model == camera.model && c.parameters == camera.parameters
        };
        if let Some(known) = self.cameras.iter().find(same) {
            return known.id;
        }
        self.cameras.push(camera);
        id
    }

    fn add_point(&mut self, id: u64, track: &Track, image_of_photo: &HashMap<usize, usize>) {
        let seen: Vec<_> = track
            .observations
            .iter()
            .filter_map(|o| Some((*image_of_photo.get(&o.photo)?, o.point_px)))
            .collect();
        if seen.len() < 2 {
            return;
        }
        let refs = seen.into_iter().map(|(image, point_px)| {
            let image = &mut self.images[image];
            image.observations.push((point_px, id));
            [image.id, image.observations.len() as u32 - 1]
        });
        let track_refs = refs.collect();
        self.points.push(PointRecord {
            id,
            position: track.point_in_world,
            color: track.color,
            error: track.reprojection_error_px,
            track: track_refs,
        });
    }

    fn cameras_bin(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(self.cameras.len() as u64).to_le_bytes())?;
        for camera in &self.cameras {
            out.write_all(&camera.id.to_le_bytes())?;
            out.write_all(&camera.model.0.to_le_bytes())?;
            for side in camera.size {
                out.write_all(&side.to_le_bytes())?;
            }
            write_f64(out, &camera.parameters)?;
        }
        Ok(())
    }

    fn images_bin(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(self.images.len() as u64).to_le_bytes())?;
        for image in &self.images {
            out.write_all(&image.id.to_le_bytes())?;
            write_f64(out, &image.quaternion)?;
            write_f64(out, &image.translation)?;
            out.write_all(&image.camera_id.to_le_bytes())?;
            out.write_all(image.name.as_bytes())?;
            out.write_all(&[0])?;
            out.write_all(&(image.observations.len() as u64).to_le_bytes())?;
            for (point_px, point_id) in &image.observations {
                write_f64(out, point_px)?;
                out.write_all(&point_id.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn points_bin(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(self.points.len() as u64).to_le_bytes())?;
        for point in &self.points {
            out.write_all(&point.id.to_le_bytes())?;
            write_f64(out, &point.position)?;
            out.write_all(&point.color)?;
            write_f64(out, &[point.error])?;
            out.write_all(&(point.track.len() as u64).to_le_bytes())?;
            for [image_id, index] in &point.track {
                out.write_all(&image_id.to_le_bytes())?;
                out.write_all(&index.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn cameras_txt(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n# Number of cameras: {}",
            self.cameras.len()
        )?;
        for camera in &self.cameras {
            let [width, height] = camera.size;
            writeln!(
                out,
                "{} {} {width} {height} {}",
                camera.id,
                camera.model.1,
                joined(&camera.parameters)
            )?;
        }
        Ok(())
    }

    fn images_txt(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "# Two lines for each image:\n# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")?;
        writeln!(out, "# POINTS2D[] as (X, Y, POINT3D_ID)\n# Number of images: {}", self.images.len())?;
        for image in &self.images {
            let (rotation, translation) = (joined(&image.quaternion), joined(&image.translation));
            writeln!(out, "{} {rotation} {translation} {} {}", image.id, image.camera_id, image.name)?;
            let observation = |([x, y], id): &([f64; 2], u64)| format!("{x} {y} {id}");
            writeln!(out, "{}", image.observations.iter().map(observation).collect::<Vec<_>>().join(" "))?;
        }
        Ok(())
    }

    fn points_txt(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "# POINT3D_ID X Y Z R G B ERROR TRACK[] as (IMAGE_ID, POINT2D_IDX)")?;
        writeln!(out, "# Number of points: {}", self.points.len())?;
        for point in &self.points {
            let [r, g, b] = point.color;
            write!(out, "{} {} {r} {g} {b} {}", point.id, joined(&point.position), point.error)?;
            for [image_id, index] in &point.track {
                write!(out, " {image_id} {index}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn image_record(
    id: u32,
    photo: &ScenePhoto,
    world_from_camera: &Isometry3<f64>,
    camera_id: u32,
) -> ImageRecord {
    let camera_from_world = world_from_camera.inverse();
    let q = camera_from_world.rotation;
    ImageRecord {
        id,
        quaternion: [q.w, q.i, q.j, q.k],
        translation: camera_from_world.translation.vector.into(),
        camera_id,
        // The text form ends a name at the end of its line.
        name: photo.name.replace(['\n', '\r', '\0'], "_"),
        observations: Vec::new(),
    }
}

fn write_f64(out: &mut dyn Write, values: &[f64]) -> io::Result<()> {
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// Shortest decimal numbers that read back to the same bits.
fn joined(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
