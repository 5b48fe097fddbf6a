//! f64 oracle, from the formula.

/// One row of attention: `softmax(scale query keyᵀ) values` for the given query and the keys and values of one head.
pub(crate) fn attend(query: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f64) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|key| scale * dot(query, key)).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..query.len())
        .map(|c| weights.iter().zip(values).map(|(w, v)| w / total * f64::from(v[c])).sum())
        .collect()
}
