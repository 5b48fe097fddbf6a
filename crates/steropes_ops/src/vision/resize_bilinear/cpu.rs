//! One task per output row; the weights of a row and of a column are shared by all channels.

use rayon::prelude::*;

pub(super) fn resize_bilinear(x: &[f32], [height, width]: [usize; 2], shape: [usize; 4]) -> Vec<f32> {
    let [_, out_h, out_w, channels] = shape;
    let rows: Vec<_> = (0..out_h).map(|i| taps(i, height, out_h)).collect();
    let cols: Vec<_> = (0..out_w).map(|i| taps(i, width, out_w)).collect();
    let mut y = vec![0.0; shape.iter().product()];
    y.par_chunks_mut(out_w * channels).enumerate().for_each(|(row, y)| {
        let image = &x[row / out_h * height * width * channels..][..height * width * channels];
        let (r0, r1, fr) = rows[row % out_h];
        for (y, &(c0, c1, fc)) in y.chunks_exact_mut(channels).zip(&cols) {
            let at = |r: usize, c: usize| &image[(r * width + c) * channels..][..channels];
            let (a, b, c, d) = (at(r0, c0), at(r0, c1), at(r1, c0), at(r1, c1));
            let (wa, wb, wc, wd) = ((1.0 - fr) * (1.0 - fc), (1.0 - fr) * fc, fr * (1.0 - fc), fr * fc);
            for i in 0..channels {
                y[i] = wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
            }
        }
    });
    y
}

/// The two source samples of output `i` and the weight of the second.
fn taps(i: usize, n_in: usize, n_out: usize) -> (usize, usize, f32) {
    if n_out == 1 {
        return (0, 0, 0.0);
    }
    // Exact in integers, so that samples which coincide get weight 0 or 1.
    let (whole, rest) = (i * (n_in - 1) / (n_out - 1), i * (n_in - 1) % (n_out - 1));
    (whole, (whole + 1).min(n_in - 1), rest as f32 / (n_out - 1) as f32)
}
