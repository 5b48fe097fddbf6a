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

/// `activation(x)`.
pub(crate) fn activated(x: f64, activation: Activation) -> f64 {
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

/// A row as products of int8 take it, and the scale of its integers: rounded but for its outliers.
pub(crate) fn int8_row(row: &[f32]) -> (Vec<f64>, f64) {
    let finite: Vec<f64> = row.iter().map(|x| f64::from(x.abs())).filter(|x| x.is_finite()).collect();
    let mean = finite.iter().sum::<f64>() / row.len() as f64;
    let above = |times: f64| finite.iter().filter(|&&x| x > times * mean).count() * 32;
    let times = [8.0, 16.0].into_iter().find(|&times| above(times) <= row.len()).unwrap_or(32.0);
    let is_ordinary = |x: &f32| f64::from(x.abs()) <= times * mean && x.is_finite();
    let largest = row.iter().copied().filter(is_ordinary).fold(0.0f32, |m, x| m.max(x.abs()));
    if largest < 1e-30 {
        return (row.iter().map(|&x| f64::from(x)).collect(), 0.0);
    }
    let (scale, factor) = (largest / 127.0, 127.0 / largest);
    let rounded = |&x: &f32| {
        let integer = f64::from((x * factor).round_ties_even());
        if is_ordinary(&x) { f64::from(scale) * integer } else { f64::from(x) }
    };
    (row.iter().map(rounded).collect(), f64::from(scale))
}

/// The weights of an output as products of int8 take them, and the scale of their integers.
pub(crate) fn int8_weights(weights: &[f32]) -> (Vec<f64>, f64) {
    let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let scale = largest / 127.0;
    let integer = |&w: &f32| (f64::from(w) * 127.0 / f64::from(largest)).round_ties_even();
    let rounded = |w: &f32| if largest == 0.0 { 0.0 } else { f64::from(scale) * integer(w) };
    (weights.iter().map(rounded).collect(), f64::from(scale))
}
