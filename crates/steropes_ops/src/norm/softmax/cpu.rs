//! Over the last axis: passes over a row, for the largest value, exponentials and their sum, result. Ranges of rows are shared
//! among threads.
//!
//! Over another axis: ranges of it, whose length depends on the shape alone, are shared among threads; each finds the largest
//! values and the sums relative to them of all columns, these are put together in their order, and a second pass writes.

use super::{Form, View};
use crate::cpu::Isa;
use crate::cpu::math::exp;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// Rows of a range at least, so that what it finds is small beside it.
const LEAST_ROWS: usize = 16;

pub(super) fn softmax(form: Form, x: &[f32], view: View) -> Vec<f32> {
    let isa = Isa::current();
    let mut y = x.to_vec();
    if view.inner == 1 {
        let task = (TASK / view.len).max(1) * view.len;
        y.par_chunks_mut(task).for_each(|y| isa.run(Rows { form, y, width: view.len }));
        return y;
    }
    let task = range_rows(view) * view.inner;
    y.par_chunks_mut(view.len * view.inner).for_each(|item| {
        let parts: Vec<[Vec<f32>; 2]> =
            item.par_chunks(task).map(|x| isa.run(Largest { x, inner: view.inner })).collect();
        let [top, scale] = put_together(form, &parts);
        let finish = |y: &mut [f32]| isa.run(Finish { form, y, top: &top, scale: &scale });
        item.par_chunks_mut(task).for_each(finish);
    });
    y
}

pub(super) fn backward(form: Form, y: &[f32], grad: &[f32], view: View) -> Vec<f32> {
    let isa = Isa::current();
    let mut grad_x = grad.to_vec();
    if view.inner == 1 {
        let task = (TASK / view.len).max(1) * view.len;
        let run = |(grad, y): (&mut [f32], &[f32])| isa.run(BackwardRows { form, grad, y, width: view.len });
        grad_x.par_chunks_mut(task).zip(y.par_chunks(task)).for_each(run);
        return grad_x;
    }
    let (item, task) = (view.len * view.inner, range_rows(view) * view.inner);
    grad_x.par_chunks_mut(item).zip(y.par_chunks(item)).for_each(|(grad, y)| {
        let sums = |(grad, y): (&[f32], &[f32])| isa.run(Sums { form, grad, y, inner: view.inner });
        let parts: Vec<Vec<f32>> = grad.par_chunks(task).zip(y.par_chunks(task)).map(sums).collect();
        let mut sum = vec![0.0f32; view.inner];
        for part in &parts {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let finish = |(grad, y): (&mut [f32], &[f32])| {
            for (grad, y) in grad.chunks_exact_mut(view.inner).zip(y.chunks_exact(view.inner)) {
                isa.run(Slopes { form, grad, y, sum: Sum::Each(&sum) });
            }
        };
        grad.par_chunks_mut(task).zip(y.par_chunks(task)).for_each(finish);
    });
    grad_x
}

/// Rows of `[len, inner]` in a task.
fn range_rows(view: View) -> usize {
    (TASK / view.inner).max(LEAST_ROWS)
}

/// The largest values of all columns, and what finishes their exponentials: a factor, or the logarithm that is taken off.
fn put_together(form: Form, parts: &[[Vec<f32>; 2]]) -> [Vec<f32>; 2] {
    let inner = parts[0][0].len();
    let mut top = vec![f32::MIN; inner];
    for [largest, _] in parts {
        top.iter_mut().zip(largest).for_each(|(top, v)| *top = top.max(*v));
    }
    let mut sum = vec![0.0f32; inner];
    for [largest, part] in parts {
        for c in 0..inner {
            sum[c] += part[c] * (largest[c] - top[c]).exp();
        }
    }
    let scale = sum.into_iter().map(|sum| scale_of(form, sum)).collect();
    [top, scale]
}

fn scale_of(form: Form, sum: f32) -> f32 {
    match form {
        Form::Plain => 1.0 / sum,
        Form::Log => sum.ln(),
    }
}

struct Rows<'a> {
    form: Form,
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
                let below = unsafe { s.load_part(chunk.as_ptr(), count, 0.0) } - largest;
                let e = exp(s, below);
                if count == S::LANES {
                    sums = sums + e;
                } else {
                    let mut lanes = [0.0f32; 16];
                    // SAFETY: a vector has at most 16 lanes.
                    unsafe { s.store_part(lanes.as_mut_ptr(), count, e) };
                    rest = lanes.iter().sum();
                }
                let kept = if self.form == Form::Log { below } else { e };
                // SAFETY: as above.
                unsafe { s.store_part(chunk.as_mut_ptr(), count, kept) };
            }
            let scale = scale_of(self.form, sums.sum() + rest);
            match self.form {
                Form::Plain => row.iter_mut().for_each(|y| *y *= scale),
                Form::Log => row.iter_mut().for_each(|y| *y -= scale),
            }
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

/// The largest value of each column of `x`, `[rows, inner]`, and the sum of the exponentials relative to it.
struct Largest<'a> {
    x: &'a [f32],
    inner: usize,
}

impl Kernel for Largest<'_> {
    type Output = [Vec<f32>; 2];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Vec<f32>; 2] {
        let (mut tops, mut sums) = (vec![0.0; self.inner], vec![0.0; self.inner]);
        let rows = self.x.len() / self.inner;
        for c in (0..self.inner).step_by(S::LANES) {
            let count = S::LANES.min(self.inner - c);
            // SAFETY: `count` columns from `c` on are inside each row and both results.
            unsafe {
                let at = |row: usize| s.load_part(self.x.as_ptr().add(row * self.inner + c), count, 0.0);
                let mut top = s.splat(f32::MIN);
                for row in 0..rows {
                    let x = at(row);
                    // What is not a number is passed over here and found again in the sum.
                    top = top.if_less(x, x, top);
                }
                let mut sum = s.splat(0.0);
                for row in 0..rows {
                    sum = sum + exp(s, at(row) - top);
                }
                s.store_part(tops.as_mut_ptr().add(c), count, top);
                s.store_part(sums.as_mut_ptr().add(c), count, sum);
            }
        }
        [tops, sums]
    }
}

/// Finishes the rows of `y`, `[rows, inner]`, with a largest value and a scale for each column.
struct Finish<'a> {
    form: Form,
    y: &'a mut [f32],
    top: &'a [f32],
    scale: &'a [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inner = self.top.len();
        assert_eq!(self.scale.len(), inner, "a scale for every column");
        for row in self.y.chunks_exact_mut(inner) {
            for c in (0..inner).step_by(S::LANES) {
                let count = S::LANES.min(inner - c);
                // SAFETY: `count` columns from `c` on are inside the row, and as many in the others.
                unsafe {
                    let at = row.as_mut_ptr().add(c);
                    let below =
                        s.load_part(at, count, 0.0) - s.load_part(self.top.as_ptr().add(c), count, 0.0);
                    let scale = s.load_part(self.scale.as_ptr().add(c), count, 0.0);
                    let y = match self.form {
                        Form::Plain => exp(s, below) * scale,
                        Form::Log => below - scale,
                    };
                    s.store_part(at, count, y);
                }
            }
        }
    }
}

struct BackwardRows<'a> {
    form: Form,
    grad: &'a mut [f32],
    y: &'a [f32],
    width: usize,
}

impl Kernel for BackwardRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (grad, y) in self.grad.chunks_exact_mut(self.width).zip(self.y.chunks_exact(self.width)) {
            let mut sum = s.splat(0.0);
            for (grad, y) in grad.chunks(S::LANES).zip(y.chunks(S::LANES)) {
                // SAFETY: a chunk is at most a vector, and its own length is given; what is behind adds 0.
                sum = unsafe { self.form.add(s, sum, grad, y) };
            }
            let sum = sum.sum();
            Slopes { form: self.form, grad, y, sum: Sum::One(sum) }.run(s);
        }
    }
}

impl Form {
    /// `sum` and what one vector or less of `grad` and `y` adds to it.
    ///
    /// # Safety
    /// Both must have the length of `grad`, at most a vector.
    #[inline(always)]
    unsafe fn add<S: Simd>(self, s: S, sum: S::F, grad: &[f32], y: &[f32]) -> S::F {
        // SAFETY: the caller's promise.
        unsafe {
            let g = s.load_part(grad.as_ptr(), grad.len(), 0.0);
            match self {
                Self::Plain => g.mul_add(s.load_part(y.as_ptr(), grad.len(), 0.0), sum),
                Self::Log => sum + g,
            }
        }
    }
}

/// What each column of `[rows, inner]` adds up to.
struct Sums<'a> {
    form: Form,
    grad: &'a [f32],
    y: &'a [f32],
    inner: usize,
}

impl Kernel for Sums<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let mut sums = vec![0.0; self.inner];
        for (grad, y) in self.grad.chunks_exact(self.inner).zip(self.y.chunks_exact(self.inner)) {
            let vectors = grad.chunks(S::LANES).zip(y.chunks(S::LANES));
            for (sum, (grad, y)) in sums.chunks_mut(S::LANES).zip(vectors) {
                // SAFETY: all three are as long, at most a vector.
                unsafe {
                    let before = s.load_part(sum.as_ptr(), sum.len(), 0.0);
                    s.store_part(sum.as_mut_ptr(), grad.len(), self.form.add(s, before, grad, y));
                }
            }
        }
        sums
    }
}

/// The sum that belongs to a row's values.
#[derive(Clone, Copy)]
enum Sum<'a> {
    One(f32),
    Each(&'a [f32]),
}

/// Makes the gradient of the argument of that of the result.
struct Slopes<'a> {
    form: Form,
    grad: &'a mut [f32],
    y: &'a [f32],
    sum: Sum<'a>,
}

impl Kernel for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.grad.len(), self.y.len(), "a gradient for every result");
        for (i, (grad, y)) in self.grad.chunks_mut(S::LANES).zip(self.y.chunks(S::LANES)).enumerate() {
            let count = grad.len();
            // SAFETY: a chunk is at most a vector, and its own length is given.
            unsafe {
                let sum = match self.sum {
                    Sum::One(sum) => s.splat(sum),
                    Sum::Each(sums) => s.load_part(sums[i * S::LANES..].as_ptr(), count, 0.0),
                };
                let (g, y) = (s.load_part(grad.as_ptr(), count, 0.0), s.load_part(y.as_ptr(), count, 0.0));
                let slope = match self.form {
                    Form::Plain => y * (g - sum),
                    Form::Log => g - exp(s, y) * sum,
                };
                s.store_part(grad.as_mut_ptr(), count, slope);
            }
        }
    }
}
