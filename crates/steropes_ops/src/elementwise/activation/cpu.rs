//! One pass, in vectors; ranges are shared among threads.

use super::Activation;
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 14;

pub(super) fn forward(activation: Activation, y: &mut [f32]) {
    let isa = Isa::current();
    y.par_chunks_mut(TASK).for_each(|y| isa.run(Values(activation, y)));
}

pub(super) fn backward(activation: Activation, x: &[f32], grad: &mut [f32]) {
    let isa = Isa::current();
    let run = |(grad, x): (&mut [f32], &[f32])| isa.run(Slopes { activation, x, grad });
    grad.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(run);
}

struct Values<'a>(Activation, &'a mut [f32]);

impl Kernel for Values<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for chunk in self.1.chunks_mut(S::LANES) {
            // SAFETY: a chunk is at most a vector, and its own length is given.
            unsafe {
                let x = s.load_part(chunk.as_ptr(), chunk.len(), 0.0);
                s.store_part(chunk.as_mut_ptr(), chunk.len(), self.0.value(s, x));
            }
        }
    }
}

struct Slopes<'a> {
    activation: Activation,
    x: &'a [f32],
    grad: &'a mut [f32],
}

impl Kernel for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.x.len(), self.grad.len(), "an argument for every gradient");
        for (x, grad) in self.x.chunks(S::LANES).zip(self.grad.chunks_mut(S::LANES)) {
            // SAFETY: chunks are at most a vector, and their own length is given.
            unsafe {
                let slope = self.activation.slope(s, s.load_part(x.as_ptr(), x.len(), 0.0));
                let g = s.load_part(grad.as_ptr(), grad.len(), 0.0);
                s.store_part(grad.as_mut_ptr(), grad.len(), g * slope);
            }
        }
    }
}
