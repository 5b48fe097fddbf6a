//! f64 oracles, from the formulas.

use crate::elementwise::activation::{Activation, reference};

/// `activation(x + bias)` for rows of `bias.len()` values.
pub(crate) fn bias_activation(which: Activation, x: &[f64], bias: &[f64]) -> Vec<f64> {
    let value = |(i, x): (usize, &f64)| reference::activation(which, x + bias[i % bias.len()]);
    x.iter().enumerate().map(value).collect()
}

/// The gradients for `x` and the bias.
pub(crate) fn bias_activation_backward(
    which: Activation,
    x: &[f64],
    bias: &[f64],
    grad: &[f64],
) -> [Vec<f64>; 2] {
    let mut grad_bias = vec![0.0; bias.len()];
    let mut grad_x = Vec::new();
    for (i, (x, grad)) in x.iter().zip(grad).enumerate() {
        let c = i % bias.len();
        grad_x.push(grad * reference::slope(which, x + bias[c]));
        grad_bias[c] += grad_x[i];
    }
    [grad_x, grad_bias]
}
