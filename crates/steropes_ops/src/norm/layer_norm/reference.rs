//! f64 oracle, from the formula.

/// `(x - mean) / sqrt(var + eps) * weight + bias` for rows of `weight.len()` values.
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let width = weight.len() as f64;
    let mut y = Vec::new();
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width;
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width;
        for (i, &v) in row.iter().enumerate() {
            let scaled = (f64::from(v) - mean) / (variance + eps).sqrt();
            y.push(scaled * f64::from(weight[i]) + f64::from(bias[i]));
        }
    }
    y
}
