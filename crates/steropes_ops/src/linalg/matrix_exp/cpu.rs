//! One matrix per thread.

use super::{coefficient, largest_norm};
use crate::cpu::lanes::Real;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Multiplications in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 16;

/// The exponentials of all matrices, by series of degree `4 BLOCKS`.
pub(super) fn matrix_exp<T: Real, const BLOCKS: usize>(a: &[T], n: usize) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    if a.is_empty() {
        return out;
    }
    let scratch = || Scratch::new(n);
    let each = (TASK / (10 * n * n * n)).max(1);
    out.par_chunks_exact_mut(n * n)
        .zip(a.par_chunks_exact(n * n))
        .with_min_len(each)
        .for_each_init(scratch, |scratch, (to, a)| scratch.one::<BLOCKS>(a, to));
    out
}

/// The gradients of all matrices: beside the diagonal of the exponential of `[[a^T, grad], [0, a^T]]`.
pub(super) fn backward<T: Real, const BLOCKS: usize>(a: &[T], grad: &[T], n: usize) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    if a.is_empty() {
        return out;
    }
    let scratch = || (Scratch::new(2 * n), vec![T::zero(); 4 * n * n]);
    let each = (TASK / (80 * n * n * n)).max(1);
    out.par_chunks_exact_mut(n * n)
        .zip(a.par_chunks_exact(n * n).zip(grad.par_chunks_exact(n * n)))
        .with_min_len(each)
        .for_each_init(scratch, |(scratch, whole), (to, (a, grad))| {
            scratch.backward::<BLOCKS>(a, grad, n, whole, to);
        });
    out
}

struct Scratch<T> {
    n: usize,
    /// The scaled matrix and its square, cube and fourth power.
    powers: [Vec<T>; 4],
    other: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(n: usize) -> Self {
        let matrix = || vec![T::zero(); n * n];
        Self { n, powers: std::array::from_fn(|_| matrix()), other: matrix() }
    }

    fn one<const BLOCKS: usize>(&mut self, a: &[T], to: &mut [T]) {
        if a.iter().any(|x| !num_traits::Float::is_finite(*x)) {
            to.fill(T::nan());
        } else if let [x] = *a {
            to[0] = num_traits::Float::exp(x);
        } else {
            let halvings = halvings(norm(a, self.n), largest_norm(BLOCKS));
            let factors = factors(halvings);
            self.powers[0].iter_mut().zip(a).for_each(|(power, &x)| *power = scaled(x, factors));
            self.of_scaled::<BLOCKS>(halvings, to);
        }
    }

    /// The exponential of the first power, which was halved so often.
    fn of_scaled<const BLOCKS: usize>(&mut self, halvings: i32, to: &mut [T]) {
        let n = self.n;
        let [one, two, three, four] = &mut self.powers;
        product(one, one, n, two);
        product(two, one, n, three);
        product(two, two, n, four);
        self.series::<BLOCKS>(to);
        for _ in 0..halvings {
            product(to, to, n, &mut self.other);
            to.copy_from_slice(&self.other);
        }
    }

    /// For twice the extent. What is beside the diagonal is linear in the gradient, so only the norm of `a` matters.
    fn backward<const BLOCKS: usize>(
        &mut self,
        a: &[T],
        grad: &[T],
        n: usize,
        whole: &mut [T],
        to: &mut [T],
    ) {
        if a.iter().chain(grad).any(|x| !num_traits::Float::is_finite(*x)) {
            to.fill(T::nan());
            return;
        }
        let halvings = halvings(norm(a, n), largest_norm(BLOCKS));
        let factors = factors(halvings);
        let both = &mut self.powers[0];
        both.fill(T::zero());
        for i in 0..n {
            for j in 0..n {
                let entry = scaled(a[j * n + i], factors);
                both[i * 2 * n + j] = entry;
                both[(n + i) * 2 * n + n + j] = entry;
                both[i * 2 * n + n + j] = scaled(grad[i * n + j], factors);
            }
        }
        self.of_scaled::<BLOCKS>(halvings, whole);
        for (to, row) in to.chunks_exact_mut(n).zip(whole.chunks_exact(2 * n)) {
            to.copy_from_slice(&row[n..]);
        }
    }

    /// The sum of the series, four terms at a time.
    fn series<const BLOCKS: usize>(&mut self, to: &mut [T]) {
        to.fill(T::zero());
        self.add_terms(4 * BLOCKS - 4, to);
        let last = T::of(coefficient(4 * BLOCKS));
        to.iter_mut().zip(&self.powers[3]).for_each(|(to, &x)| *to += last * x);
        for block in (0..BLOCKS - 1).rev() {
            product(to, &self.powers[3], self.n, &mut self.other);
            to.copy_from_slice(&self.other);
            self.add_terms(4 * block, to);
        }
    }

    /// Adds four terms from `first` on, divided by the power of the first.
    fn add_terms(&self, first: usize, to: &mut [T]) {
        for (i, power) in self.powers[..3].iter().enumerate() {
            let factor = T::of(coefficient(first + 1 + i));
            to.iter_mut().zip(power).for_each(|(to, &x)| *to += factor * x);
        }
        for i in 0..self.n {
            to[i * self.n + i] += T::of(coefficient(first));
        }
    }
}

/// The largest sum of magnitudes of a column, in f64, where no sum of a stack of f32 overflows.
fn norm<T: Real>(a: &[T], n: usize) -> f64 {
    let sum = |j: usize| a[j..].iter().step_by(n).map(|x| x.to_f64().unwrap_or(f64::INFINITY).abs()).sum();
    (0..n).map(sum).fold(0.0, f64::max)
}

/// How often a matrix of this norm is halved until it is at most `largest`.
fn halvings(norm: f64, largest: f64) -> i32 {
    if norm <= largest { 0 } else { (norm.min(f64::MAX).log2() - largest.log2()).ceil() as i32 }
}

/// The factor of so many halvings in two, because the whole can be below the smallest number.
fn factors<T: Real>(halvings: i32) -> [T; 2] {
    [halvings / 2, halvings - halvings / 2].map(|times| num_traits::Float::powi(T::of(0.5), times))
}

fn scaled<T: Real>(x: T, [first, second]: [T; 2]) -> T {
    x * first * second
}

/// `to = left right` for row-major matrices of one extent, on this thread.
fn product<T: Real>(left: &[T], right: &[T], n: usize, to: &mut [T]) {
    let [left, right] = [left, right].map(|matrix| MatRef::from_row_major_slice(matrix, n, n));
    matmul(MatMut::from_row_major_slice_mut(to, n, n), Accum::Replace, left, right, T::one(), Par::Seq);
}
