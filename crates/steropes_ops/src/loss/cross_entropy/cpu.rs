//! A row is read in blocks that stay in L1 for two passes, largest value and exponentials; what was summed before is rescaled when
//! the largest value grows. The gradient reads the row once more. Rows are shared among threads.

use super::{CrossEntropyOptions, Reduction};
use crate::cpu::Isa;
use crate::cpu::math::exp;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Values in a block: 4 KB.
const BLOCK: usize = 1024;

/// The losses of all rows, 0 for ignored ones.
pub(super) fn losses(
    logits: &[f32],
    targets: &[i64],
    classes: usize,
    options: &CrossEntropyOptions,
) -> Vec<f64> {
    let isa = Isa::current();
    let smoothing = f64::from(options.label_smoothing);
    let loss = |(row, &target): (&[f32], &i64)| {
        if target == options.ignore_index {
            return 0.0;
        }
        let sums = isa.run(Sums { row, all: smoothing > 0.0 });
        let log_sum = f64::from(sums.largest) + sums.exponentials.ln();
        let own = log_sum - f64::from(row[target as usize]);
        if smoothing > 0.0 {
            (1.0 - smoothing) * own + smoothing * (log_sum - sums.all / classes as f64)
        } else {
            own
        }
    };
    logits.par_chunks_exact(classes).zip(targets).map(loss).collect()
}

/// What the sum of the losses is multiplied by; not a number for a mean of nothing.
pub(super) fn share(targets: &[i64], options: &CrossEntropyOptions) -> f64 {
    match options.reduction {
        Reduction::Mean => match targets.iter().filter(|&&t| t != options.ignore_index).count() {
            0 => f64::NAN,
            count => 1.0 / count as f64,
        },
        _ => 1.0,
    }
}

/// The gradient of the loss of each row, times `scale` of the row.
pub(super) fn gradient(
    logits: &[f32],
    targets: &[i64],
    classes: usize,
    options: &CrossEntropyOptions,
    scale: impl Fn(usize) -> f32 + Sync,
) -> Vec<f32> {
    let isa = Isa::current();
    let mut gradient = vec![0.0; logits.len()];
    let rows = gradient.par_chunks_exact_mut(classes).zip(logits.par_chunks_exact(classes));
    rows.zip(targets).enumerate().for_each(|(i, ((gradient, row), &target))| {
        if target == options.ignore_index {
            return;
        }
        let sums = isa.run(Sums { row, all: false });
        let (scale, smoothing) = (scale(i), options.label_smoothing);
        let factor = (f64::from(scale) / sums.exponentials) as f32;
        let even = scale * (smoothing / classes as f32);
        isa.run(Gradient { row, gradient, largest: sums.largest, factor, even });
        gradient[target as usize] -= scale * (1.0 - smoothing);
    });
    gradient
}

/// What a row sums to.
struct RowSums {
    largest: f32,
    /// `Σ e^(x - largest)`.
    exponentials: f64,
    /// `Σ x`, if it was asked for.
    all: f64,
}

struct Sums<'a> {
    row: &'a [f32],
    all: bool,
}

impl Kernel for Sums<'_> {
    type Output = RowSums;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> RowSums {
        let mut sums = RowSums { largest: f32::MIN, exponentials: 0.0, all: 0.0 };
        for block in self.row.chunks(BLOCK) {
            let mut tops = s.splat(f32::MIN);
            for part in block.chunks(S::LANES) {
                // SAFETY: a part is at most a vector, and its own length is given.
                let x = unsafe { s.load_part(part.as_ptr(), part.len(), f32::MIN) };
                tops = tops.if_less(x, x, tops);
            }
            let top = tops.largest();
            if top > sums.largest {
                sums.exponentials *= f64::from(sums.largest - top).exp();
                sums.largest = top;
            }
            let largest = s.splat(sums.largest);
            let (mut exponentials, mut all) = (s.splat(0.0), s.splat(0.0));
            for part in block.chunks(S::LANES) {
                // SAFETY: as above.
                let x = unsafe { s.load_part(part.as_ptr(), part.len(), f32::NEG_INFINITY) };
                exponentials = exponentials + exp(s, x - largest);
                if self.all {
                    // SAFETY: as above.
                    all = all + unsafe { s.load_part(part.as_ptr(), part.len(), 0.0) };
                }
            }
            sums.exponentials += f64::from(exponentials.sum());
            sums.all += f64::from(all.sum());
        }
        sums
    }
}

struct Gradient<'a> {
    row: &'a [f32],
    gradient: &'a mut [f32],
    largest: f32,
    /// The scale of the row divided by its sum of exponentials.
    factor: f32,
    /// What every class gives up to the even share of a target.
    even: f32,
}

impl Kernel for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (largest, factor, even) = (s.splat(self.largest), s.splat(self.factor), s.splat(self.even));
        for (x, y) in self.row.chunks(S::LANES).zip(self.gradient.chunks_mut(S::LANES)) {
            // SAFETY: both are at most a vector, of the same length, which is given.
            unsafe {
                let e = exp(s, s.load_part(x.as_ptr(), x.len(), 0.0) - largest);
                s.store_part(y.as_mut_ptr(), y.len(), e * factor - even);
            }
        }
    }
}
