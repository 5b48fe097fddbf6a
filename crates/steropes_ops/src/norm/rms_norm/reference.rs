//! f64 oracles, from the formulas.

/// `x / sqrt(mean(x²) + eps) * weight` for rows of `weight.len()` values.
pub(crate) fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks_exact(weight.len()) {
        let square = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
        y.extend(row.iter().zip(weight).map(|(v, w)| v / (square + eps).sqrt() * w));
    }
    y
}

/// The gradients for `x` and the weight, then for each the sums of the magnitudes of what they are sums of.
pub(crate) fn rms_norm_backward(x: &[f64], weight: &[f64], eps: f64, grad: &[f64]) -> [Vec<f64>; 4] {
    let width = weight.len();
    let (mut grad_x, mut x_magnitudes) = (Vec::new(), Vec::new());
    let (mut grad_weight, mut magnitudes) = (vec![0.0; width], vec![0.0; width]);
    for (row, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
        let square = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
        let root = (square + eps).sqrt();
        let dot: f64 = (0..width).map(|c| grad[c] * weight[c] * row[c]).sum();
        let all: f64 = (0..width).map(|c| (grad[c] * weight[c] * row[c]).abs()).sum();
        for c in 0..width {
            grad_x.push(grad[c] * weight[c] / root - row[c] * dot / (width as f64 * root.powi(3)));
            x_magnitudes.push(
                (grad[c] * weight[c]).abs() / root + row[c].abs() * all / (width as f64 * root.powi(3)),
            );
            grad_weight[c] += grad[c] * row[c] / root;
            magnitudes[c] += (grad[c] * row[c] / root).abs();
        }
    }
    [grad_x, grad_weight, x_magnitudes, magnitudes]
}
