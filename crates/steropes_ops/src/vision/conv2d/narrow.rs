//! 1x1 convolutions to a few channels, such as the last one of a head. The register tile would spend most of its columns on
//! nothing, so here a vector holds one channel of neighbouring pixels instead. The time is that of reading the image, so a
//! vector's pixels are first copied in the order of memory: transposing them where they lie would jump from pixel to
//! pixel, which the hardware does not foresee.

use super::cpu::Fused;
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Channels of the result that are summed side by side.
pub(super) const MOST_OUTPUTS: usize = 4;

/// Pixels of a task, a multiple of all vectors.
const TASK: usize = 1024;

/// The largest vector.
const MOST_LANES: usize = 16;

/// Values between copied pixels. Without them, pixels of a power of two of channels would share few sets of the first-level
/// cache.
const GAP: usize = 16;

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

    /// Channels of the result.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The convolution of a few pixels `[pixels, inputs]` on this thread.
    #[inline(always)]
    pub(super) fn pixels<S: Simd>(&self, s: S, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let fused = Fused { relu_input: false, relu_output: false, residual: None };
        Task { conv: self, x, bias, fused, y }.run(s);
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
        let mut copy = vec![0.0f32; S::LANES * (inputs + GAP)];
        for (block, x) in self.x.chunks(S::LANES * inputs).enumerate() {
            let mut sums = [s.splat(0.0); MOST_OUTPUTS];
            if let Some(bias) = self.bias {
                for (sum, b) in sums.iter_mut().zip(bias) {
                    *sum = s.splat(*b);
                }
            }
            for (to, from) in copy.chunks_exact_mut(inputs + GAP).zip(x.chunks_exact(inputs)) {
                to[..inputs].copy_from_slice(from);
            }
            add_products(s, &copy, &self.conv.weight, self.fused.floor(), &mut sums);
            let mut out = [[0.0f32; MOST_LANES]; MOST_OUTPUTS];
            for (out, sum) in out.iter_mut().zip(sums) {
                // SAFETY: a vector has at most 16 lanes.
                unsafe { s.store(out.as_mut_ptr(), s.splat(lowest).max(sum)) };
            }
            for pixel in 0..x.len() / inputs {
                for (o, out) in out.iter().enumerate().take(outputs) {
                    let at = (block * S::LANES + pixel) * outputs + o;
                    let mut y = out[pixel];
                    if let Some(residual) = self.fused.residual {
                        y += residual[at];
                    }
                    self.y[at] = y;
                }
            }
        }
    }
}

/// `sums[o] += Σ x[pixel][i] w[i][o]` for a vector of pixels, `GAP` values between them.
#[inline(always)]
fn add_products<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[[f32; MOST_OUTPUTS]],
    floor: f32,
    sums: &mut [S::F; MOST_OUTPUTS],
) {
    let inputs = weight.len();
    assert!(x.len() >= S::LANES * (inputs + GAP), "a vector of pixels");
    let mut channels = [0.0f32; MOST_LANES * MOST_LANES];
    for first in (0..inputs).step_by(S::LANES) {
        let count = S::LANES.min(inputs - first);
        let mut rows = [std::ptr::null(); MOST_LANES];
        for (pixel, row) in rows.iter_mut().enumerate().take(S::LANES) {
            *row = x[pixel * (inputs + GAP) + first..].as_ptr();
        }
        // SAFETY: each row has `count` values; the buffer holds a vector for each of at most a vector's channels.
        unsafe { s.transpose(&rows, count, floor, channels.as_mut_ptr(), S::LANES) };
        for (g, w) in weight[first..first + count].iter().enumerate() {
            // SAFETY: as above.
            let v = unsafe { s.load(channels[g * S::LANES..].as_ptr()) };
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = v.mul_add(s.splat(*w), *sum);
            }
        }
    }
}
