//! f64 oracle, from the formula.

/// The mean of `c loss - alpha log c` where the mask is not 0.
pub(crate) fn conf_loss(loss: &[f64], confidence: &[f64], mask: &[u8], alpha: f64) -> f64 {
    let places: Vec<usize> = (0..loss.len()).filter(|&i| mask[i] != 0).collect();
    let sum: f64 = places.iter().map(|&i| confidence[i] * loss[i] - alpha * confidence[i].ln()).sum();
    if places.is_empty() { 0.0 } else { sum / places.len() as f64 }
}

/// Its gradients for the losses and the confidences.
pub(crate) fn gradients(loss: &[f64], confidence: &[f64], mask: &[u8], alpha: f64) -> [Vec<f64>; 2] {
    let count = mask.iter().filter(|&&m| m != 0).count() as f64;
    let of = |f: &dyn Fn(usize) -> f64| {
        (0..loss.len()).map(|i| if mask[i] == 0 { 0.0 } else { f(i) / count }).collect()
    };
    [of(&|i| confidence[i]), of(&|i| loss[i] - alpha / confidence[i])]
}
