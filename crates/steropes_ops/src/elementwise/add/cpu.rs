//! One pass; the compiler makes vectors of it, and memory is the limit.

use crate::cpu::lanes::Real;
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

pub(super) fn add<T: Real>(sum: &mut [T], addend: &[T]) {
    let run = |(sum, addend): (&mut [T], &[T])| sum.iter_mut().zip(addend).for_each(|(s, a)| *s += *a);
    if sum.len() <= TASK {
        run((sum, addend));
    } else {
        sum.par_chunks_mut(TASK).zip(addend.par_chunks(TASK)).for_each(run);
    }
}
