//! One pass; the compiler makes vectors of it, and memory is the limit. Ranges are shared among threads.

use super::Operation;
use crate::cpu::lanes::Real;
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// `y` has as many values as `x`, as a row of it, or one.
pub(super) fn combine<T: Real>(operation: Operation, x: &mut [T], y: &[T]) {
    match operation {
        Operation::Mul => each(x, y, |a, b| a * b),
        Operation::Sub => each(x, y, |a, b| a - b),
        Operation::Div => each(x, y, |a, b| a / b),
    }
}

pub(super) fn scale<T: Real>(x: &mut [T], factor: T) {
    each(x, &[factor], |a, b| a * b);
}

fn each<T: Real>(x: &mut [T], y: &[T], f: impl Fn(T, T) -> T + Sync) {
    match *y {
        [] => {}
        [b] => tasks(x, TASK, |_, x| x.iter_mut().for_each(|a| *a = f(*a, b))),
        _ if y.len() == x.len() => tasks(x, TASK, |task, x| row(x, &y[task * TASK..], &f)),
        _ => {
            let rows = (TASK / y.len()).max(1);
            tasks(x, rows * y.len(), |_, x| x.chunks_mut(y.len()).for_each(|x| row(x, y, &f)));
        }
    }
}

fn row<T: Real>(x: &mut [T], y: &[T], f: &impl Fn(T, T) -> T) {
    x.iter_mut().zip(y).for_each(|(a, &b)| *a = f(*a, b));
}

/// Calls `body` with the number and the values of every task of `len` values.
fn tasks<T: Real>(x: &mut [T], len: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if x.len() <= len {
        body(0, x);
    } else {
        x.par_chunks_mut(len).enumerate().for_each(|(task, x)| body(task, x));
    }
}
