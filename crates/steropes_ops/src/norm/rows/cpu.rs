//! A few passes over a row, which is in L1 after the first: mean, mean square around it, result; backwards two sums of products
//! more. Ranges of rows are shared among threads; their length depends on the shape alone, and what they add up for weight and
//! bias is added in their order, so results are the same for any number of threads.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// The most tasks of a backward pass, each of which has sums for weight and bias of its own.
const MOST_RANGES: usize = 64;

/// A norm, with a value for each place of a row.
#[derive(Clone, Copy)]
pub(crate) struct Parameters<'a> {
    /// Whether the mean of a row is taken off.
    pub(crate) centered: bool,
    /// Added to the mean square.
    pub(crate) eps: f32,
    /// Factors.
    pub(crate) weight: &'a [f32],
    /// Addends.
    pub(crate) bias: &'a [f32],
}

/// Gradients of the rows, of the weight and of the bias.
pub(crate) struct Gradients {
    /// In the shape of the rows.
    pub(crate) x: Vec<f32>,
    /// One for each place of a row.
    pub(crate) weight: Vec<f32>,
    /// As [`Gradients::weight`].
    pub(crate) bias: Vec<f32>,
}

/// The rows of `x`, normalised and scaled.
pub(crate) fn forward(x: &[f32], parameters: Parameters<'_>) -> Vec<f32> {
    let isa = Isa::current();
    let mut out = Vec::with_capacity(x.len());
    let y = &mut out.spare_capacity_mut()[..x.len()];
    let width = parameters.weight.len();
    let task = (TASK / width).max(1) * width;
    let run = |(y, x): (&mut [MaybeUninit<f32>], &[f32])| isa.run(Forward { x, y, parameters });
    if x.len() <= TASK {
        run((y, x));
    } else {
        y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(run);
    }
    // SAFETY: the capacity was reserved, and the tasks wrote every row.
    unsafe { out.set_len(x.len()) };
    out
}

/// `residual + x`, and its rows normalised and scaled.
pub(crate) fn add_forward(residual: &[f32], x: &[f32], parameters: Parameters<'_>) -> [Vec<f32>; 2] {
    let isa = Isa::current();
    let mut sum = residual.to_vec();
    let mut out = Vec::with_capacity(x.len());
    let y = &mut out.spare_capacity_mut()[..x.len()];
    let width = parameters.weight.len();
    let task = (TASK / width).max(1) * width;
    y.par_chunks_mut(task).zip(sum.par_chunks_mut(task)).zip(x.par_chunks(task)).for_each(|((y, sum), x)| {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        isa.run(Forward { x: sum, y, parameters });
    });
    // SAFETY: the capacity was reserved, and the tasks wrote every row.
    unsafe { out.set_len(x.len()) };
    [sum, out]
}

/// The gradients for rows `x` whose results have the gradient `grad`; `added` is added to that of the rows.
pub(crate) fn backward(
    x: &[f32],
    grad: &[f32],
    added: Option<&[f32]>,
    parameters: Parameters<'_>,
) -> Gradients {
    let isa = Isa::current();
    let width = parameters.weight.len();
    let rows = (TASK / width).max((x.len() / width).div_ceil(MOST_RANGES)).max(1);
    let task = rows * width;
    let mut out = vec![0.0f32; x.len()];
    let sums: Vec<[Vec<f32>; 2]> = out
        .par_chunks_mut(task)
        .enumerate()
        .map(|(i, out)| {
            let range = i * task..i * task + out.len();
            let added = added.map(|added| &added[range.clone()]);
            let (x, grad) = (&x[range.clone()], &grad[range]);
            let (mut weight_sum, mut bias_sum) = (vec![0.0; width], vec![0.0; width]);
            let sums = [&mut weight_sum[..], &mut bias_sum[..]];
            isa.run(Backward { x, grad, added, out, sums, parameters });
            [weight_sum, bias_sum]
        })
        .collect();
    let total = |which: usize| {
        let mut total = vec![0.0f32; width];
        for sums in &sums {
            total.iter_mut().zip(&sums[which]).for_each(|(total, sum)| *total += sum);
        }
        total
    };
    Gradients { x: out, weight: total(0), bias: total(1) }
}

/// The mean that is taken off a row, and what its values are then divided by, as a factor.
#[inline(always)]
fn statistics<S: Simd>(s: S, x: &[f32], parameters: Parameters<'_>) -> [f32; 2] {
    let width = x.len() as f32;
    let mean = if parameters.centered { sum(s, x) / width } else { 0.0 };
    let square = sum_of_squares(s, x, mean) / width;
    // The square root and the division are correctly rounded, once per row.
    [mean, 1.0 / (square + parameters.eps).sqrt()]
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
    parameters: Parameters<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (weight, bias) = (self.parameters.weight, self.parameters.bias);
        let width = weight.len();
        let whole = width / S::LANES * S::LANES;
        assert_eq!(bias.len(), width, "a bias for every weight");
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let scale = statistics(s, x, self.parameters).map(|v| s.splat(v));
            let row =
                Row { x: x.as_ptr(), y: y.as_mut_ptr().cast(), weight: weight.as_ptr(), bias: bias.as_ptr() };
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

struct Backward<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    added: Option<&'a [f32]>,
    out: &'a mut [f32],
    sums: [&'a mut [f32]; 2],
    parameters: Parameters<'a>,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.parameters.weight.len();
        let [weight_sum, bias_sum] = self.sums;
        assert!(weight_sum.len() == width && bias_sum.len() == width, "a sum for every place");
        for (r, out) in self.out.chunks_exact_mut(width).enumerate() {
            let place = r * width..(r + 1) * width;
            let (x, grad) = (&self.x[place.clone()], &self.grad[place.clone()]);
            let row = BackwardRow {
                x: x.as_ptr(),
                grad: grad.as_ptr(),
                weight: self.parameters.weight.as_ptr(),
                added: self.added.map(|added| added[place].as_ptr()),
                scale: statistics(s, x, self.parameters).map(|v| s.splat(v)),
            };
            // SAFETY: every slice has `width` values.
            unsafe {
                let [along, mean] = row.sums(s, width).map(|sum| sum / width as f32);
                let mean = if self.parameters.centered { mean } else { 0.0 };
                let off = [s.splat(along), s.splat(mean)];
                let sums = [weight_sum.as_mut_ptr(), bias_sum.as_mut_ptr()];
                for c in (0..width).step_by(S::LANES) {
                    row.write(s, c, S::LANES.min(width - c), off, out.as_mut_ptr(), sums);
                }
            }
        }
    }
}

/// A row, its gradient and its statistics.
struct BackwardRow<F> {
    x: *const f32,
    grad: *const f32,
    weight: *const f32,
    added: Option<*const f32>,
    scale: [F; 2],
}

impl<F: Lane> BackwardRow<F> {
    /// The normalised values, their gradients, and these times the weight, for `count` values (at most a vector) from `c` on.
    ///
    /// # Safety
    /// The row must have them.
    #[inline(always)]
    unsafe fn parts<S: Simd<F = F>>(&self, s: S, c: usize, count: usize) -> [F; 3] {
        // SAFETY: the caller's promise.
        unsafe {
            let x = (s.load_part(self.x.add(c), count, 0.0) - self.scale[0]) * self.scale[1];
            let grad = s.load_part(self.grad.add(c), count, 0.0);
            [x, grad, grad * s.load_part(self.weight.add(c), count, 0.0)]
        }
    }

    /// Sums over the row of the weighted gradient, times the normalised values and alone.
    ///
    /// # Safety
    /// The row must have `width` values.
    #[inline(always)]
    unsafe fn sums<S: Simd<F = F>>(&self, s: S, width: usize) -> [f32; 2] {
        let mut sums = [[s.splat(0.0); 2]; 2];
        for (i, c) in (0..width).step_by(S::LANES).enumerate() {
            // SAFETY: the caller's promise; the weighted gradient is 0 behind the row.
            let [x, _, weighted] = unsafe { self.parts(s, c, S::LANES.min(width - c)) };
            let sums = &mut sums[i % 2];
            *sums = [x.mul_add(weighted, sums[0]), sums[1] + weighted];
        }
        [(sums[0][0] + sums[1][0]).sum(), (sums[0][1] + sums[1][1]).sum()]
    }

    /// Writes the gradient of `count` values (at most a vector) from `c` on and adds to the sums of weight and bias.
    ///
    /// # Safety
    /// All must have them.
    #[inline(always)]
    unsafe fn write<S: Simd<F = F>>(
        &self,
        s: S,
        c: usize,
        count: usize,
        [along, mean]: [F; 2],
        out: *mut f32,
        [weight_sum, bias_sum]: [*mut f32; 2],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let [x, grad, weighted] = self.parts(s, c, count);
            let added = match self.added {
                Some(added) => s.load_part(added.add(c), count, 0.0),
                None => s.splat(0.0),
            };
            let across = weighted - mean - x * along;
            s.store_part(out.add(c), count, across.mul_add(self.scale[1], added));
            let sum = s.load_part(weight_sum.add(c), count, 0.0);
            s.store_part(weight_sum.add(c), count, x.mul_add(grad, sum));
            let sum = s.load_part(bias_sum.add(c), count, 0.0);
            s.store_part(bias_sum.add(c), count, sum + grad);
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
