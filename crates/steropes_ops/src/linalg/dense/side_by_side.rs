//! Small matrices side by side, one in each lane: plain loops over elements, each a vector of the same element of all matrices.

use super::View;
use crate::cpu::lanes::{Lanes, Real};

/// A stack of small matrices goes side by side if there are so many that half the lanes are busy, or they are tiny.
pub(crate) fn worthwhile<const N: usize>(count: usize, n: usize) -> bool {
    count >= N / 2 || (n <= 4 && count > 1)
}

/// Replaces the triangle of `view` that is lower there by the factor, and the other by zeros. Returns the number of the first
/// pivot that is not above zero, counted from 1, or 0.
#[inline(always)]
pub(crate) fn cholesky<T: Real, const N: usize>(a: &mut [Lanes<T, N>], n: usize, view: View) -> [i32; N] {
    let at = |i, j| view.at(i, j) as usize;
    let mut info = [0; N];
    for j in 0..n {
        for first in (j..n).step_by(4) {
            // Four rows share what is read of row j; rows behind the end repeat the last.
            let rows: [usize; 4] = std::array::from_fn(|r| (first + r).min(n - 1));
            let mut sums = rows.map(|i| a[at(i, j)]);
            for k in 0..j {
                let shared = a[at(j, k)];
                for (sum, &i) in sums.iter_mut().zip(&rows) {
                    *sum = sum.minus_product(a[at(i, k)], shared);
                }
            }
            for (&sum, &i) in sums.iter().zip(&rows) {
                a[at(i, j)] = sum;
            }
        }
        let pivot = a[at(j, j)];
        for (info, &pivot) in info.iter_mut().zip(&pivot.0) {
            if *info == 0 && (pivot <= T::of(0.0) || num_traits::Float::is_nan(pivot)) {
                *info = j as i32 + 1;
            }
        }
        let root = pivot.sqrt();
        a[at(j, j)] = root;
        for i in j + 1..n {
            a[at(i, j)] = a[at(i, j)] / root;
            a[at(j, i)] = Lanes::splat(T::of(0.0));
        }
    }
    info
}

/// Solves the equations of the lower triangle of `a` in `views.0` for the `k` columns of `b` in `views.1`, in place.
#[inline(always)]
pub(crate) fn solve_lower<T: Real, const N: usize>(
    a: &[Lanes<T, N>],
    n: usize,
    b: &mut [Lanes<T, N>],
    k: usize,
    unit: bool,
    views: (View, View),
) {
    for i in 0..n {
        for c in 0..k {
            let place = views.1.at(i, c) as usize;
            let mut sum = b[place];
            for j in 0..i {
                sum = sum.minus_product(a[views.0.at(i, j) as usize], b[views.1.at(j, c) as usize]);
            }
            b[place] = if unit { sum } else { sum / a[views.0.at(i, i) as usize] };
        }
    }
}

/// Replaces `[rows, columns]` matrices by their factors; `pivots` are the rows that were exchanged, counted from 0. Returns the
/// number of the first pivot that is zero, counted from 1, or 0.
#[inline(always)]
pub(crate) fn lu<T: Real, const N: usize>(
    a: &mut [Lanes<T, N>],
    [rows, columns]: [usize; 2],
    pivots: &mut [[i32; N]],
) -> [i32; N] {
    let mut info = [0; N];
    for k in 0..rows.min(columns) {
        let chosen = largest(a, k, [rows, columns]);
        pivots[k] = chosen;
        exchange(a, columns, k, &chosen);
        let mut divisor = a[k * columns + k];
        for (divisor, info) in divisor.0.iter_mut().zip(&mut info) {
            if *divisor == T::of(0.0) {
                // All below it is zero too.
                *divisor = T::of(1.0);
                *info = if *info == 0 { k as i32 + 1 } else { *info };
            }
        }
        for i in k + 1..rows {
            let factor = a[i * columns + k] / divisor;
            a[i * columns + k] = factor;
            for j in k + 1..columns {
                a[i * columns + j] = a[i * columns + j].minus_product(factor, a[k * columns + j]);
            }
        }
    }
    info
}

/// Rows of the largest magnitudes in column `k` from row `k` on, the first of equals; not a number is larger than all.
#[inline(always)]
fn largest<T: Real, const N: usize>(a: &[Lanes<T, N>], k: usize, [rows, columns]: [usize; 2]) -> [i32; N] {
    let mut best = a[k * columns + k].abs();
    let mut chosen = [k as i32; N];
    for i in k + 1..rows {
        let found = a[i * columns + k].abs();
        for ((f, b), chosen) in found.0.into_iter().zip(&mut best.0).zip(&mut chosen) {
            if f > *b || (f.is_nan() && !b.is_nan()) {
                *b = f;
                *chosen = i as i32;
            }
        }
    }
    chosen
}

/// Exchanges row `k` with row `others[lane]` of each matrix.
#[inline(always)]
pub(crate) fn exchange<T: Real, const N: usize>(
    a: &mut [Lanes<T, N>],
    columns: usize,
    k: usize,
    others: &[i32; N],
) {
    for (lane, &other) in others.iter().enumerate() {
        let other = other as usize;
        if other != k {
            for c in 0..columns {
                let value = a[k * columns + c].0[lane];
                a[k * columns + c].0[lane] = a[other * columns + c].0[lane];
                a[other * columns + c].0[lane] = value;
            }
        }
    }
}
