//! f64 oracle, from the formula.

use crate::linalg::linear::reference::erf;

/// `x/2 (1 + erf(x/√2))`.
pub(crate) fn gelu(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x) / 2.0 * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2))).collect()
}
