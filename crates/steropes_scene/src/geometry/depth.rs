//! From depth maps to points.

use nalgebra::{Isometry3, Point3};

/// Focal lengths of a depth map, in pixels.
#[derive(Clone, Copy, Debug)]
pub enum Focals<'a> {
    /// One focal length for both axes and all pixels.
    Single(f64),
    /// A focal length per axis.
    PerAxis([f64; 2]),
    /// A focal length per pixel, for both axes.
    PerPixel(&'a [f32]),
    /// A focal length per pixel and axis.
    PerPixelAndAxis(&'a [f32], &'a [f32]),
}

impl Focals<'_> {
    fn at(&self, pixel: usize) -> [f64; 2] {
        match *self {
            Self::Single(f) => [f, f],
            Self::PerAxis(f) => f,
            Self::PerPixel(f) => [f64::from(f[pixel]); 2],
            Self::PerPixelAndAxis(fx, fy) => [f64::from(fx[pixel]), f64::from(fy[pixel])],
        }
    }
}

/// The whole-number pixel coordinates (x, y) of an image, row by row, starting at `origin`.
pub fn pixel_grid(width: usize, height: usize, origin: [i64; 2]) -> Vec<[i64; 2]> {
    (0..height as i64).flat_map(|y| (0..width as i64).map(move |x| [origin[0] + x, origin[1] + y])).collect()
}

/// The camera-frame points of a depth map: `((x - cx) z / fx, (y - cy) z / fy, z)` at whole-number pixels.
///
/// # Shapes
/// - `depth`: row-major, `width` pixels a row, distances along the optical axis
/// - `center_px`: principal point; the middle of the first and last pixel centre if `None`
/// - returns: one point per pixel
pub fn points_from_depth(
    depth: &[f32],
    width: usize,
    focals: Focals<'_>,
    center_px: Option<[f64; 2]>,
) -> Vec<Point3<f64>> {
    let height = depth.len().checked_div(width).unwrap_or(0);
    let [cx, cy] = center_px.unwrap_or([(width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0]);
    depth
        .iter()
        .enumerate()
        .map(|(i, &z)| {
            let (x, y, z) = ((i % width) as f64, (i / width) as f64, f64::from(z));
            let [fx, fy] = focals.at(i);
            Point3::new((x - cx) * z / fx, (y - cy) * z / fy, z)
        })
        .collect()
}

/// [`points_from_depth`] moved to the world, `None` where the depth is not positive.
pub fn world_points_from_depth(
    depth: &[f32],
    width: usize,
    focals: Focals<'_>,
    center_px: Option<[f64; 2]>,
    world_from_camera: &Isometry3<f64>,
) -> Vec<Option<Point3<f64>>> {
    points_from_depth(depth, width, focals, center_px)
        .into_iter()
        .map(|p| (p.z > 0.0).then(|| world_from_camera * p))
        .collect()
}
