//! f64 oracle, from the formula.

/// Averages and sums of `elements` elements with `channels` channels.
pub(super) fn weighted_average(
    x: &[f32],
    weights: &[f32],
    elements: usize,
    channels: usize,
    fill: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut mean, mut sums) = (Vec::new(), Vec::new());
    for e in 0..elements {
        let used: Vec<(usize, f64)> = (0..weights.len() / elements)
            .map(|v| (v, f64::from(weights[v * elements + e])))
            .filter(|(_, w)| w.is_finite() && *w > 0.0)
            .collect();
        let total: f64 = used.iter().map(|(_, w)| w).sum();
        for c in 0..channels {
            let value = |v: usize| f64::from(x[(v * elements + e) * channels + c]);
            let sum: f64 = used.iter().map(|&(v, w)| w * value(v)).sum();
            mean.push(if used.is_empty() { fill } else { sum / total });
        }
        sums.push(total);
    }
    (mean, sums)
}
