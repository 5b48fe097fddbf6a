//! f64 oracles, from the formulas.

use crate::elementwise::activation::{Activation, reference};

/// `activation(gate) up`.
pub(crate) fn gated(which: Activation, gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(&gate, up)| reference::activation(which, gate) * up).collect()
}

/// The gradients for gate and up.
pub(crate) fn gated_backward(which: Activation, gate: &[f64], up: &[f64], grad: &[f64]) -> [Vec<f64>; 2] {
    let of_gate = |i: usize| grad[i] * up[i] * reference::slope(which, gate[i]);
    let of_up = |i: usize| grad[i] * reference::activation(which, gate[i]);
    [(0..grad.len()).map(of_gate).collect(), (0..grad.len()).map(of_up).collect()]
}
