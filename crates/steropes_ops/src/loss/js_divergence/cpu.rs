//! The formulas of one pair; `pointwise` shares pairs among threads.

use std::f32::consts::LN_2;

/// Logarithms of probabilities that are 0 in f32.
const LOWEST: f32 = -200.0;

/// Below this the series of `log cosh` is exact to the last bits.
const SMALL: f32 = 0.25;

fn clamped(x: f32) -> f32 {
    if x < LOWEST { LOWEST } else { x }
}

/// `y tanh y - log cosh y`.
fn excess(y: f32) -> f32 {
    let (y, square) = (y.abs(), y * y);
    if y < SMALL {
        let series = square * (-17.0 / 360.0 + square * (31.0 / 1575.0));
        return square * (0.5 + square * (-0.25 + square * (1.0 / 9.0 + series)));
    }
    let e = (-2.0 * y).exp();
    LN_2 - e.ln_1p() - 2.0 * y * e / (1.0 + e)
}

/// `log cosh y`.
fn log_cosh(y: f32) -> f32 {
    let (y, square) = (y.abs(), y * y);
    if y < SMALL {
        let series = square * (1.0 / 45.0 + square * (-17.0 / 2520.0));
        return square * (0.5 + square * (-1.0 / 12.0 + series));
    }
    y + (-2.0 * y).exp().ln_1p() - LN_2
}

pub(super) fn loss(log_p: f32, log_q: f32) -> f32 {
    let (log_p, log_q) = (clamped(log_p), clamped(log_q));
    0.5 * (log_p.exp() + log_q.exp()) * excess(0.5 * (log_p - log_q))
}

pub(super) fn slopes(log_p: f32, log_q: f32) -> [f32; 2] {
    let (log_p, log_q) = (clamped(log_p), clamped(log_q));
    let y = 0.5 * (log_p - log_q);
    let center = log_cosh(y);
    [0.5 * log_p.exp() * (y - center), 0.5 * log_q.exp() * (-y - center)]
}
