//! The formula, value by value.

/// `x` `[batch, height, width, channels]` at `out` rows and columns.
pub(in crate::vision) fn resize_bilinear(
    x: &[f32],
    [batch, height, width, channels]: [usize; 4],
    out: [usize; 2],
) -> Vec<f64> {
    let source = |i: usize, n_in: usize, n_out: usize| {
        let s = if n_out == 1 { 0.0 } else { (i * (n_in - 1)) as f64 / (n_out - 1) as f64 };
        (s.floor() as usize, (s.floor() as usize + 1).min(n_in - 1), s - s.floor())
    };
    let mut y = Vec::new();
    for b in 0..batch {
        for row in 0..out[0] {
            for col in 0..out[1] {
                let (r0, r1, fr) = source(row, height, out[0]);
                let (c0, c1, fc) = source(col, width, out[1]);
                for channel in 0..channels {
                    let at = |r: usize, c: usize| {
                        f64::from(x[((b * height + r) * width + c) * channels + channel])
                    };
                    let upper = (1.0 - fc) * at(r0, c0) + fc * at(r0, c1);
                    let lower = (1.0 - fc) * at(r1, c0) + fc * at(r1, c1);
                    y.push((1.0 - fr) * upper + fr * lower);
                }
            }
        }
    }
    y
}
