//! Oracle: element by element, from the definition.

/// `y[o, c, i] = x[o, index[c], i]` for `x` of `[outer, extent, inner]`.
pub(crate) fn index_select(x: &[f32], [outer, extent, inner]: [usize; 3], index: &[i64]) -> Vec<f32> {
    let mut y = Vec::new();
    for o in 0..outer {
        for &number in index {
            for i in 0..inner {
                y.push(x[(o * extent + number as usize) * inner + i]);
            }
        }
    }
    y
}
