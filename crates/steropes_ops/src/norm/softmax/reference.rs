//! f64 oracle, from the formula.

/// `e^x / sum(e^x)` for rows of `width` values.
pub(crate) fn softmax(x: &[f32], width: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks_exact(width) {
        let largest = row.iter().fold(f64::MIN, |m, &v| m.max(f64::from(v)));
        let sum: f64 = row.iter().map(|&v| (f64::from(v) - largest).exp()).sum();
        y.extend(row.iter().map(|&v| (f64::from(v) - largest).exp() / sum));
    }
    y
}
