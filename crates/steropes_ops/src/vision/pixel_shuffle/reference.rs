//! The definition, element by element.

/// `y[p row + r, p col + c, channel] = x[row, col, channel p² + r p + c]`.
pub(super) fn pixel_shuffle(x: &[f32], [batch, height, width, n]: [usize; 4], p: usize) -> Vec<f64> {
    let channels = n / (p * p);
    let mut y = Vec::new();
    for b in 0..batch {
        for row in 0..p * height {
            for col in 0..p * width {
                for channel in 0..channels {
                    let token = (b * height + row / p) * width + col / p;
                    y.push(f64::from(x[token * n + channel * p * p + row % p * p + col % p]));
                }
            }
        }
    }
    y
}
