//! What the cases of losses share.

/// The derivatives of `f` for each value of `x`, by central differences of `step`.
pub(super) fn differences(x: &[f64], step: f64, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut at = x.to_vec();
    let mut value = |i: usize, x: f64| {
        let before = std::mem::replace(&mut at[i], x);
        let y = f(&at);
        at[i] = before;
        y
    };
    (0..x.len()).map(|i| (value(i, x[i] + step) - value(i, x[i] - step)) / (2.0 * step)).collect()
}
