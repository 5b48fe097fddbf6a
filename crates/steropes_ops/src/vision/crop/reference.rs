//! The definition, element by element.

/// `y[b, row, col, channel] = x[b, row, col, channel]` for `x` `[batch, h, w, channels]`.
pub(super) fn crop(x: &[f32], [batch, h, w, channels]: [usize; 4], height: usize, width: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for b in 0..batch {
        for row in 0..height {
            for col in 0..width {
                for channel in 0..channels {
                    y.push(f64::from(x[((b * h + row) * w + col) * channels + channel]));
                }
            }
        }
    }
    y
}
