//! f64 oracle, from the formula.

/// The norm, and the gradients after clipping.
pub(crate) fn clip_grad_norm(gradients: &[Vec<f32>], max_norm: f64) -> (f64, Vec<Vec<f64>>) {
    let norm = gradients.iter().flatten().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    let factor = (max_norm / (norm + 1e-6)).min(1.0);
    (norm, gradients.iter().map(|g| g.iter().map(|&g| f64::from(g) * factor).collect()).collect())
}
