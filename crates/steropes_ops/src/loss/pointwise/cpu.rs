//! One pass over the pairs. Ranges of them are shared among threads; sums are taken over fixed ranges in f64.

use super::{Pointwise, Reduction};
use crate::loss::reduction::sums;
use rayon::prelude::*;

/// Values in a task.
const TASK: usize = 1 << 13;

pub(super) fn forward(
    pairs: &Pointwise,
    a: &[f32],
    b: &[f32],
    reduction: Reduction,
    shape: &[usize],
) -> Vec<f32> {
    let loss = pairs.loss;
    if reduction == Reduction::None {
        return a.par_iter().zip(b).with_min_len(TASK).map(|(&a, &b)| loss(a, b)).collect();
    }
    let [sum] = sums(a.len(), |i| [f64::from(loss(a[i], b[i]))]);
    vec![(sum * reduction.factor(shape)) as f32]
}

pub(super) fn backward(
    pairs: &Pointwise,
    grad: &[f32],
    a: &[f32],
    b: &[f32],
    reduction: Reduction,
    shape: &[usize],
) -> [Vec<f32>; 2] {
    let slopes = pairs.slopes;
    let factor = reduction.factor(shape) as f32;
    let mut gradients = [vec![0.0; a.len()], vec![0.0; a.len()]];
    let [da, db] = &mut gradients;
    da.par_iter_mut().zip(db).enumerate().with_min_len(TASK).for_each(|(i, (da, db))| {
        let scale = if reduction == Reduction::None { grad[i] } else { grad[0] * factor };
        let [slope_a, slope_b] = slopes(a[i], b[i]);
        (*da, *db) = (scale * slope_a, scale * slope_b);
    });
    gradients
}
