//! One pass, in vectors; ranges are shared among threads.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use crate::elementwise::activation::Activation;
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 14;

pub(super) fn forward(activation: Activation, gate: &mut [f32], up: &[f32]) {
    let isa = Isa::current();
    let run = |(gate, up): (&mut [f32], &[f32])| isa.run(Values { activation, gate, up });
    gate.par_chunks_mut(TASK).zip(up.par_chunks(TASK)).for_each(run);
}

/// The gradients for gate and up.
pub(super) fn backward(activation: Activation, [gate, up, grad]: [&[f32]; 3]) -> [Vec<f32>; 2] {
    let isa = Isa::current();
    let (mut grad_gate, mut grad_up) = (gate.to_vec(), up.to_vec());
    grad_gate
        .par_chunks_mut(TASK)
        .zip(grad_up.par_chunks_mut(TASK))
        .zip(grad.par_chunks(TASK))
        .for_each(|((gate, up), grad)| isa.run(Slopes { activation, gate, up, grad }));
    [grad_gate, grad_up]
}

struct Values<'a> {
    activation: Activation,
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for Values<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.gate.len(), self.up.len(), "a factor for every gate");
        for (gate, up) in self.gate.chunks_mut(S::LANES).zip(self.up.chunks(S::LANES)) {
            let count = gate.len();
            // SAFETY: chunks are at most a vector, and their own length is given.
            unsafe {
                let value = self.activation.value(s, s.load_part(gate.as_ptr(), count, 0.0));
                s.store_part(gate.as_mut_ptr(), count, value * s.load_part(up.as_ptr(), count, 0.0));
            }
        }
    }
}

/// Makes of gate and up their gradients.
struct Slopes<'a> {
    activation: Activation,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    grad: &'a [f32],
}

impl Kernel for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.grad.len();
        assert!(self.gate.len() == len && self.up.len() == len, "a gradient for every place");
        let pairs = self.gate.chunks_mut(S::LANES).zip(self.up.chunks_mut(S::LANES));
        for ((gate, up), grad) in pairs.zip(self.grad.chunks(S::LANES)) {
            let count = grad.len();
            // SAFETY: chunks are at most a vector, and their own length is given.
            unsafe {
                let x = s.load_part(gate.as_ptr(), count, 0.0);
                let given = s.load_part(grad.as_ptr(), count, 0.0);
                let share = given * s.load_part(up.as_ptr(), count, 0.0);
                s.store_part(gate.as_mut_ptr(), count, share * self.activation.slope(s, x));
                s.store_part(up.as_mut_ptr(), count, given * self.activation.value(s, x));
            }
        }
    }
}
