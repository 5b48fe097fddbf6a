//! From cameras to the dense surface.

use super::cameras::{PlacedGroup, SquareFrame};
use super::{Monitor, Options, ReconstructError};
use crate::Camera;
use crate::alignment::{
    Correction, DenseImage, TrackDepth, TsdfOptions, clean_on, dense_depth, dense_for_cameras, dense_images,
    refine_depths_on,
};
use crate::bundle::LensCamera;
use crate::photo::Photo;
use nalgebra::{Point3, Vector2};
use rayon::prelude::*;
use steropes_ops::geometry::canonical_view::CanonicalView;
use steropes_tensor::Device;

/// A point nearer to a camera than another photo's surface by this share of the depth is seen through.
const SEEN_THROUGH: f64 = 0.03;
/// Trust in the network's depth between tracks.
const CORRECTION: Correction = Correction::Smooth(4.0);

/// Depth, points and confidence of every photo, in the order of the group. Depths are made to agree if `options` ask for it, and what
/// other photos see through is looked for, both on `device`. A photo that lost its camera has no say in either.
pub(super) fn dense(
    group: &PlacedGroup,
    photos: &[Photo],
    (options, device): (&Options, &Device),
    monitor: &dyn Monitor,
) -> Result<Vec<DenseImage>, ReconstructError> {
    monitor.begin("surface", 1);
    let mut images = uncleaned(group, photos)?;
    if let Some(tsdf) = &options.tsdf {
        monitor.step();
        monitor.end();
        monitor.begin("tsdf", 1);
        refine_depths(group, &mut images, tsdf, device)?;
        monitor.step();
        monitor.end();
        monitor.begin("clean", 1);
    }
    if let Some(bundle) = &group.bundle {
        for (i, image) in images.iter_mut().enumerate() {
            let lens = LensCamera { radial: bundle.radial[i], ..LensCamera::new(&group.cameras[i]) };
            follow_lens(image, &lens, &group.cameras[i]);
        }
    }
    for (image, lost) in images.iter_mut().zip(&group.lost) {
        if lost.is_some() {
            image.confidence.fill(0.0);
        }
    }
    clean_on(&mut images, &group.cameras, SEEN_THROUGH, device)?;
    monitor.step();
    monitor.end();
    Ok(images)
}

/// The surfaces as the network's depth and the tracks give them, for lenses that bend no lines.
fn uncleaned(group: &PlacedGroup, photos: &[Photo]) -> Result<Vec<DenseImage>, ReconstructError> {
    let views: Vec<&CanonicalView> = group.views.iter().collect();
    let Some(tracks) = track_depths(group, photos) else { return Ok(dense_images(&group.aligned, &views)?) };
    let depths = views
        .iter()
        .enumerate()
        .map(|(i, view)| {
            let anchors = &group.aligned.anchor_depths[i];
            let focal = group.aligned.cameras[i].intrinsics.focal_px;
            dense_depth(view, anchors, group.aligned.base_focals_px[i], focal)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let images = dense_for_cameras(&group.cameras, &views, depths, &tracks, CORRECTION)?;
    Ok(images.into_iter().map(|(image, _)| image).collect())
}

/// Refines the depths of the photos that have a camera.
fn refine_depths(
    group: &PlacedGroup,
    images: &mut [DenseImage],
    options: &TsdfOptions,
    device: &Device,
) -> Result<(), ReconstructError> {
    let kept: Vec<usize> = (0..images.len()).filter(|&i| group.lost[i].is_none()).collect();
    let cameras: Vec<Camera> = kept.iter().map(|&i| group.cameras[i]).collect();
    let mut refined: Vec<DenseImage> = kept.iter().map(|&i| images[i].clone()).collect();
    refine_depths_on(&mut refined, &cameras, options, device)?;
    for (i, image) in kept.into_iter().zip(refined) {
        images[i] = image;
    }
    Ok(())
}

/// Moves the points of a photo to the viewing rays of its distorted lens, at the same depths.
fn follow_lens(image: &mut DenseImage, lens: &LensCamera, camera: &Camera) {
    let width = image.width;
    image.points.par_chunks_mut(3 * width).zip(image.depth.par_chunks(width)).enumerate().for_each(
        |(y, (points, depth))| {
            for (x, (point, &z)) in points.chunks_exact_mut(3).zip(depth).enumerate() {
                let ray = lens.undistorted(&Vector2::new(x as f64, y as f64));
                let world = camera.world_from_camera * (Point3::new(ray.x, ray.y, 1.0) * f64::from(z));
                point.copy_from_slice(&[world.x as f32, world.y as f32, world.z as f32]);
            }
        },
    );
}

/// The depths of the triangulated points in each photo; `None` without bundle adjustment.
fn track_depths(group: &PlacedGroup, photos: &[Photo]) -> Option<Vec<Vec<TrackDepth>>> {
    let bundle = group.bundle.as_ref()?;
    let mut depths = vec![Vec::new(); group.photos.len()];
    for point in &bundle.points {
        for seen in &point.observations {
            let photo = &photos[group.photos[seen.image]];
            let pixel = SquareFrame::new(photo).network(seen.pixel).map(|v| v as f32);
            let inside =
                pixel.iter().zip(photo.map.network_size).all(|(&v, n)| v >= 0.0 && v <= (n - 1) as f32);
            let (_, depth) = bundle.cameras[seen.image].project(&point.position);
            if inside && depth > 0.0 {
                // A wide angle makes a sure depth.
                let weight = (point.angle_rad * point.angle_rad) as f32;
                depths[seen.image].push(TrackDepth { pixel, depth: depth as f32, weight });
            }
        }
    }
    Some(depths)
}
