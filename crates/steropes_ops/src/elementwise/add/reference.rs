//! f64 oracle, from the formula.

/// `x + y`.
pub(crate) fn add(x: &[f32], y: &[f32]) -> Vec<f64> {
    x.iter().zip(y).map(|(&x, &y)| f64::from(x) + f64::from(y)).collect()
}
