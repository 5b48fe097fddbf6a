//! Small matrices side by side in lanes, larger ones one per thread by `faer`, few large ones by all threads together.

mod jacobi;
mod large;

use super::Uplo;
use crate::cpu::lanes::Real;
use rayon::prelude::*;

/// The largest matrices of which several go side by side.
const LANES_UP_TO: usize = 16;

/// Values, and vectors in columns where they are asked for, of all matrices of `a`.
pub(super) fn eigh<T: Real>(a: &[T], n: usize, uplo: Uplo, with_vectors: bool) -> (Vec<T>, Vec<T>) {
    let mut values = vec![T::zero(); a.len() / n.max(1)];
    let mut vectors = vec![T::zero(); if with_vectors { a.len() } else { 0 }];
    if a.is_empty() {
        return (values, vectors);
    }
    if n > LANES_UP_TO {
        large::eigh(a, n, uplo, &mut values, &mut vectors);
    } else if size_of::<T>() == 4 {
        jacobi::eigh::<T, 16>(a, n, uplo, &mut values, &mut vectors);
    } else {
        jacobi::eigh::<T, 8>(a, n, uplo, &mut values, &mut vectors);
    }
    (values, vectors)
}

/// What a matrix is multiplied by before, so that squares neither overflow nor vanish. `None` if an entry of the triangle is
/// not finite.
#[inline(always)]
fn scale<T: Real>(a: &[T], n: usize, uplo: Uplo) -> Option<T> {
    let mut largest = T::zero();
    for row in 0..n {
        let triangle = match uplo {
            Uplo::Lower => &a[row * n..=row * n + row],
            Uplo::Upper => &a[row * n + row..(row + 1) * n],
        };
        for &x in triangle {
            if !num_traits::Float::is_finite(x) {
                return None;
            }
            largest = num_traits::Float::max(largest, num_traits::Float::abs(x));
        }
    }
    Some(power_of_two_under(largest))
}

/// 1 for ordinary magnitudes, whose squares and those of their rounding errors are numbers of either type, else the inverse of
/// a power of two near `x`.
#[inline(always)]
fn power_of_two_under<T: Real>(x: T) -> T {
    let ordinary = T::of(f64::from(1u32 << 30));
    if x == T::zero() || (x <= ordinary && x >= num_traits::Float::recip(ordinary)) {
        return T::one();
    }
    // Both the power and its inverse are normal.
    let most = if size_of::<T>() == 4 { 126 } else { 1022 };
    let exponent = num_traits::Float::log2(x).floor().to_i32().unwrap_or(0).clamp(-most, most);
    num_traits::Float::powi(T::of(2.0), -exponent)
}

/// The sign that makes the first large entry of a vector positive.
#[inline(always)]
fn sign<T: Real>(entries: impl Iterator<Item = T> + Clone) -> T {
    let largest =
        entries.clone().fold(T::zero(), |most, x| num_traits::Float::max(most, num_traits::Float::abs(x)));
    let bound = largest * T::of(0.875);
    let first = entries.into_iter().find(|&x| num_traits::Float::abs(x) >= bound);
    if first.is_some_and(|x| x < T::zero()) { -T::one() } else { T::one() }
}

/// The gradient of all matrices, one per thread at a time.
pub(super) fn backward<T: Real>(l: &[T], v: &[T], [grad_l, grad_v]: [Option<&[T]>; 2], n: usize) -> Vec<T> {
    let mut grads = vec![T::zero(); v.len()];
    if grads.is_empty() {
        return grads;
    }
    let one = |(index, to): (usize, &mut [T])| {
        let (row, matrix) = (index * n..(index + 1) * n, index * n * n..(index + 1) * n * n);
        let grad_l = grad_l.map(|grads| &grads[row.clone()]);
        let grad_v = grad_v.map(|grads| &grads[matrix.clone()]);
        backward_of_one(&l[row.clone()], &v[matrix.clone()], grad_l, grad_v, to);
    };
    let task = ((1 << 15) / (4 * n * n * n)).max(1);
    grads.par_chunks_exact_mut(n * n).enumerate().with_min_len(task).for_each(one);
    grads
}

fn backward_of_one<T: Real>(l: &[T], v: &[T], grad_l: Option<&[T]>, grad_v: Option<&[T]>, to: &mut [T]) {
    use faer::linalg::matmul::matmul;
    use faer::{Accum, MatMut, MatRef, Par};
    let n = l.len();
    let mut middle = vec![T::zero(); n * n];
    let v = MatRef::from_row_major_slice(v, n, n);
    if let Some(grad_v) = grad_v {
        let m = MatMut::from_row_major_slice_mut(to, n, n);
        matmul(
            m,
            Accum::Replace,
            v.transpose(),
            MatRef::from_row_major_slice(grad_v, n, n),
            T::one(),
            Par::Seq,
        );
        for i in 0..n {
            for j in 0..i {
                let distance = l[j] - l[i];
                let share = (to[i * n + j] - to[j * n + i]) / (distance + distance);
                let share = if distance == T::zero() { num_traits::Float::abs(T::nan()) } else { share };
                (middle[i * n + j], middle[j * n + i]) = (share, share);
            }
        }
    }
    for (i, &grad) in grad_l.into_iter().flatten().enumerate() {
        middle[i * n + i] = grad;
    }
    let mut left = vec![T::zero(); n * n];
    let (one, middle) = (T::one(), MatRef::from_row_major_slice(&middle, n, n));
    let product = MatMut::from_row_major_slice_mut(&mut left, n, n);
    matmul(product, Accum::Replace, v, middle, one, Par::Seq);
    let left = MatRef::from_row_major_slice(&left, n, n);
    matmul(MatMut::from_row_major_slice_mut(to, n, n), Accum::Replace, left, v.transpose(), one, Par::Seq);
}
