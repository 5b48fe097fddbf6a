//! One photo: the network looks at it twice, as both photos of a pair.

use super::cameras::SquareFrame;
use super::pairs::{frame_intrinsics, network_image};
use super::report::PhotoReport;
use super::{Monitor, ReconstructError, Reconstruction, Scene, Surface};
use crate::Camera;
use crate::geometry::focal::{FocalRange, weiszfeld};
use crate::photo::Photo;
use nalgebra::Isometry3;
use steropes_models::Model;

/// The surface that the network sees in one photo, in the photo's own frame.
pub(super) fn reconstruct_one(
    photo: &Photo,
    model: &Model,
    monitor: &dyn Monitor,
) -> Result<Reconstruction, ReconstructError> {
    monitor.begin("encode", 1);
    let encoded = model.encode(&network_image(photo, model)?)?;
    monitor.step();
    monitor.end();
    monitor.begin("surface", 1);
    let (view, _) = model.decode(&encoded, &encoded)?;
    let values = view.points.read::<f32>()?;
    let confidence: Vec<f32> = view.confidence.read::<f32>()?;
    let [width, height] = photo.map.network_size.map(|s| s as usize);
    let center = frame_intrinsics(photo, 1.0).center_px;
    let focal_px = match photo.focal_prior {
        Some(prior) => photo.map.network_focal(prior.focal_px),
        None => weiszfeld(&values, [width, height], center, FocalRange::ALIGNMENT)?,
    };
    let camera =
        Camera { intrinsics: frame_intrinsics(photo, focal_px), world_from_camera: Isometry3::identity() };
    let points: Vec<[f32; 3]> = values.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
    let surface = Surface {
        width,
        height,
        depth: points.iter().map(|p| p[2]).collect(),
        points,
        // On the scale of the average pointmaps of pairs.
        confidence: confidence.iter().map(|c| c - 1.0).collect(),
        colors: photo.network_rgb.pixels().map(|p| p.0).collect(),
    };
    monitor.step();
    monitor.end();
    let scene = Scene {
        photos: vec![0],
        cameras: vec![camera],
        upright: vec![SquareFrame::new(photo).pinhole(focal_px)],
        radial: vec![0.0],
        tracks: Vec::new(),
        surfaces: vec![surface],
    };
    let report = PhotoReport::alone(photo, scene.upright[0].focal_px[0]);
    Ok(Reconstruction { scenes: vec![scene], photos: vec![report], pairs: Vec::new(), retrieval: None })
}
