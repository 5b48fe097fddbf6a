//! One task per band of output rows. A row is made in two steps that both run over contiguous channels: the two
//! source rows are mixed into one line, then neighbouring pixels of that line. The line stays in the inner caches, so
//! the image is read about once and the time is that of writing the result.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Rows of a task.
const BAND: usize = 4;

/// The two source samples of an output and the weight of the second.
#[derive(Clone, Copy)]
pub(in crate::vision) struct Tap {
    pub(in crate::vision) first: usize,
    pub(in crate::vision) second: usize,
    pub(in crate::vision) weight: f32,
}

pub(super) fn resize_bilinear(x: &[f32], [height, width]: [usize; 2], shape: [usize; 4]) -> Vec<f32> {
    let [_, out_h, out_w, channels] = shape;
    let grid = Grid {
        rows: taps(height, out_h),
        cols: taps(width, out_w),
        channels,
        line_len: width * channels,
        image_len: height * width * channels,
    };
    let isa = Isa::current();
    let mut y = vec![0.0; shape.iter().product()];
    y.par_chunks_mut(BAND * out_w * channels).enumerate().for_each_init(
        || vec![0.0; grid.line_len],
        |line, (band, y)| isa.run(Band { x, grid: &grid, first: band * BAND, line, y }),
    );
    y
}

/// What all bands share.
struct Grid {
    rows: Vec<Tap>,
    cols: Vec<Tap>,
    channels: usize,
    /// Values of a source row and of a source image.
    line_len: usize,
    image_len: usize,
}

/// The rows from `first` on, counted through all images of the batch.
struct Band<'a> {
    x: &'a [f32],
    grid: &'a Grid,
    first: usize,
    line: &'a mut [f32],
    y: &'a mut [f32],
}

impl Kernel for Band<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let g = self.grid;
        for (i, y) in self.y.chunks_exact_mut(g.cols.len() * g.channels).enumerate() {
            let (image, row) = ((self.first + i) / g.rows.len(), (self.first + i) % g.rows.len());
            let (image, tap) = (&self.x[image * g.image_len..][..g.image_len], g.rows[row]);
            let (above, below) = (&image[tap.first * g.line_len..], &image[tap.second * g.line_len..]);
            mix(&above[..g.line_len], &below[..g.line_len], tap.weight, self.line);
            for (y, tap) in y.chunks_exact_mut(g.channels).zip(&g.cols) {
                let (left, right) =
                    (&self.line[tap.first * g.channels..], &self.line[tap.second * g.channels..]);
                mix(&left[..g.channels], &right[..g.channels], tap.weight, y);
            }
        }
    }
}

/// `y = a + weight (b - a)`: exactly `a` where both are equal or the weight is 0.
#[inline(always)]
pub(in crate::vision) fn mix(a: &[f32], b: &[f32], weight: f32, y: &mut [f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = a + weight * (b - a);
    }
}

/// For each of `n_out` outputs.
pub(in crate::vision) fn taps(n_in: usize, n_out: usize) -> Vec<Tap> {
    (0..n_out).map(|i| tap(i, n_in, n_out)).collect()
}

fn tap(i: usize, n_in: usize, n_out: usize) -> Tap {
    if n_out == 1 {
        return Tap { first: 0, second: 0, weight: 0.0 };
    }
    // Exact in integers, so that samples which coincide get weight 0.
    let (whole, rest) = (i * (n_in - 1) / (n_out - 1), i * (n_in - 1) % (n_out - 1));
    Tap { first: whole, second: (whole + 1).min(n_in - 1), weight: rest as f32 / (n_out - 1) as f32 }
}
