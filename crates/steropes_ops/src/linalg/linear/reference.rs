//! f64 oracle, from the formula.

use super::Activation;

/// `activation(x Wᵀ + b)` for row-major `x` `[rows, inputs]`, `weight` `[outputs, inputs]` and `bias` `[outputs]`.
pub(crate) fn linear(x: &[f32], weight: &[f32], bias: &[f32], activation: Activation) -> Vec<f64> {
    let outputs = bias.len();
    let inputs = weight.len() / outputs;
    let mut y = Vec::new();
    for row in x.chunks_exact(inputs) {
        for o in 0..outputs {
            let mut sum = f64::from(bias[o]);
            for i in 0..inputs {
                sum += f64::from(row[i]) * f64::from(weight[o * inputs + i]);
            }
            y.push(activated(sum, activation));
        }
    }
    y
}

fn activated(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Gelu => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
    }
}

/// The error function: its Taylor series below 2.5, the continued fraction of erfc above (Abramowitz and Stegun 7.1.5 and
/// 7.1.14).
pub(crate) fn erf(x: f64) -> f64 {
    let t = x.abs();
    if t < 2.5 {
        let (mut term, mut sum) = (t, t);
        for n in 1..100 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return x.signum() * sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = t;
    for k in (1..=80).rev() {
        fraction = t + f64::from(k) / 2.0 / fraction;
    }
    x.signum() * (1.0 - (-t * t).exp() / (fraction * std::f64::consts::PI.sqrt()))
}
