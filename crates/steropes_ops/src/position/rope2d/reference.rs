//! f64 oracle, from the formula.

/// Turns heads of `[tokens, heads, head_dim]` by the (row, column) of their token.
pub(crate) fn rope2d(x: &[f32], positions: &[u32], heads: usize, head_dim: usize, base: f64) -> Vec<f64> {
    let quarter = head_dim / 4;
    let mut y: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    for token in 0..positions.len() / 2 {
        for head in 0..heads {
            for axis in 0..2 {
                for i in 0..quarter {
                    let position = f64::from(positions[token * 2 + axis]);
                    let angle = position / base.powf(i as f64 / quarter as f64);
                    let u = (token * heads + head) * head_dim + axis * 2 * quarter + i;
                    let v = u + quarter;
                    let (old_u, old_v) = (f64::from(x[u]), f64::from(x[v]));
                    y[u] = old_u * angle.cos() - old_v * angle.sin();
                    y[v] = old_v * angle.cos() + old_u * angle.sin();
                }
            }
        }
    }
    y
}
