//! The scene that is written, from cameras, tracks and surfaces.

use super::cameras::{PlacedGroup, SquareFrame};
use super::{Scene, Surface};
use crate::alignment::DenseImage;
use crate::photo::Photo;
use crate::write::{Observation, Track};

/// Drops the photos that lost their cameras and moves points to the pixels of the upright photos.
pub(super) fn scene(group: &PlacedGroup, photos: &[Photo], surfaces: Vec<DenseImage>) -> Scene {
    let kept: Vec<usize> = (0..group.photos.len()).filter(|&i| group.lost[i].is_none()).collect();
    let photo = |i: usize| &photos[group.photos[i]];
    Scene {
        photos: kept.iter().map(|&i| group.photos[i]).collect(),
        cameras: kept.iter().map(|&i| group.cameras[i]).collect(),
        upright: kept
            .iter()
            .map(|&i| SquareFrame::new(photo(i)).pinhole(group.cameras[i].intrinsics.focal_px))
            .collect(),
        radial: kept.iter().map(|&i| group.bundle.as_ref().map_or(0.0, |b| b.radial[i])).collect(),
        tracks: tracks(group, photos, &kept),
        surfaces: kept
            .iter()
            .map(|&i| {
                let DenseImage { width, height, depth, points, confidence } = surfaces[i].clone();
                let colors = photo(i).network_rgb.pixels().map(|p| p.0).collect();
                let points = points.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
                Surface { width, height, depth, points, confidence, colors }
            })
            .collect(),
    }
}

fn tracks(group: &PlacedGroup, photos: &[Photo], kept: &[usize]) -> Vec<Track> {
    let Some(bundle) = &group.bundle else { return Vec::new() };
    let frames: Vec<SquareFrame<'_>> = group.photos.iter().map(|&m| SquareFrame::new(&photos[m])).collect();
    let points = bundle.points.iter().filter_map(|point| {
        let mut seen = Vec::new();
        let (mut color, mut error) = ([0.0f64; 3], 0.0);
        for o in &point.observations {
            let Some(index) = kept.iter().position(|&k| k == o.image) else { continue };
            let photo = &photos[group.photos[o.image]];
            seen.push(Observation { photo: index, point_px: frames[o.image].upright(o.pixel) });
            error += o.error_px * frames[o.image].scale;
            let [x, y] = frames[o.image].network(o.pixel);
            let [w, h] = photo.map.network_size;
            let at = |v: f64, n: u32| (v.round().max(0.0) as u32).min(n - 1);
            let pixel = photo.network_rgb.get_pixel(at(x, w), at(y, h)).0;
            color.iter_mut().zip(pixel).for_each(|(c, p)| *c += f64::from(p));
        }
        (seen.len() >= 2).then(|| Track {
            point_in_world: point.position.coords.into(),
            color: color.map(|c| (c / seen.len() as f64).round() as u8),
            reprojection_error_px: error / seen.len() as f64,
            observations: seen,
        })
    });
    points.collect()
}
