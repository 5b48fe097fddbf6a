//! Ranges of points are shared among threads; memory is the limit.

use rayon::prelude::*;

/// Points in a task.
const TASK: usize = 4096;

pub(super) fn project(points: &[f32], intrinsics: &[f32]) -> Vec<f32> {
    let mut pixels = vec![0.0; points.len() / 3 * 2];
    let batch = intrinsics.len() / 4;
    if points.is_empty() {
        return pixels;
    }
    let item = points.len() / 3 / batch;
    for ((to, from), k) in
        pixels.chunks_mut(2 * item).zip(points.chunks(3 * item)).zip(intrinsics.chunks_exact(4))
    {
        to.par_chunks_mut(2 * TASK).zip(from.par_chunks(3 * TASK)).for_each(|(to, from)| {
            for (pixel, p) in to.chunks_exact_mut(2).zip(from.chunks_exact(3)) {
                let seen = p[2] > 0.0 && p[2] < f32::INFINITY;
                let place = [k[0] * (p[0] / p[2]) + k[2], k[1] * (p[1] / p[2]) + k[3]];
                pixel.copy_from_slice(&if seen { place } else { [f32::NAN; 2] });
            }
        });
    }
    pixels
}
