//! f64 oracle, from the formula.

use super::{ConfMatchingOptions, ConfidenceMode};

/// The quantile of the losses of matches, 0 of none.
pub(crate) fn quantile(loss: &[f64], valid: &[u8], q: f64) -> f64 {
    let mut matches: Vec<f64> = (0..loss.len()).filter(|&i| valid[i] != 0).map(|i| loss[i]).collect();
    matches.sort_by(f64::total_cmp);
    let place = q * (matches.len().max(1) - 1) as f64;
    let at = |i: f64| matches.get(i as usize).copied().unwrap_or(0.0);
    at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
}

/// The loss, with this quantile for what is no match.
pub(crate) fn conf_matching_loss(
    loss: &[f64],
    [a, b]: [&[f64]; 2],
    valid: &[u8],
    options: &ConfMatchingOptions,
    quantile: f64,
) -> f64 {
    let alpha = f64::from(options.alpha);
    let (mut matches, mut others) = (Vec::new(), Vec::new());
    for i in 0..loss.len() {
        let joined = match options.mode {
            ConfidenceMode::Mean => (a[i] + b[i]) / 2.0,
            ConfidenceMode::Product => a[i] * b[i],
        };
        if valid[i] != 0 {
            matches.push(joined * loss[i] - alpha * joined.ln());
        } else if options.negative_quantile.is_some() {
            others.extend([a[i], b[i]].map(|c| quantile * c - alpha * c.ln()));
        }
    }
    let mean = |v: &[f64]| if v.is_empty() { 0.0 } else { v.iter().sum::<f64>() / v.len() as f64 };
    mean(&matches) + mean(&others)
}
