//! One pass. Ranges of places are shared among threads; sums are taken over fixed ranges in f64.

use crate::loss::reduction::sums;
use rayon::prelude::*;

pub(super) fn conf_loss(loss: &[f32], confidence: &[f32], mask: &[u8], alpha: f32) -> f32 {
    let [sum, count] = sums(loss.len(), |i| match mask[i] {
        0 => [0.0; 2],
        _ => [f64::from(confidence[i] * loss[i]) - f64::from(alpha * confidence[i].ln()), 1.0],
    });
    if count > 0.0 { (sum / count) as f32 } else { 0.0 }
}

pub(super) fn backward(
    grad: f32,
    loss: &[f32],
    confidence: &[f32],
    mask: &[u8],
    alpha: f32,
) -> [Vec<f32>; 2] {
    let count = mask.iter().filter(|&&m| m != 0).count();
    let scale = grad / count.max(1) as f32;
    let at = |i: usize| match mask[i] {
        0 => (0.0, 0.0),
        _ => (scale * confidence[i], scale * (loss[i] - alpha / confidence[i])),
    };
    let (by_loss, by_confidence) = (0..loss.len()).into_par_iter().with_min_len(1 << 13).map(at).unzip();
    [by_loss, by_confidence]
}
