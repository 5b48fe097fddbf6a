//! One task per row of tokens, which becomes `patch` rows of the result. A token is first copied, in the order of memory,
//! to a buffer that stays in the inner caches: reading it in the order of the result would jump by `patch²` values and wait
//! for memory at every jump. Each row of the patch is then a matrix `[channels][patch]` of the buffer, which is transposed
//! in squares of a vector.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

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
    fn run<S: Simd>(self, s: S) {
        let (patch, channels) = (self.patch, self.channels);
        let taps = patch * patch;
        let line_len = self.y.len() / patch;
        for (col, token) in self.x.chunks_exact(taps * channels).enumerate() {
            for (to, from) in self.buffer.chunks_exact_mut(taps + GAP).zip(token.chunks_exact(taps)) {
                to[..taps].copy_from_slice(from);
            }
            for (r, line) in self.y.chunks_exact_mut(line_len).enumerate() {
                let y = &mut line[col * patch * channels..][..patch * channels];
                transpose(s, &self.buffer[r * patch..], taps + GAP, y, channels);
            }
        }
    }
}

/// `y[c][channel] = x[channel * stride + c]` for `y` with rows of `channels` values.
#[inline(always)]
fn transpose<S: Simd>(s: S, x: &[f32], stride: usize, y: &mut [f32], channels: usize) {
    let patch = y.len() / channels;
    if channels < S::LANES {
        for (channel, x) in x.chunks(stride).enumerate() {
            for (c, v) in x[..patch].iter().enumerate() {
                y[c * channels + channel] = *v;
            }
        }
        return;
    }
    assert!(x.len() >= (channels - 1) * stride + patch, "a row of the patch in every channel");
    for block in 0..channels.div_ceil(S::LANES) {
        // The last block overlaps the one before, so that all are whole: it writes the same values again.
        let channel = (block * S::LANES).min(channels - S::LANES);
        for c in (0..patch).step_by(S::LANES) {
            let mut rows = [std::ptr::null(); 16];
            for (i, row) in rows.iter_mut().enumerate().take(S::LANES) {
                *row = x[(channel + i) * stride + c..].as_ptr();
            }
            let count = S::LANES.min(patch - c);
            // SAFETY: the rows have `count` values by the assertion; column `c + g` of `y` has a vector's number of
            // channels from `channel` on.
            unsafe {
                let to = y.as_mut_ptr().add(c * channels + channel);
                s.transpose(&rows, count, f32::NEG_INFINITY, to, channels);
            }
        }
    }
}
