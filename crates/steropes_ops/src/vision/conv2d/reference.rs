//! The formula, value by value.

use super::Geometry;

/// The convolution without bias of `x` `[batch, height, width, inputs]` with `weight` `[outputs, inputs, kernel, kernel]`.
pub(super) fn conv2d(x: &[f64], [batch, height, width]: [usize; 3], weight: &[f32], g: Geometry) -> Vec<f64> {
    let k = g.kernel;
    let rows = (height + 2 * g.padding - k) / g.stride + 1;
    let cols = (width + 2 * g.padding - k) / g.stride + 1;
    let mut y = vec![0.0; batch * rows * cols * g.outputs];
    for (pixel, y) in y.chunks_mut(g.outputs).enumerate() {
        let (b, row, col) = (pixel / (rows * cols), pixel / cols % rows, pixel % cols);
        for r in 0..k {
            for c in 0..k {
                // Shifted by the padding, so that they are never negative.
                let (from_row, from_col) = (g.stride * row + r, g.stride * col + c);
                let inside = (g.padding..height + g.padding).contains(&from_row)
                    && (g.padding..width + g.padding).contains(&from_col);
                if !inside {
                    continue;
                }
                let source = (b * height + from_row - g.padding) * width + from_col - g.padding;
                for (o, y) in y.iter_mut().enumerate() {
                    for i in 0..g.inputs {
                        let w = weight[((o * g.inputs + i) * k + r) * k + c];
                        *y += f64::from(w) * x[source * g.inputs + i];
                    }
                }
            }
        }
    }
    y
}
