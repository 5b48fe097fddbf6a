//! Each thread owns a range of the result and looks at all places for those in it, so that every sum is in the order of the
//! source whatever the number of threads.

use crate::indexing::places::Places;
use rayon::prelude::*;

/// Values in a task, and the fewest that a thread owns.
const TASK: usize = 1 << 13;

pub(super) fn scatter_add(x: &[f32], places: &Places, index: &[i64], src: &[f32]) -> Vec<f32> {
    let at = |(i, &number): (usize, &i64)| places.base(i) + number as usize * places.stride;
    let at: Vec<usize> = index.par_iter().enumerate().with_min_len(TASK).map(at).collect();
    let mut y = x.to_vec();
    let owned = y.len().div_ceil(rayon::current_num_threads()).max(TASK);
    y.par_chunks_mut(owned).enumerate().for_each(|(owner, y)| {
        let first = owner * owned;
        for (at, src) in at.iter().zip(src) {
            // Places before the range become numbers beyond it.
            if let Some(y) = y.get_mut(at.wrapping_sub(first)) {
                *y += src;
            }
        }
    });
    y
}
