//! Runs of memory are copied one after another; the results are shared among threads in runs.

use rayon::prelude::*;

/// Values in a task.
const TASK: usize = 1 << 14;

pub(super) fn index_select(x: &[f32], shape: &[usize], axis: usize, index: &[i64]) -> Vec<f32> {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut y = vec![0.0; outer * index.len() * inner];
    if y.is_empty() {
        return y;
    }
    y.par_chunks_exact_mut(inner).enumerate().with_min_len((TASK / inner).max(1)).for_each(|(run, y)| {
        let (outer, place) = (run / index.len(), run % index.len());
        let from = (outer * shape[axis] + index[place] as usize) * inner;
        y.copy_from_slice(&x[from..from + inner]);
    });
    y
}
