//! Three passes over a row, which is in L1 after the first: mean, variance around it, result. Ranges of rows are shared
//! among threads.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let isa = Isa::current();
    let mut out = Vec::with_capacity(x.len());
    let y = &mut out.spare_capacity_mut()[..x.len()];
    let task = (TASK / weight.len()).max(1) * weight.len();
    let run = |(y, x): (&mut [MaybeUninit<f32>], &[f32])| isa.run(Rows { x, y, weight, bias, eps });
    if x.len() <= TASK {
        run((y, x));
    } else {
        y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(run);
    }
    // SAFETY: the capacity was reserved, and the tasks wrote every row.
    unsafe { out.set_len(x.len()) };
    out
}

struct Rows<'a> {
    x: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.weight.len();
        let whole = width / S::LANES * S::LANES;
        assert_eq!(self.bias.len(), width, "a bias for every weight");
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let mean = sum(s, x) / width as f32;
            let variance = sum_of_squares(s, x, mean) / width as f32;
            // The square root and the division are correctly rounded, once per row.
            let scale = [s.splat(mean), s.splat(1.0 / (variance + self.eps).sqrt())];
            let row = Row {
                x: x.as_ptr(),
                y: y.as_mut_ptr().cast(),
                weight: self.weight.as_ptr(),
                bias: self.bias.as_ptr(),
            };
            // SAFETY: every slice has `width` values.
            unsafe {
                for c in (0..whole).step_by(S::LANES) {
                    row.scale(s, c, S::LANES, scale);
                }
                if whole < width {
                    row.scale(s, whole, width - whole, scale);
                }
            }
        }
    }
}

/// A row and what it is scaled by.
struct Row {
    x: *const f32,
    y: *mut f32,
    weight: *const f32,
    bias: *const f32,
}

impl Row {
    /// `y = (x - mean) factor weight + bias` for `count` values (at most a vector) from `c` on.
    ///
    /// # Safety
    /// All four must have them.
    #[inline(always)]
    unsafe fn scale<S: Simd>(&self, s: S, c: usize, count: usize, [mean, factor]: [S::F; 2]) {
        // SAFETY: the caller's promise.
        unsafe {
            let scaled = (s.load_part(self.x.add(c), count, 0.0) - mean) * factor;
            let weight = s.load_part(self.weight.add(c), count, 0.0);
            let bias = s.load_part(self.bias.add(c), count, 0.0);
            s.store_part(self.y.add(c), count, scaled.mul_add(weight, bias));
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
