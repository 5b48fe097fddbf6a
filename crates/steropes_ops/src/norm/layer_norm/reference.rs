//! f64 oracles, from the formulas.

/// `(x - mean) / sqrt(var + eps) * weight + bias` for rows of `weight.len()` values.
pub(crate) fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let width = weight.len() as f64;
    let mut y = Vec::new();
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().sum::<f64>() / width;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width;
        for (i, v) in row.iter().enumerate() {
            y.push((v - mean) / (variance + eps).sqrt() * weight[i] + bias[i]);
        }
    }
    y
}

/// Gradients of a layer norm.
pub(crate) struct Gradients {
    /// For the rows.
    pub(crate) x: Vec<f64>,
    /// For the weight.
    pub(crate) weight: Vec<f64>,
    /// For the bias.
    pub(crate) bias: Vec<f64>,
    /// The sums of the magnitudes of what those for the rows are sums of.
    pub(crate) x_magnitudes: Vec<f64>,
    /// As `x_magnitudes`, for the weight.
    pub(crate) weight_magnitudes: Vec<f64>,
    /// As `x_magnitudes`, for the bias.
    pub(crate) bias_magnitudes: Vec<f64>,
}

/// Through `d = x - mean` and `s = sqrt(var + eps)`, each for itself, by the chain rule.
pub(crate) fn layer_norm_backward(x: &[f64], weight: &[f64], eps: f64, grad: &[f64]) -> Gradients {
    let width = weight.len();
    let n = width as f64;
    let zeros = vec![0.0; width];
    let mut all = Gradients {
        x: Vec::new(),
        x_magnitudes: Vec::new(),
        weight: zeros.clone(),
        bias: zeros.clone(),
        weight_magnitudes: zeros.clone(),
        bias_magnitudes: zeros,
    };
    for (row, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
        let mean = row.iter().sum::<f64>() / n;
        let d: Vec<f64> = row.iter().map(|v| v - mean).collect();
        let s = (d.iter().map(|d| d * d).sum::<f64>() / n + eps).sqrt();
        let grad_s: f64 = (0..width).map(|c| -grad[c] * weight[c] * d[c] / (s * s)).sum();
        let grad_d: Vec<f64> =
            (0..width).map(|c| grad[c] * weight[c] / s + grad_s * d[c] / (n * s)).collect();
        let grad_mean = -grad_d.iter().sum::<f64>();
        all.x.extend(grad_d.iter().map(|grad_d| grad_d + grad_mean / n));
        let level: f64 = (0..width).map(|c| (grad[c] * weight[c]).abs()).sum::<f64>() / n;
        let along: f64 = (0..width).map(|c| (grad[c] * weight[c] * d[c] / s).abs()).sum::<f64>() / n;
        let magnitude = |c: usize| (grad[c] * weight[c]).abs() + level + (1.0 + (d[c] / s).abs()) * along;
        all.x_magnitudes.extend((0..width).map(|c| magnitude(c) / s));
        for c in 0..width {
            all.weight[c] += grad[c] * d[c] / s;
            all.weight_magnitudes[c] += (grad[c] * d[c] / s).abs();
            all.bias[c] += grad[c];
            all.bias_magnitudes[c] += grad[c].abs();
        }
    }
    all
}
