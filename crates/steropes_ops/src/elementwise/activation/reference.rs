//! f64 oracles, from the formulas.

use super::Activation;
use crate::linalg::linear::reference::erf;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, PI};

/// The activation of `x`.
pub(crate) fn activation(which: Activation, x: f64) -> f64 {
    match which {
        Activation::Gelu => x / 2.0 * (1.0 + erf(x * FRAC_1_SQRT_2)),
        Activation::GeluTanh => x / 2.0 * (1.0 + (FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

/// Its derivative at `x`.
pub(crate) fn slope(which: Activation, x: f64) -> f64 {
    match which {
        Activation::Gelu => {
            (1.0 + erf(x * FRAC_1_SQRT_2)) / 2.0 + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
        }
        Activation::GeluTanh => {
            let tanh = (FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh();
            let inner = FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            (1.0 + tanh) / 2.0 + x / 2.0 * (1.0 - tanh * tanh) * inner
        }
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            sigmoid * (1.0 + x * (1.0 - sigmoid))
        }
    }
}
