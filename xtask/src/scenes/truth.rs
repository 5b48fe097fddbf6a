//! What is known about a photo set: `truth.json` and the depth pictures beside it.

use anyhow::Context as _;
use nalgebra::{Isometry3, Matrix4, Point3, Rotation3, Translation3, UnitQuaternion};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A photo set with its cameras.
#[derive(Deserialize)]
pub struct Truth {
    /// The photos.
    pub images: Vec<TruthPhoto>,
    depth: Option<DepthScale>,
    #[serde(skip)]
    folder: PathBuf,
}

/// A photo with its true camera where it is known.
#[derive(Deserialize)]
pub struct TruthPhoto {
    /// Path below the set's folder.
    pub file: String,
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
    /// Focal length in upright pixels.
    pub fx: Option<f64>,
    /// Focal length in upright pixels.
    pub fy: Option<f64>,
    /// Principal point; the corner of the image is (0, 0).
    pub cx: Option<f64>,
    /// Principal point; the corner of the image is (0, 0).
    pub cy: Option<f64>,
    depth: Option<String>,
    world_from_camera: Option<[[f64; 4]; 4]>,
}

#[derive(Deserialize)]
struct DepthScale {
    scale: f64,
    divisor: f64,
}

/// A true depth map: rows of distances along the optical axis, 0 where nothing is known.
pub struct DepthMap {
    /// Samples per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row-major distances.
    pub values: Vec<f64>,
    /// Photo pixels per sample.
    pub divisor: f64,
}

impl Truth {
    /// Reads `folder/truth.json`.
    ///
    /// # Errors
    /// The file is missing or has another form.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("truth.json");
        let text = std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
        let mut truth: Self = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        folder.clone_into(&mut truth.folder);
        Ok(truth)
    }

    /// The depth map of a photo, if the set has one.
    ///
    /// # Errors
    /// The picture cannot be read.
    pub fn depth(&self, photo: &TruthPhoto) -> anyhow::Result<Option<DepthMap>> {
        let (Some(file), Some(depth)) = (&photo.depth, &self.depth) else { return Ok(None) };
        let path = self.folder.join(file);
        let picture = image::open(&path).with_context(|| path.display().to_string())?.into_luma16();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let values = picture.into_raw().into_iter().map(|v| f64::from(v) * depth.scale).collect();
        Ok(Some(DepthMap { width, height, values, divisor: depth.divisor }))
    }
}

impl TruthPhoto {
    /// The last part of the path, by which photos are matched.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// The true pose.
    pub fn pose(&self) -> Option<Isometry3<f64>> {
        Some(pose(&self.world_from_camera?))
    }

    /// Focal lengths and principal point, if known.
    pub fn intrinsics(&self) -> Option<[f64; 4]> {
        Some([self.fx?, self.fy?, self.cx?, self.cy?])
    }
}

/// A rigid motion from the rows of its matrix.
pub(super) fn pose(rows: &[[f64; 4]; 4]) -> Isometry3<f64> {
    let m = Matrix4::from_fn(|r, c| rows[r][c]);
    let rotation = Rotation3::from_matrix(&m.fixed_view::<3, 3>(0, 0).into_owned());
    let translation = Translation3::new(m[(0, 3)], m[(1, 3)], m[(2, 3)]);
    Isometry3::from_parts(translation, UnitQuaternion::from_rotation_matrix(&rotation))
}

impl DepthMap {
    /// The camera-frame point of a sample, `None` where there is no depth.
    pub fn point(&self, x: usize, y: usize, [fx, fy, cx, cy]: [f64; 4]) -> Option<Point3<f64>> {
        let z = self.values[y * self.width + x];
        let pixel = |i: usize| (i as f64 + 0.5) * self.divisor;
        (z > 0.0).then(|| Point3::new((pixel(x) - cx) / fx * z, (pixel(y) - cy) / fy * z, z))
    }
}
