//! Image rows are shared among threads; memory is the limit.

use rayon::prelude::*;

/// Rows in a task.
const TASK: usize = 8;

pub(super) fn unproject(depth: &[f32], intrinsics: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    let mut points = vec![0.0; 3 * depth.len()];
    if depth.is_empty() {
        return points;
    }
    let rows = points.par_chunks_mut(3 * width).zip(depth.par_chunks(width)).with_min_len(TASK);
    rows.enumerate().for_each(|(row, (points, depth))| {
        let k = &intrinsics[4 * (row / height)..][..4];
        let y = ((row % height) as f32 - k[3]) / k[1];
        for (x, (point, &z)) in points.chunks_exact_mut(3).zip(depth).enumerate() {
            point.copy_from_slice(&[(x as f32 - k[2]) / k[0] * z, y * z, z]);
        }
    });
    points
}
