//! f64 oracle, from the formulas.

use super::{RopePairs, RopeScaling};

/// Turns heads of `[tokens, heads, head_dim]` by the angles of their token, `[tokens][rotary_dim / 2]`.
pub(crate) fn rope(
    x: &[f64],
    angles: &[Vec<f64>],
    heads: usize,
    head_dim: usize,
    pairs: RopePairs,
) -> Vec<f64> {
    let mut y = x.to_vec();
    for (token, angles) in angles.iter().enumerate() {
        for head in 0..heads {
            for (i, angle) in angles.iter().enumerate() {
                let first = (token * heads + head) * head_dim;
                let [u, v] = match pairs {
                    RopePairs::Halves => [first + i, first + i + angles.len()],
                    RopePairs::Neighbours => [first + 2 * i, first + 2 * i + 1],
                };
                y[u] = x[u] * angle.cos() - x[v] * angle.sin();
                y[v] = x[v] * angle.cos() + x[u] * angle.sin();
            }
        }
    }
    y
}

/// The angle of each pair at `position`.
pub(crate) fn angles(position: f64, rotary_dim: usize, base: f64, scaling: RopeScaling) -> Vec<f64> {
    let d = rotary_dim as f64;
    let exponents = (0..rotary_dim / 2).map(|i| 2.0 * i as f64 / d);
    match scaling {
        RopeScaling::None => exponents.map(|e| position / base.powf(e)).collect(),
        RopeScaling::Linear { factor } => exponents.map(|e| position / factor / base.powf(e)).collect(),
        // base^e factor^(e d / (d - 2)), whose last exponent is 2 i / (d - 2).
        RopeScaling::Ntk { factor } => exponents
            .enumerate()
            .map(|(i, e)| {
                let stretch = if i == 0 { 1.0 } else { factor.powf(2.0 * i as f64 / (d - 2.0)) };
                position / (base.powf(e) * stretch)
            })
            .collect(),
        // By wavelengths, as it was published.
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_len } => {
            let original_len = original_len as f64;
            let scaled = |frequency: f64| {
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                if wavelength < original_len / high_freq_factor {
                    return frequency;
                }
                if wavelength > original_len / low_freq_factor {
                    return frequency / factor;
                }
                let smooth =
                    (original_len / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            };
            exponents.map(|e| position * scaled(1.0 / base.powf(e))).collect()
        }
    }
}

/// The derivative of `sum(gradient * rope(x))` with respect to each value of `x`, by central differences.
pub(crate) fn differences(
    gradient: &[f64],
    x: &[f64],
    angles: &[Vec<f64>],
    [heads, head_dim]: [usize; 2],
    pairs: RopePairs,
) -> Vec<f64> {
    let loss = |x: &[f64]| -> f64 {
        rope(x, angles, heads, head_dim, pairs).iter().zip(gradient).map(|(y, g)| y * g).sum()
    };
    let mut at = x.to_vec();
    let mut slope = |i: usize| {
        let step = 1e-3;
        at[i] = x[i] + step;
        let above = loss(&at);
        at[i] = x[i] - step;
        let below = loss(&at);
        at[i] = x[i];
        (above - below) / (2.0 * step)
    };
    (0..x.len()).map(&mut slope).collect()
}
