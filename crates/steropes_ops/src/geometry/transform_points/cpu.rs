//! Ranges of points are shared among threads; memory is the limit.

use rayon::prelude::*;

/// Points in a task.
const TASK: usize = 4096;

pub(super) fn transform_points(points: &[f32], transforms: &[f32]) -> Vec<f32> {
    let mut moved = vec![0.0; points.len()];
    let batch = transforms.len() / 12;
    if points.is_empty() {
        return moved;
    }
    let item = points.len() / batch;
    for ((to, from), m) in moved.chunks_mut(item).zip(points.chunks(item)).zip(transforms.chunks_exact(12)) {
        to.par_chunks_mut(3 * TASK).zip(from.par_chunks(3 * TASK)).for_each(|(to, from)| {
            for (to, p) in to.chunks_exact_mut(3).zip(from.chunks_exact(3)) {
                for (to, row) in to.iter_mut().zip(m.chunks_exact(4)) {
                    *to = row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + row[3];
                }
            }
        });
    }
    moved
}
