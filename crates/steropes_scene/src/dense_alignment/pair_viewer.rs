//! Two images: no optimisation is needed, the better pair decides.

use super::initialise::edge_score;
use super::{AlignError, Edge};
use crate::Intrinsics;
use crate::geometry::focal::{FocalRange, weiszfeld};
use crate::geometry::pnp::{PnpOptions, pnp};
use nalgebra::{Isometry3, Point3};

/// Cameras and depths of two images.
#[derive(Clone, Debug)]
pub struct PairView {
    /// The image whose camera is the world frame: the first of the more confident pair.
    pub reference: usize,
    /// Focal lengths in pixels.
    pub focals_px: [f64; 2],
    /// The poses.
    pub world_from_camera: [Isometry3<f64>; 2],
    /// Distances along the optical axis, a value per pixel.
    pub depths: [Vec<f64>; 2],
    /// The product of the mean confidences of the pairs (0, 1) and (1, 0).
    pub edge_confidence: [f64; 2],
}

/// Confidence above which a pixel takes part in PnP.
const MIN_CONFIDENCE: f32 = 3.0;
const PNP: PnpOptions = PnpOptions { seed: 0, max_iterations: 200, threshold_px: 5.0 };

/// The cameras of two images of the given sizes (width, height) from the pairs (0, 1) and (1, 0).
///
/// Focal lengths come from each image's own map, the relative pose from PnP on the other image's prediction.
///
/// # Errors
/// [`AlignError::NotAPair`] if the edges are not these two, [`AlignError::Pixels`] if a map does not fit its image,
/// [`AlignError::NoFocal`] if a map is no picture of a scene.
///
/// # Source
/// arXiv:2312.14132, section 3.3; written from the description.
pub fn view_pair(sizes: [[usize; 2]; 2], edges: &[Edge]) -> Result<PairView, AlignError> {
    let find = |i: usize| edges.iter().find(|e| (e.first, e.second) == (i, 1 - i));
    let (Some(forward), Some(backward), 2) = (find(0), find(1), edges.len()) else {
        return Err(AlignError::NotAPair);
    };
    let own = [forward, backward];
    for (i, edge) in own.iter().enumerate() {
        for (image, found) in [
            (i, edge.points_first.len()),
            (i, edge.confidence_first.len()),
            (1 - i, edge.points_second.len()),
            (1 - i, edge.confidence_second.len()),
        ] {
            let expected = sizes[image][0] * sizes[image][1];
            if found != expected {
                return Err(AlignError::Pixels { image, expected, found });
            }
        }
    }
    let centers = sizes.map(|[w, h]| [w as f64 / 2.0, h as f64 / 2.0]);
    let focal = |i: usize| {
        weiszfeld(own[i].points_first.as_flattened(), sizes[i], centers[i], FocalRange::ALL)
            .map_err(|_| AlignError::NoFocal { image: i })
    };
    let focals_px = [focal(0)?, focal(1)?];
    let edge_confidence = own.map(edge_score);
    let reference = usize::from(edge_confidence[1] > edge_confidence[0]);
    let other = 1 - reference;
    let sure: Vec<f32> = own[reference]
        .confidence_second
        .iter()
        .zip(&own[other].confidence_first)
        .map(|(a, b)| a.max(*b))
        .collect();
    let seen = &own[reference].points_second; // the other image in the reference frame
    let (mut points, mut pixels) = (Vec::new(), Vec::new());
    for (i, p) in seen.iter().enumerate().filter(|(i, _)| sure[*i] > MIN_CONFIDENCE) {
        points.push(p.map(f64::from));
        pixels.push([(i % sizes[other][0]) as f64, (i / sizes[other][0]) as f64]);
    }
    let intrinsics = Intrinsics { focal_px: focals_px[other], center_px: centers[other] };
    let pose = match pnp(&points, &pixels, &intrinsics, &PNP) {
        Ok(Some(found)) => found.world_from_camera,
        // Without enough sure points nothing is known of the motion.
        _ => Isometry3::identity(),
    };
    let mut world_from_camera = [Isometry3::identity(); 2];
    world_from_camera[other] = pose;
    let mut depths = [Vec::new(), Vec::new()];
    depths[reference] = own[reference].points_first.iter().map(|p| f64::from(p[2])).collect();
    depths[other] =
        seen.iter().map(|p| pose.inverse_transform_point(&Point3::from(p.map(f64::from))).z).collect();
    Ok(PairView { reference, focals_px, world_from_camera, depths, edge_confidence })
}
