//! Oracle, from the definition.

/// Row `i` of `x`, then row `i` of `y`, for `rows` rows.
pub(crate) fn concat(x: &[f32], y: &[f32], rows: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for i in 0..rows {
        for source in [x, y] {
            let width = source.len() / rows;
            for c in 0..width {
                out.push(source[i * width + c]);
            }
        }
    }
    out
}
