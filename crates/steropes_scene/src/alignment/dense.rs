//! Dense points from the aligned anchors.

use super::{AlignedImages, AlignmentError};
use crate::camera::Camera;
use rayon::prelude::*;
use steropes_ops::geometry::canonical_view::CanonicalView;
use steropes_ops::geometry::clean_pointcloud::{DenseView, clean_pointcloud};
use steropes_tensor::Device;

/// Depth, points and confidence of all pixels of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[height, width]`: depth along the optical axis.
    pub depth: Vec<f32>,
    /// `[height, width, 3]`: points in the world.
    pub points: Vec<f32>,
    /// `[height, width]`: confidence on the scale of the canonical view.
    pub confidence: Vec<f32>,
}

impl DenseImage {
    /// Points from a depth map and its camera.
    ///
    /// # Errors
    /// [`AlignmentError::Value`] if a list does not fit the size.
    pub fn from_depth(
        camera: &Camera,
        [width, height]: [usize; 2],
        depth: Vec<f32>,
        confidence: Vec<f32>,
    ) -> Result<Self, AlignmentError> {
        for (name, len) in [("depth", depth.len()), ("confidence", confidence.len())] {
            if len != width * height {
                return Err(AlignmentError::value(name, format!("{} values", width * height), len));
            }
        }
        let mut points = vec![0.0f32; 3 * depth.len()];
        points.par_chunks_mut(3 * width).zip(depth.par_chunks(width)).enumerate().for_each(
            |(y, (points, depth))| {
                for (x, (p, &z)) in points.chunks_exact_mut(3).zip(depth).enumerate() {
                    let world = camera.unproject([x as f64, y as f64], f64::from(z));
                    p.copy_from_slice(&[world.x as f32, world.y as f32, world.z as f32]);
                }
            },
        );
        Ok(Self { width, height, depth, points, confidence })
    }
}

/// `[height, width]`: depths of all pixels, `D[k] (1 + (relative - 1) base_focal / focal)` with the anchor `k` of
/// the pixel and its depth relative to it.
///
/// # Errors
/// [`AlignmentError::Value`] if there is not one depth per anchor.
pub fn dense_depth(
    view: &CanonicalView,
    anchor_depths: &[f32],
    base_focal_px: f64,
    focal_px: f64,
) -> Result<Vec<f32>, AlignmentError> {
    let [columns, rows] = view.anchor_grid();
    if anchor_depths.len() != columns * rows {
        let expected = format!("{} values", columns * rows);
        return Err(AlignmentError::value("anchor_depths", expected, anchor_depths.len()));
    }
    let relief = base_focal_px / focal_px;
    let mut depth = vec![0.0f32; view.width * view.height];
    depth.par_chunks_mut(view.width).enumerate().for_each(|(y, row)| {
        for (x, depth) in row.iter_mut().enumerate() {
            let anchor = f64::from(anchor_depths[view.anchor_of(x, y)]);
            *depth = (anchor * (1.0 + (f64::from(view.offset(x, y)) - 1.0) * relief)) as f32;
        }
    });
    Ok(depth)
}

/// Dense points of all images, not cleaned.
///
/// # Errors
/// [`AlignmentError::Value`] if there is not one canonical view of the right size per image.
pub fn dense_images(
    aligned: &AlignedImages,
    views: &[&CanonicalView],
) -> Result<Vec<DenseImage>, AlignmentError> {
    if views.len() != aligned.cameras.len() {
        return Err(AlignmentError::value("views", format!("{} views", aligned.cameras.len()), views.len()));
    }
    let image = |(i, view): (usize, &&CanonicalView)| {
        let camera = &aligned.cameras[i];
        let focals = (aligned.base_focals_px[i], camera.intrinsics.focal_px);
        let depth = dense_depth(view, &aligned.anchor_depths[i], focals.0, focals.1)?;
        DenseImage::from_depth(camera, [view.width, view.height], depth, view.confidence.clone())
    };
    views.iter().enumerate().map(image).collect()
}

/// Sets the confidence of points that other images see through to 0; `tolerance` (0.001 in the published program) is
/// how much nearer than the other image's surface they must be, relative to its depth.
///
/// # Errors
/// [`AlignmentError`] if there is not one camera per image.
pub fn clean(images: &mut [DenseImage], cameras: &[Camera], tolerance: f64) -> Result<(), AlignmentError> {
    clean_on(images, cameras, tolerance, &Device::Cpu)
}

/// [`clean`] on a device; on a GPU points at a boundary of the rule may fall on its other side, as
/// [`clean_pointcloud`] says.
///
/// # Errors
/// [`AlignmentError`] if there is not one camera per image, or if the device failed.
pub fn clean_on(
    images: &mut [DenseImage],
    cameras: &[Camera],
    tolerance: f64,
    device: &Device,
) -> Result<(), AlignmentError> {
    if images.len() != cameras.len() {
        return Err(AlignmentError::value("cameras", format!("{} cameras", images.len()), cameras.len()));
    }
    let view = |(image, camera): (&DenseImage, &Camera)| {
        let [cx, cy] = camera.intrinsics.center_px;
        (image.clone(), [camera.intrinsics.focal_px, cx, cy], camera_from_world(camera))
    };
    let kept: Vec<(DenseImage, [f64; 3], [[f64; 4]; 3])> = images.iter().zip(cameras).map(view).collect();
    let views: Vec<_> = kept
        .iter()
        .map(|(image, focal_center_px, camera_from_world)| DenseView {
            width: image.width,
            height: image.height,
            focal_center_px: *focal_center_px,
            camera_from_world: *camera_from_world,
            depth: &image.depth,
            points: &image.points,
            confidence: &image.confidence,
        })
        .collect();
    for (image, confidence) in images.iter_mut().zip(clean_pointcloud(&views, tolerance, 0.0, device)?) {
        image.confidence = confidence;
    }
    Ok(())
}

/// Rows of the 3x4 matrix that maps world points into the camera.
pub(super) fn camera_from_world(camera: &Camera) -> [[f64; 4]; 3] {
    let m = camera.world_from_camera.inverse().to_homogeneous();
    std::array::from_fn(|r| std::array::from_fn(|c| m[(r, c)]))
}
