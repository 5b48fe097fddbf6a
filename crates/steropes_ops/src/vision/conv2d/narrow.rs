//! 1x1 convolutions to a few channels, such as the last one of a head. The register tile would spend most of its columns on
//! nothing, so here a vector holds one channel of neighbouring pixels instead. The time is that of reading the image.

use super::cpu::Fused;
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Channels of the result that are summed side by side.
pub(super) const MOST_OUTPUTS: usize = 4;

/// Pixels of a task, a multiple of all vectors.
const TASK: usize = 1024;

/// A vector of each of as many channels.
const BUFFER: usize = 16 * 16;

#[derive(Debug)]
pub(super) struct Narrow {
    /// `[inputs][MOST_OUTPUTS]`, zeros after the last output.
    weight: Vec<[f32; MOST_OUTPUTS]>,
    outputs: usize,
    isa: Isa,
}

impl Narrow {
    pub(super) fn new(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        let mut packed = vec![[0.0; MOST_OUTPUTS]; inputs];
        for (o, row) in weight.chunks_exact(inputs).enumerate() {
            packed.iter_mut().zip(row).for_each(|(packed, w)| packed[o] = *w);
        }
        Self { weight: packed, outputs, isa: Isa::current() }
    }

    pub(super) fn conv2d(&self, x: &[f32], bias: Option<&[f32]>, fused: &Fused<'_>) -> Vec<f32> {
        let inputs = self.weight.len();
        let mut y = vec![0.0; x.len() / inputs * self.outputs];
        y.par_chunks_mut(TASK * self.outputs).zip(x.par_chunks(TASK * inputs)).enumerate().for_each(
            |(task, (y, x))| {
                let residual = fused.residual.map(|r| &r[task * TASK * self.outputs..][..y.len()]);
                let fused = Fused { residual, ..*fused };
                self.isa.run(Task { conv: self, x, bias, fused, y });
            },
        );
        y
    }
}

struct Task<'a> {
    conv: &'a Narrow,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    fused: Fused<'a>,
    y: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (inputs, outputs) = (self.conv.weight.len(), self.conv.outputs);
        let lowest = if self.fused.relu_output { 0.0 } else { f32::NEG_INFINITY };
        for (block, x) in self.x.chunks(S::LANES * inputs).enumerate() {
            let pixels = x.len() / inputs;
            let mut sums = [s.splat(0.0); MOST_OUTPUTS];
            if let Some(bias) = self.bias {
                for (sum, b) in sums.iter_mut().zip(bias) {
                    *sum = s.splat(*b);
                }
            }
            add_products(s, x, pixels, &self.conv.weight, self.fused.floor(), &mut sums);
            let mut out = [0.0f32; MOST_OUTPUTS * 16];
            for (o, sum) in sums.into_iter().enumerate() {
                // SAFETY: a vector has at most 16 lanes.
                unsafe { s.store(out[o * 16..].as_mut_ptr(), s.splat(lowest).max(sum)) };
            }
            for pixel in 0..pixels {
                for o in 0..outputs {
                    let at = (block * S::LANES + pixel) * outputs + o;
                    self.y[at] = out[o * 16 + pixel] + self.fused.residual.map_or(0.0, |r| r[at]);
                }
            }
        }
    }
}

/// `sums[o] += Σ x[pixel, i] w[i][o]` for at most a vector of pixels.
#[inline(always)]
fn add_products<S: Simd>(
    s: S,
    x: &[f32],
    pixels: usize,
    weight: &[[f32; MOST_OUTPUTS]],
    floor: f32,
    sums: &mut [S::F; MOST_OUTPUTS],
) {
    let inputs = weight.len();
    let mut rows = [std::ptr::null(); 16];
    for (row, x) in rows.iter_mut().zip(x.chunks_exact(inputs)).take(pixels.min(S::LANES)) {
        *row = x.as_ptr();
    }
    let mut channels = [0.0f32; BUFFER];
    for first in (0..inputs).step_by(S::LANES) {
        let count = S::LANES.min(inputs - first);
        let mut starts = [std::ptr::null::<f32>(); 16];
        for (start, row) in starts.iter_mut().zip(&rows) {
            // A null row stays null: it stands for zeros.
            *start = if row.is_null() { *row } else { row.wrapping_add(first) };
        }
        // SAFETY: each row is null or has `inputs` values; the buffer holds 16 vectors of at most 16 lanes.
        unsafe { s.transpose(&starts, count, floor, channels.as_mut_ptr(), S::LANES) };
        for (g, w) in weight[first..first + count].iter().enumerate() {
            // SAFETY: as above.
            let v = unsafe { s.load(channels[g * S::LANES..].as_ptr()) };
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = v.mul_add(s.splat(*w), *sum);
            }
        }
    }
}
