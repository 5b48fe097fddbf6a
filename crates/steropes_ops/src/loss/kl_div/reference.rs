//! f64 oracle, from the formula.

/// `t (log t - input)` of a pair, 0 for `t = 0`.
pub(crate) fn loss(input: f64, target: f64) -> f64 {
    if target == 0.0 { 0.0 } else { target * (target.ln() - input) }
}

/// Its derivatives.
pub(crate) fn slopes(input: f64, target: f64) -> [f64; 2] {
    if target == 0.0 { [0.0; 2] } else { [-target, target.ln() + 1.0 - input] }
}

/// Its derivatives for the input and the logarithm of the target.
pub(crate) fn log_slopes(input: f64, target: f64) -> [f64; 2] {
    let [by_input, by_target] = slopes(input, target.exp());
    [by_input, by_target * target.exp()]
}
