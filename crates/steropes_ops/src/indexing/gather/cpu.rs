//! Ranges of the result are shared among threads.

use crate::indexing::places::Places;
use rayon::prelude::*;

/// Values in a task.
const TASK: usize = 1 << 13;

pub(super) fn gather(x: &[f32], places: &Places, index: &[i64]) -> Vec<f32> {
    let at = |(i, &number): (usize, &i64)| x[places.base(i) + number as usize * places.stride];
    index.par_iter().enumerate().with_min_len(TASK).map(at).collect()
}
