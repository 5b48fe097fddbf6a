//! f64 oracle: the layer, the cross entropy and both gradients from their formulas.

use super::super::cross_entropy::reference as cross_entropy;

/// The loss and its gradients for `x` and `weight`, of the sum divided by `divisor`.
pub(crate) fn linear_cross_entropy(
    x: &[f64],
    weight: &[f64],
    width: usize,
    targets: &[i64],
    ignore: i64,
    smoothing: f64,
    divisor: f64,
) -> (f64, Vec<f64>, Vec<f64>) {
    let classes = weight.len() / width;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let logits: Vec<f64> =
        x.chunks_exact(width).flat_map(|row| weight.chunks_exact(width).map(move |w| dot(row, w))).collect();
    let losses = cross_entropy::losses(&logits, targets, classes, ignore, smoothing);
    let gradient = cross_entropy::gradient(&logits, targets, classes, ignore, smoothing, |_| 1.0 / divisor);
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
    for (row, gradient) in gradient.chunks_exact(classes).enumerate() {
        for (class, g) in gradient.iter().enumerate() {
            for d in 0..width {
                dx[row * width + d] += g * weight[class * width + d];
                dw[class * width + d] += g * x[row * width + d];
            }
        }
    }
    (losses.iter().sum::<f64>() / divisor, dx, dw)
}
