//! Copies of rows; memory is the limit.

use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// `rows` rows of `m` values of `x` and `n` of `y`, side by side.
pub(super) fn concat(x: &[f32], y: &[f32], rows: usize, [m, n]: [usize; 2]) -> Vec<f32> {
    let width = m + n;
    let mut out = vec![0.0f32; rows * width];
    if out.is_empty() {
        return out;
    }
    let task_rows = (TASK / width).max(1);
    let run = |(task, out): (usize, &mut [f32])| {
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            let row = task * task_rows + i;
            out[..m].copy_from_slice(&x[row * m..][..m]);
            out[m..].copy_from_slice(&y[row * n..][..n]);
        }
    };
    if rows <= task_rows {
        run((0, &mut out));
    } else {
        out.par_chunks_mut(task_rows * width).enumerate().for_each(run);
    }
    out
}
