//! One task per band of output rows. A row is made in two steps that both run over contiguous channels: the two
//! source rows are mixed into one line, then neighbouring pixels of that line. The line stays in the inner caches, so
//! the image is read about once and the time is that of writing the result.

use rayon::prelude::*;

/// Rows of a task.
const BAND: usize = 4;

/// The two source samples of an output and the weight of the second.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight: f32,
}

pub(super) fn resize_bilinear(x: &[f32], [height, width]: [usize; 2], shape: [usize; 4]) -> Vec<f32> {
    let [_, out_h, out_w, channels] = shape;
    let rows: Vec<_> = (0..out_h).map(|i| tap(i, height, out_h)).collect();
    let cols: Vec<_> = (0..out_w).map(|i| tap(i, width, out_w)).collect();
    let line_len = width * channels;
    let mut y = vec![0.0; shape.iter().product()];
    y.par_chunks_mut(BAND * out_w * channels).enumerate().for_each_init(
        || vec![0.0; line_len],
        |line, (band, y)| {
            for (i, y) in y.chunks_exact_mut(out_w * channels).enumerate() {
                let row = band * BAND + i;
                let image = &x[row / out_h * height * line_len..][..height * line_len];
                let tap = rows[row % out_h];
                let (first, second) = (&image[tap.first * line_len..], &image[tap.second * line_len..]);
                mix(&first[..line_len], &second[..line_len], tap.weight, line);
                widen(line, &cols, channels, y);
            }
        },
    );
    y
}

/// `y = a + weight (b - a)`: exactly `a` where both are equal or the weight is 0.
#[inline(always)]
fn mix(a: &[f32], b: &[f32], weight: f32, y: &mut [f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = a + weight * (b - a);
    }
}

#[inline(always)]
fn widen(line: &[f32], cols: &[Tap], channels: usize, y: &mut [f32]) {
    for (y, tap) in y.chunks_exact_mut(channels).zip(cols) {
        let (first, second) = (&line[tap.first * channels..], &line[tap.second * channels..]);
        mix(&first[..channels], &second[..channels], tap.weight, y);
    }
}

fn tap(i: usize, n_in: usize, n_out: usize) -> Tap {
    if n_out == 1 {
        return Tap { first: 0, second: 0, weight: 0.0 };
    }
    // Exact in integers, so that samples which coincide get weight 0.
    let (whole, rest) = (i * (n_in - 1) / (n_out - 1), i * (n_in - 1) % (n_out - 1));
    Tap { first: whole, second: (whole + 1).min(n_in - 1), weight: rest as f32 / (n_out - 1) as f32 }
}
