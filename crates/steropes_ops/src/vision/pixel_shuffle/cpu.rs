//! One task per row of tokens, which becomes `patch` rows of the result. A token is first copied, in the order of memory,
//! to a buffer that stays in the inner caches: reading it in the order of the result would jump by `patch²` values and wait
//! for memory at every jump. Each row of the patch is then a matrix `[channels][patch]` of the buffer; it is transposed in
//! blocks of 4 x 4, which the compiler keeps in vector registers.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Side of a transposed block.
const SIDE: usize = 4;

/// Values between the channels of the buffer. Without them, patches of 16 x 16 would lie a power of two apart and share few
/// sets of the first-level cache.
const GAP: usize = 16;

pub(super) fn pixel_shuffle(x: &[f32], width: usize, patch: usize, shape: [usize; 4]) -> Vec<f32> {
    let channels = shape[3];
    let row_len = width * patch * patch * channels;
    let isa = Isa::current();
    let mut y = vec![0.0f32; shape.iter().product()];
    y.par_chunks_mut(row_len.max(1)).zip(x.par_chunks(row_len.max(1))).for_each_init(
        || vec![0.0f32; channels * (patch * patch + GAP)],
        |buffer, (y, x)| isa.run(TokenRow { x, patch, channels, buffer, y }),
    );
    y
}

struct TokenRow<'a> {
    x: &'a [f32],
    patch: usize,
    channels: usize,
    buffer: &'a mut [f32],
    y: &'a mut [f32],
}

impl Kernel for TokenRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (patch, channels) = (self.patch, self.channels);
        let taps = patch * patch;
        let line_len = self.y.len() / patch;
        for (col, token) in self.x.chunks_exact(taps * channels).enumerate() {
            for (to, from) in self.buffer.chunks_exact_mut(taps + GAP).zip(token.chunks_exact(taps)) {
                to[..taps].copy_from_slice(from);
            }
            for (r, line) in self.y.chunks_exact_mut(line_len).enumerate() {
                let y = &mut line[col * patch * channels..][..patch * channels];
                transpose(&self.buffer[r * patch..], taps + GAP, y, channels);
            }
        }
    }
}

/// `y[c][channel] = x[channel * stride + c]` for `y` with rows of `channels` values.
#[inline(always)]
fn transpose(x: &[f32], stride: usize, y: &mut [f32], channels: usize) {
    let patch = y.len() / channels;
    let (whole_columns, whole_channels) = (patch / SIDE * SIDE, channels / SIDE * SIDE);
    for channel in (0..whole_channels).step_by(SIDE) {
        for c in (0..whole_columns).step_by(SIDE) {
            let mut rows = [[0.0f32; SIDE]; SIDE];
            for (i, row) in rows.iter_mut().enumerate() {
                row.copy_from_slice(&x[(channel + i) * stride + c..][..SIDE]);
            }
            for j in 0..SIDE {
                let column = [rows[0][j], rows[1][j], rows[2][j], rows[3][j]];
                y[(c + j) * channels + channel..][..SIDE].copy_from_slice(&column);
            }
        }
        for c in whole_columns..patch {
            for i in channel..channel + SIDE {
                y[c * channels + i] = x[i * stride + c];
            }
        }
    }
    for channel in whole_channels..channels {
        for (c, v) in x[channel * stride..][..patch].iter().enumerate() {
            y[c * channels + channel] = *v;
        }
    }
}
