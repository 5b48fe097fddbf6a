//! f64 oracle, from the formula.

/// Turns heads of `[tokens, heads, head_dim]` by the (row, column) of their token.
pub(crate) fn rope2d(x: &[f64], positions: &[i64], heads: usize, head_dim: usize, base: f64) -> Vec<f64> {
    let quarter = head_dim / 4;
    let mut y = x.to_vec();
    for token in 0..positions.len() / 2 {
        for head in 0..heads {
            for axis in 0..2 {
                for i in 0..quarter {
                    let position = positions[token * 2 + axis] as f64;
                    let angle = position / base.powf(i as f64 / quarter as f64);
                    let u = (token * heads + head) * head_dim + axis * 2 * quarter + i;
                    let v = u + quarter;
                    y[u] = x[u] * angle.cos() - x[v] * angle.sin();
                    y[v] = x[v] * angle.cos() + x[u] * angle.sin();
                }
            }
        }
    }
    y
}

/// The derivative of `sum(gradient * rope2d(x))` with respect to each value of `x`, by central differences.
pub(crate) fn differences(
    gradient: &[f64],
    x: &[f64],
    positions: &[i64],
    heads: usize,
    head_dim: usize,
    base: f64,
) -> Vec<f64> {
    let loss = |x: &[f64]| -> f64 {
        let y = rope2d(x, positions, heads, head_dim, base);
        y.iter().zip(gradient).map(|(y, g)| y * g).sum()
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
