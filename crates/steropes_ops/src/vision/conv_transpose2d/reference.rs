//! The formula, value by value.

/// `y[k row + r, k col + c, o] = b[o] + Σ x[row, col, i] w[i, o, r, c]` for `x` `[batch, height, width, inputs]` and
/// `weight` `[inputs, bias.len(), k, k]`.
pub(super) fn conv_transpose2d(
    x: &[f32],
    [batch, height, width, inputs]: [usize; 4],
    weight: &[f32],
    bias: &[f32],
    k: usize,
) -> Vec<f64> {
    let outputs = bias.len();
    let mut y = Vec::new();
    for b in 0..batch {
        for row in 0..k * height {
            for col in 0..k * width {
                let pixel = (b * height + row / k) * width + col / k;
                for o in 0..outputs {
                    let mut sum = f64::from(bias[o]);
                    for i in 0..inputs {
                        let w = weight[((i * outputs + o) * k + row % k) * k + col % k];
                        sum += f64::from(x[pixel * inputs + i]) * f64::from(w);
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}
