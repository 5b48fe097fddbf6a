//! One pass over each matrix and its inverse, matrices shared among threads.

use super::CondNorm;
use crate::cpu::lanes::Real;
use crate::linalg::stack::Stack;
use rayon::prelude::*;

/// From singular values.
pub(super) fn of_values<T: Real>(stack: &Stack, s: &[T], p: CondNorm) -> Vec<T> {
    let k = stack.rows.min(stack.columns);
    let condition = |s: &[T]| match (s, p) {
        ([], _) => T::zero(),
        ([.., last], CondNorm::MinusTwo) if last.is_zero() => T::zero(),
        ([.., last], _) if last.is_zero() => T::infinity(),
        ([first, ..], CondNorm::MinusTwo) => s[k - 1] / *first,
        (_, CondNorm::Nuc) => s.iter().copied().sum::<T>() * s.iter().map(|&x| T::one() / x).sum::<T>(),
        ([first, ..], _) => *first / s[k - 1],
    };
    (0..stack.count()).map(|i| condition(&s[i * k..][..k])).collect()
}

/// From the matrices and their inverses; `info` is not 0 where there is none.
pub(super) fn of_inverses<T: Real>(
    stack: &Stack,
    [a, inverse]: [&[T]; 2],
    info: &[i32],
    p: CondNorm,
) -> Vec<T> {
    let n = stack.rows;
    let each = n * n;
    let condition = |i: usize| match info[i] {
        0 => norm(&a[i * each..][..each], n, p) * norm(&inverse[i * each..][..each], n, p),
        _ => T::infinity(),
    };
    if n == 0 {
        return vec![T::zero(); stack.count()];
    }
    (0..stack.count()).into_par_iter().with_min_len((1 << 12) / each + 1).map(condition).collect()
}

/// A norm of a square matrix.
fn norm<T: Real>(a: &[T], n: usize, p: CondNorm) -> T {
    let rows = || a.chunks_exact(n).map(|row| row.iter().map(|x| x.abs()).sum::<T>());
    let columns = || {
        let mut sums = vec![T::zero(); n];
        for row in a.chunks_exact(n) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.abs());
        }
        sums.into_iter()
    };
    match p {
        CondNorm::One => columns().fold(T::zero(), larger),
        CondNorm::MinusOne => columns().fold(T::infinity(), smaller),
        CondNorm::Inf => rows().fold(T::zero(), larger),
        CondNorm::MinusInf => rows().fold(T::infinity(), smaller),
        _ => frobenius(a),
    }
}

/// Squares of what is divided by the largest magnitude do not overflow.
fn frobenius<T: Real>(a: &[T]) -> T {
    let largest = a.iter().map(|x| x.abs()).fold(T::zero(), larger);
    let scale = if largest.is_zero() || largest.is_infinite() { T::one() } else { largest };
    let square = |x: &T| (*x / scale) * (*x / scale);
    // Sums of sums, which lose less than a long one.
    let parts = a.chunks(256).map(|part| part.iter().map(square).sum::<T>());
    scale * num_traits::Float::sqrt(parts.sum::<T>())
}

/// The larger; what is not a number wins.
fn larger<T: Real>(x: T, y: T) -> T {
    if x.is_nan() || y <= x { x } else { y }
}

/// The smaller; what is not a number wins.
fn smaller<T: Real>(x: T, y: T) -> T {
    if x.is_nan() || y >= x { x } else { y }
}
