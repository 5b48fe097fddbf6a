//! f64 oracle, from the formulas.

/// `f(x, y)`, `y` repeated to the length of `x`.
pub(crate) fn combine(f: fn(f64, f64) -> f64, x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().enumerate().map(|(i, &x)| f(x, y[i % y.len()])).collect()
}
