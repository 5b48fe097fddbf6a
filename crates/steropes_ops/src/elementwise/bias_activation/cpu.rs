//! One pass, in vectors; ranges of rows are shared among threads. Their length depends on the shape alone, and what they add up
//! for the bias is added in their order, so results are the same for any number of threads.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use crate::elementwise::activation::Activation;
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 14;

/// The most tasks of a backward pass, each of which has sums for the bias of its own.
const MOST_RANGES: usize = 64;

pub(super) fn forward(activation: Activation, x: &mut [f32], bias: &[f32]) {
    let isa = Isa::current();
    let task = (TASK / bias.len()).max(1) * bias.len();
    x.par_chunks_mut(task).for_each(|x| isa.run(Rows { activation, x, bias }));
}

/// The gradients for `x` and the bias.
pub(super) fn backward(activation: Activation, x: &[f32], bias: &[f32], grad: &[f32]) -> [Vec<f32>; 2] {
    let isa = Isa::current();
    let width = bias.len();
    let rows = (TASK / width).max((x.len() / width).div_ceil(MOST_RANGES)).max(1);
    let mut grad_x = grad.to_vec();
    let sums: Vec<Vec<f32>> = grad_x
        .par_chunks_mut(rows * width)
        .zip(x.par_chunks(rows * width))
        .map(|(grad, x)| {
            let mut sums = vec![0.0; width];
            isa.run(BackwardRows { activation, x, bias, grad, sums: &mut sums });
            sums
        })
        .collect();
    let mut total = vec![0.0f32; width];
    for sums in &sums {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    [grad_x, total]
}

struct Rows<'a> {
    activation: Activation,
    x: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.x.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.chunks_mut(S::LANES).zip(self.bias.chunks(S::LANES)) {
                let count = x.len();
                // SAFETY: chunks are at most a vector, and their own length is given.
                unsafe {
                    let sum = s.load_part(x.as_ptr(), count, 0.0) + s.load_part(bias.as_ptr(), count, 0.0);
                    s.store_part(x.as_mut_ptr(), count, self.activation.value(s, sum));
                }
            }
        }
    }
}

struct BackwardRows<'a> {
    activation: Activation,
    x: &'a [f32],
    bias: &'a [f32],
    grad: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for BackwardRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.bias.len();
        assert!(self.sums.len() == width && self.grad.len() == self.x.len(), "a sum for each place");
        for (x, grad) in self.x.chunks_exact(width).zip(self.grad.chunks_exact_mut(width)) {
            for c in (0..width).step_by(S::LANES) {
                let count = S::LANES.min(width - c);
                // SAFETY: `count` values from `c` on are inside the row, the bias and the sums.
                unsafe {
                    let bias = s.load_part(self.bias.as_ptr().add(c), count, 0.0);
                    let x = s.load_part(x.as_ptr().add(c), count, 0.0) + bias;
                    let at = grad.as_mut_ptr().add(c);
                    let grad = s.load_part(at, count, 0.0) * self.activation.slope(s, x);
                    s.store_part(at, count, grad);
                    let sum = self.sums.as_mut_ptr().add(c);
                    s.store_part(sum, count, s.load_part(sum, count, 0.0) + grad);
                }
            }
        }
    }
}
