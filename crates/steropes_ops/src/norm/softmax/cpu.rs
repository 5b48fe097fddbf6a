//! Three passes over a row: largest value, exponentials and their sum, scaling. Ranges of rows are shared among threads.

use crate::cpu::Isa;
use crate::cpu::math::exp;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

pub(super) fn softmax(x: &[f32], width: usize) -> Vec<f32> {
    let isa = Isa::current();
    let mut y = x.to_vec();
    let task = (TASK / width).max(1) * width;
    y.par_chunks_mut(task).for_each(|y| isa.run(Rows { y, width }));
    y
}

struct Rows<'a> {
    y: &'a mut [f32],
    width: usize,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.y.chunks_exact_mut(self.width) {
            let largest = s.splat(largest(row));
            let mut sums = s.splat(0.0);
            let mut rest = 0.0f32;
            for chunk in row.chunks_mut(S::LANES) {
                let count = chunk.len();
                // SAFETY: a chunk is at most a vector, and its own length is given.
                let e = unsafe { exp(s, s.load_part(chunk.as_ptr(), count, 0.0) - largest) };
                // SAFETY: as above.
                unsafe { s.store_part(chunk.as_mut_ptr(), count, e) };
                if count == S::LANES {
                    sums = sums + e;
                } else {
                    rest = chunk.iter().sum();
                }
            }
            let factor = 1.0 / (sums.sum() + rest);
            row.iter_mut().for_each(|y| *y *= factor);
        }
    }
}

/// The largest value; one that is not a number is passed over here and found again in the sum.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; 16];
    let mut chunks = row.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let last = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
    lanes.into_iter().fold(last, f32::max)
}
