//! Three passes over a row, which is in L1 after the first: mean, variance around it, result. Ranges of rows are shared
//! among threads.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let isa = Isa::current();
    let mut y = vec![0.0; x.len()];
    let task = (TASK / weight.len()).max(1) * weight.len();
    let run = |(y, x): (&mut [f32], &[f32])| isa.run(Rows { x, y, weight, bias, eps });
    if x.len() <= TASK {
        run((&mut y, x));
    } else {
        y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(run);
    }
    y
}

struct Rows<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let mean = sum(s, x) / width as f32;
            let variance = sum_of_squares(s, x, mean) / width as f32;
            // The square root and the division are correctly rounded, once per row.
            let factor = s.splat(1.0 / (variance + self.eps).sqrt());
            let mean = s.splat(mean);
            for c in (0..width).step_by(S::LANES) {
                let count = S::LANES.min(width - c);
                // SAFETY: every slice has `count` values from `c` on.
                unsafe {
                    let weight = s.load_part(self.weight[c..].as_ptr(), count, 0.0);
                    let bias = s.load_part(self.bias[c..].as_ptr(), count, 0.0);
                    let scaled = (s.load_part(x[c..].as_ptr(), count, 0.0) - mean) * factor;
                    s.store_part(y[c..].as_mut_ptr(), count, scaled.mul_add(weight, bias));
                }
            }
        }
    }
}

#[inline(always)]
fn sum<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let mut c = 0;
    while c + 4 * S::LANES <= row.len() {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: four vectors from `c` on are inside the row.
            *sum = *sum + unsafe { s.load(row.as_ptr().add(c + i * S::LANES)) };
        }
        c += 4 * S::LANES;
    }
    while c < row.len() {
        let count = S::LANES.min(row.len() - c);
        // SAFETY: `count` values from `c` on are inside the row.
        sums[0] = sums[0] + unsafe { s.load_part(row.as_ptr().add(c), count, 0.0) };
        c += S::LANES;
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

#[inline(always)]
fn sum_of_squares<S: Simd>(s: S, row: &[f32], mean: f32) -> f32 {
    let center = s.splat(mean);
    let mut sums = [s.splat(0.0); 4];
    let mut c = 0;
    while c + 4 * S::LANES <= row.len() {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: four vectors from `c` on are inside the row.
            let x = unsafe { s.load(row.as_ptr().add(c + i * S::LANES)) } - center;
            *sum = x.mul_add(x, *sum);
        }
        c += 4 * S::LANES;
    }
    while c < row.len() {
        let count = S::LANES.min(row.len() - c);
        // SAFETY: `count` values from `c` on are inside the row; the lanes behind are filled with the mean, which
        // adds nothing.
        let x = unsafe { s.load_part(row.as_ptr().add(c), count, mean) } - center;
        sums[0] = x.mul_add(x, sums[0]);
        c += S::LANES;
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}
