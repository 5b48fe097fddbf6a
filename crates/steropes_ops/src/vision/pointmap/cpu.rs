//! Tasks of [`TASK`] pixels, worked on in blocks of [`BLOCK`]: a block is split into its channels, so that the
//! exponentials run over contiguous values and become vector code of the instruction set at hand, then joined again.

use super::{ConfidenceMode, DepthMode};
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Pixels of a task.
const TASK: usize = 64 * BLOCK;

/// Pixels of a block: its channels take 1 KB of the innermost cache.
const BLOCK: usize = 64;

pub(super) fn pointmap(raw: &[f32], depth: DepthMode, mode: ConfidenceMode) -> (Vec<f32>, Vec<f32>) {
    let pixels = raw.len() / 4;
    let isa = Isa::current();
    let mut points = vec![0.0f32; 3 * pixels];
    let mut confidences = vec![0.0f32; pixels];
    points
        .par_chunks_mut(3 * TASK)
        .zip(confidences.par_chunks_mut(TASK))
        .zip(raw.par_chunks(4 * TASK))
        .for_each(|((points, confidences), raw)| isa.run(Task { raw, depth, mode, points, confidences }));
    (points, confidences)
}

struct Task<'a> {
    raw: &'a [f32],
    depth: DepthMode,
    mode: ConfidenceMode,
    points: &'a mut [f32],
    confidences: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let blocks = self.points.chunks_mut(3 * BLOCK).zip(self.confidences.chunks_mut(BLOCK));
        for (raw, (points, confidences)) in self.raw.chunks(4 * BLOCK).zip(blocks) {
            let mut scale = [0.0f32; BLOCK];
            let mut last = [0.0f32; BLOCK];
            for ((v, scale), last) in raw.chunks_exact(4).zip(&mut scale).zip(&mut last) {
                *scale = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
                *last = v[3];
            }
            scales(self.depth, &mut scale);
            for c in &mut last {
                *c = confidence(self.mode, *c);
            }
            for ((v, point), scale) in raw.chunks_exact(4).zip(points.chunks_exact_mut(3)).zip(&scale) {
                for i in 0..3 {
                    point[i] = v[i] * scale;
                }
            }
            confidences.copy_from_slice(&last[..confidences.len()]);
        }
    }
}

/// From squared lengths to the factors of their vectors.
#[inline(always)]
fn scales(depth: DepthMode, squares: &mut [f32; BLOCK]) {
    match depth {
        DepthMode::Linear => *squares = [1.0; BLOCK],
        DepthMode::Square => {
            for d in squares {
                *d = d.sqrt();
            }
        }
        DepthMode::Exp => {
            for d in squares {
                let length = d.sqrt();
                *d = exp_m1(length) / length.max(1e-8);
            }
        }
    }
}

#[inline(always)]
pub(super) fn confidence(mode: ConfidenceMode, x: f32) -> f32 {
    match mode {
        ConfidenceMode::Exp { min, max } => {
            // Not `f32::min`, which would turn NaN into the largest confidence.
            let (e, most) = (exp(x), max - min);
            min + if e > most { most } else { e }
        }
        ConfidenceMode::Sigmoid { min, max } => (max - min) / (1.0 + exp(-x)) + min,
    }
}

/// `e^x`; not the library's, which is a call per value.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let (p, n) = exp_parts(x);
    // In two halves, so that neither leaves the normal numbers where the result does not.
    let half = round(n * 0.5);
    (1.0 + p) * power_of_two(half) * power_of_two(n - half)
}

/// `e^x - 1` for `x >= 0`.
#[inline(always)]
fn exp_m1(x: f32) -> f32 {
    let (p, n) = exp_parts(x);
    // 2^n (1 + p) - 1 with the two large terms subtracted exactly; half of it, since 2^128 is no f32.
    let half = power_of_two(n - 1.0);
    (half * p + (half - 0.5)) * 2.0
}

/// `(e^r - 1, n)` with `x = n ln 2 + r`, `n` whole from -152 to 128 and `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, f32) {
    // Comparisons rather than `clamp`'s library form: NaN passes both.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let n = round(x * std::f32::consts::LOG2_E);
    // ln 2 in two parts, the first of so few bits that its product with `n` is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    // r + r² q(r), q fitted to e^r - 1 with a relative error of 1.4e-8.
    let q = 1.388_250_7e-3;
    let q = q * r + 8.366_58e-3;
    let q = q * r + 4.166_72e-2;
    let q = q * r + 1.666_654_3e-1;
    let q = q * r + 0.499_999_97;
    (r * r * q + r, n)
}

/// The nearest whole number, for magnitudes below 2^22: adding 1.5 * 2^23 leaves no bits below 1.
#[inline(always)]
fn round(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// `2^n` for whole `n` from -126 to 127. The cast of NaN gives 0, so NaN gives 1.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}
