//! Scene files and pictures: what a reconstruction leaves on disk.
//!
//! Every function writes one file (or, for COLMAP, the files of one folder) at the path it is given, and its errors
//! name that path. Writing beside and renaming is the caller's part.

mod cameras_json;
mod colmap;
mod depth_picture;
mod glb;
mod match_picture;
mod placement;
mod ply;
mod preview;
#[cfg(test)]
mod test_scene;

pub use cameras_json::{CameraEntry, camera_entries, write_cameras_json};
pub use colmap::write_colmap;
pub use depth_picture::{confidence_picture, depth_picture};
pub use glb::write_glb;
pub use match_picture::{MatchLine, match_picture};
pub use ply::write_ply;
pub use preview::preview;

use crate::photo::Pinhole;
use image::{ImageFormat, RgbImage};
use nalgebra::Isometry3;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A coloured point cloud in world coordinates.
#[derive(Clone, Debug, Default)]
pub struct SceneCloud {
    /// Positions; finite.
    pub points: Vec<[f32; 3]>,
    /// One colour for each point.
    pub colors: Vec<[u8; 3]>,
    /// One unit normal for each point.
    pub normals: Option<Vec<[f32; 3]>>,
}

/// A photo with its camera.
#[derive(Clone, Debug)]
pub struct ScenePhoto {
    /// Unique within the scene.
    pub name: String,
    /// Width and height of the upright photo.
    pub size: [u32; 2],
    /// The camera in pixels of the upright photo.
    pub pinhole: Pinhole,
    /// First radial distortion coefficient: a direction `(u, v, 1)` appears at `f (1 + radial (u² + v²)) (u, v)` off the
    /// principal point.
    pub radial: f64,
    /// Maps camera coordinates (x right, y down, z forward) to world coordinates; `None` if the photo could not
    /// be registered.
    pub world_from_camera: Option<Isometry3<f64>>,
    /// The whole upright photo, small.
    pub thumbnail: RgbImage,
}

/// A point seen in several photos.
#[derive(Clone, Debug)]
pub struct Track {
    /// Position.
    pub point_in_world: [f64; 3],
    /// Colour.
    pub color: [u8; 3],
    /// Mean distance between the observations and the projections of the point, in pixels of the upright photos.
    pub reprojection_error_px: f64,
    /// Where it was seen. At most one observation for each photo.
    pub observations: Vec<Observation>,
}

/// Where a photo shows the point of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Index of the photo in the scene's list.
    pub photo: usize,
    /// Point of the upright photo; the centre of the top-left pixel is (0.5, 0.5).
    pub point_px: [f64; 2],
}

/// Why a scene file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file system refused.
    #[error("`{}` cannot be written: {cause}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The picture or JSON could not be encoded.
    #[error("`{}` cannot be encoded: {reason}", .path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder says.
        reason: String,
    },
    /// The scene cannot be stored in this format.
    #[error("`{}`: {argument} must be {expected}, got {found}", .path.display())]
    Scene {
        /// The file.
        path: PathBuf,
        /// Which part of the scene.
        argument: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl WriteError {
    fn scene(path: &Path, argument: &'static str, expected: &'static str, found: impl ToString) -> Self {
        Self::Scene { path: path.to_owned(), argument, expected, found: found.to_string() }
    }
}

impl SceneCloud {
    /// Checks that there are points, as many colours and normals, and that all positions are finite.
    fn check(&self, path: &Path) -> Result<(), WriteError> {
        let points = self.points.len();
        if points == 0 {
            return Err(WriteError::scene(path, "`points`", "at least one point", "none"));
        }
        if self.colors.len() != points {
            return Err(WriteError::scene(path, "`colors`", "as many as `points`", self.colors.len()));
        }
        if let Some(normals) = &self.normals
            && normals.len() != points
        {
            return Err(WriteError::scene(path, "`normals`", "as many as `points`", normals.len()));
        }
        match self.points.iter().position(|p| p.iter().any(|v| !v.is_finite())) {
            None => Ok(()),
            Some(i) => {
                Err(WriteError::scene(path, "`points`", "finite", format!("{:?} at {i}", self.points[i])))
            }
        }
    }
}

/// Encodes a picture by the ending of its name (`.png`, `.jpg`).
///
/// # Errors
/// [`WriteError::Io`], or [`WriteError::Encode`] for another ending.
pub fn write_picture(path: &Path, picture: &RgbImage) -> Result<(), WriteError> {
    let encode = |reason: String| WriteError::Encode { path: path.to_owned(), reason };
    let format = ImageFormat::from_path(path).map_err(|error| encode(error.to_string()))?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).map_err(|error| encode(error.to_string()))?;
    write_file(path, |out| out.write_all(bytes.get_ref()))
}

/// Creates the file and writes it through a buffer; every error names the path.
fn write_file(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), WriteError> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        content(&mut out)?;
        out.flush()
    };
    write().map_err(|cause| WriteError::Io { path: path.to_owned(), cause })
}
