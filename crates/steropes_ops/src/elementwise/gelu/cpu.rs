//! One pass, in vectors; ranges are shared among threads.

use crate::cpu::Isa;
use crate::cpu::math::gelu as gelu_of;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 14;

pub(super) fn gelu(y: &mut [f32]) {
    let isa = Isa::current();
    if y.len() <= TASK {
        isa.run(Values(y));
    } else {
        y.par_chunks_mut(TASK).for_each(|y| isa.run(Values(y)));
    }
}

struct Values<'a>(&'a mut [f32]);

impl Kernel for Values<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for chunk in self.0.chunks_mut(S::LANES) {
            // SAFETY: a chunk is at most a vector, and its own length is given.
            unsafe {
                let x = s.load_part(chunk.as_ptr(), chunk.len(), 0.0);
                s.store_part(chunk.as_mut_ptr(), chunk.len(), gelu_of(s, x));
            }
        }
    }
}
