//! Where a scene is, how large its cameras are drawn, and in which colours.

use super::{SceneCloud, ScenePhoto};
use crate::photo::Pinhole;
use nalgebra::{Isometry3, Point3, Vector3};

/// Largest number of points that medians are taken over; more change nothing visible.
pub(super) const SAMPLE: usize = 20_000;

/// The golden ratio's fraction: its multiples fill the unit interval evenly, and keep no step with image rows.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// The middle and the extent of a scene, by ranks, so that wild points do not count.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// Median of each coordinate of the points.
    pub(super) center: Point3<f64>,
    /// Length of a drawn camera, from its centre to the middle of its picture.
    pub(super) camera_length: f64,
}

impl Placement {
    /// The placement of a cloud that is not empty, with its registered photos.
    pub(super) fn new(cloud: &SceneCloud, photos: &[ScenePhoto]) -> Self {
        let points: Vec<_> = sample(cloud, SAMPLE).map(|(point, _)| point).collect();
        let center = Point3::from([0, 1, 2].map(|axis| rank(points.iter().map(|p| p[axis]).collect(), 0.5)));
        let distances = points.iter().map(|p| (p - center).norm()).collect();
        let radius = rank(distances, 0.9).max(f64::MIN_POSITIVE);
        let centers: Vec<Point3<f64>> =
            registered(photos).map(|(_, _, pose)| Point3::from(pose.translation.vector)).collect();
        let nearest = |i: usize| {
            let others = centers.iter().enumerate().filter(|(j, _)| *j != i);
            others.map(|(_, other)| (other - centers[i]).norm()).fold(f64::INFINITY, f64::min)
        };
        let gaps: Vec<f64> = (0..centers.len()).map(nearest).filter(|gap| gap.is_finite()).collect();
        // Small enough that neighbours do not cover each other, large enough to be seen.
        let by_gap = if gaps.is_empty() { f64::INFINITY } else { 0.8 * rank(gaps, 0.5) };
        Self { center, camera_length: by_gap.clamp(0.04 * radius, 0.15 * radius) }
    }
}

/// The points in f64 with their colours: all of them, or `most` evenly chosen ones of more.
pub(super) fn sample(cloud: &SceneCloud, most: usize) -> impl Iterator<Item = (Point3<f64>, [u8; 3])> {
    let count = cloud.points.len();
    let chosen = move |k: usize| match count <= most {
        true => k,
        false => ((k as f64 * GOLDEN).fract() * count as f64) as usize,
    };
    (0..count.min(most)).map(chosen).map(|i| (Point3::from(cloud.points[i].map(f64::from)), cloud.colors[i]))
}

/// The registered photos with their places in the list and their poses.
pub(super) fn registered(
    photos: &[ScenePhoto],
) -> impl Iterator<Item = (usize, &ScenePhoto, &Isometry3<f64>)> {
    photos.iter().enumerate().filter_map(|(i, photo)| Some((i, photo, photo.world_from_camera.as_ref()?)))
}

/// The corners of a photo in camera coordinates at depth `length`: top left, top right, bottom right, bottom left.
pub(super) fn picture_corners(pinhole: &Pinhole, size: [u32; 2], length: f64) -> [Point3<f64>; 4] {
    let [w, h] = size.map(f64::from);
    [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]].map(|[x, y]| {
        let [fx, fy] = pinhole.focal_px;
        let [cx, cy] = pinhole.center_px;
        Point3::new((x - cx) / fx * length, (y - cy) / fy * length, length)
    })
}

/// A colour for the camera at `index` of `count`: once around the hue circle without the way back to red.
pub(super) fn camera_color(index: usize, count: usize) -> [u8; 3] {
    let hue = 300.0 * index as f64 / count.saturating_sub(1).max(1) as f64;
    let channel = |offset: f64| {
        let k = (offset + hue / 60.0) % 6.0;
        1.0 - 0.75 * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [5.0, 3.0, 1.0].map(|offset| (channel(offset) * 255.0).round() as u8)
}

/// The direction that is up in most photos: people hold cameras level.
pub(super) fn up_in_world(photos: &[ScenePhoto]) -> Vector3<f64> {
    let sum: Vector3<f64> = registered(photos).map(|(_, _, pose)| pose * -Vector3::y()).sum();
    sum.try_normalize(1e-9).unwrap_or_else(|| -Vector3::y())
}

/// The value below which `share` of the values lie.
///
/// # Panics
/// If there are none.
pub(super) fn rank(mut values: Vec<f64>, share: f64) -> f64 {
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::test_scene;

    #[test]
    fn wild_points_do_not_move_the_scene() {
        let scene = test_scene::room();
        let with = Placement::new(&scene.cloud, &scene.photos);
        assert!((with.center - Point3::new(0.5, 0.5, 3.5)).norm() < 1.5, "{with:?}");
        assert!(with.camera_length > 0.08 && with.camera_length < 0.75, "{with:?}");
    }

    #[test]
    fn up_is_up_in_the_photos() {
        let up = up_in_world(&test_scene::room().photos);
        assert!(up.dot(&-Vector3::y()) > 0.95, "{up}");
        assert_eq!(up_in_world(&[]), -Vector3::y());
    }

    #[test]
    fn camera_colors_start_red_and_differ() {
        assert_eq!(camera_color(0, 7), [255, 64, 64]);
        let colors: std::collections::HashSet<_> = (0..7).map(|i| camera_color(i, 7)).collect();
        assert_eq!(colors.len(), 7);
        assert_eq!(camera_color(0, 1), [255, 64, 64]);
    }

    #[test]
    fn ranks_are_order_statistics() {
        assert_eq!(rank(vec![5.0, 1.0, 3.0], 0.5), 3.0);
        assert_eq!(rank(vec![5.0, 1.0, 3.0], 1.0), 5.0);
    }
}
