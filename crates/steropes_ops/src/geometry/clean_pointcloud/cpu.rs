//! Image after image, the pixels of one image shared among threads: a pixel reads the confidences of the other
//! images only, which do not change meanwhile.

use super::DenseView;
use rayon::prelude::*;

pub(super) fn clean_pointcloud(
    views: &[DenseView<'_>],
    tolerance: f64,
    bad_confidence: f32,
) -> Vec<Vec<f32>> {
    let mut confidence: Vec<Vec<f32>> = views.iter().map(|v| v.confidence.to_vec()).collect();
    for (i, view) in views.iter().enumerate() {
        let mut own = std::mem::take(&mut confidence[i]);
        let others = &confidence;
        let row = view.width.max(1);
        own.par_chunks_mut(row).zip(view.points.par_chunks(3 * row)).for_each(
            |(own, points)| {
                for (own, p) in own.iter_mut().zip(points.chunks_exact(3)) {
                    let seen_through = |j: usize| j != i && hides(&views[j], &others[j], p, *own, tolerance);
                    if (0..views.len()).any(seen_through) {
                        *own = own.min(bad_confidence);
                    }
                }
            },
        );
        confidence[i] = own;
    }
    confidence
}

/// Whether `view` sees a more confident surface behind the point.
fn hides(view: &DenseView<'_>, confidence: &[f32], point: &[f32], own: f32, tolerance: f64) -> bool {
    let [f, cx, cy] = view.focal_center_px;
    let p = [f64::from(point[0]), f64::from(point[1]), f64::from(point[2])];
    let [x, y, z] = view.camera_from_world.map(|r| r[0] * p[0] + r[1] * p[1] + r[2] * p[2] + r[3]);
    if z.is_nan() || z <= 0.0 {
        return false;
    }
    let (u, v) = ((f * x / z + cx).round_ties_even(), (f * y / z + cy).round_ties_even());
    if !(u >= 0.0 && v >= 0.0 && u < view.width as f64 && v < view.height as f64) {
        return false;
    }
    let pixel = v as usize * view.width + u as usize;
    z < (1.0 - tolerance) * f64::from(view.depth[pixel]) && own < confidence[pixel]
}
