//! Small matrices side by side in lanes; larger and few ones one by one, by recursion on halves of the columns.

use super::Right;
use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real, for_groups, interleaved, separated};
use crate::cpu::simd::{Kernel, Simd};
use crate::error::values;
use crate::linalg::dense::one::{self, Part};
use crate::linalg::dense::{Pieces, Triangle, View, for_matrices, side_by_side};
use crate::linalg::solve_triangular::System;
use crate::linalg::solve_triangular::cpu::{in_columns, solve_one};
use crate::linalg::stack::Stack;

/// Rows and columns of the largest matrices that go side by side: beyond, exchanging rows lane by lane takes too long.
const SMALL: usize = 16;

/// Factors, pivots and info.
pub(super) fn factor<T: Real, const N: usize>(a: &[T], stack: &Stack) -> (Vec<T>, Vec<i32>, Vec<i32>) {
    let (m, n, count) = (stack.rows, stack.columns, stack.count());
    let steps = m.min(n);
    let mut factors = a.to_vec();
    let (mut pivots, mut info) = (vec![0; count * steps], vec![0; count]);
    if factors.is_empty() {
        return (factors, pivots, info);
    }
    let work = m * n * steps / 2;
    let largest = m.max(n);
    if largest <= SMALL && side_by_side::worthwhile::<N>(count, largest) {
        let isa = Isa::current();
        let factors = Pieces::new(&mut factors, N * m * n);
        let (of_pivots, infos) = (Pieces::new(&mut pivots, N * steps), Pieces::new(&mut info, N));
        for_groups(count.div_ceil(N), work * N / 2, |group| {
            // SAFETY: each group once.
            let (factors, pivots, info) =
                unsafe { (factors.get(group), of_pivots.get(group), infos.get(group)) };
            isa.run(Factor::<T, N> { extents: [m, n], factors, pivots, info });
        });
    } else {
        let factors = Pieces::new(&mut factors, m * n);
        let (of_pivots, infos) = (Pieces::new(&mut pivots, steps), Pieces::new(&mut info, 1));
        for_matrices(count, work, |index, par| {
            // SAFETY: each matrix once; the rows of a row-major matrix.
            let zero = unsafe {
                let a = Part::new(factors.get(index).as_mut_ptr(), View::of_columns(n));
                one::lu(a, [m, n], of_pivots.get(index), par)
            };
            // SAFETY: as above.
            unsafe { infos.get(index)[0] = zero.map_or(0, |pivot| pivot as i32 + 1) };
        });
    }
    pivots.iter_mut().for_each(|pivot| *pivot += 1);
    (factors, pivots, info)
}

struct Factor<'a, T, const N: usize> {
    extents: [usize; 2],
    factors: &'a mut [T],
    pivots: &'a mut [i32],
    info: &'a mut [i32],
}

impl<T: Real, const N: usize> Kernel for Factor<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [m, n] = self.extents;
        let mut lanes = vec![Lanes::<T, N>::splat(T::of(0.0)); m * n];
        let mut pivots = vec![[0; N]; m.min(n)];
        interleaved(self.factors, m * n, 0, &mut lanes);
        let info = side_by_side::lu(&mut lanes, [m, n], &mut pivots);
        separated(&lanes, self.factors);
        for (lane, matrix) in self.pivots.chunks_exact_mut(pivots.len()).enumerate() {
            for (pivot, all) in matrix.iter_mut().zip(&pivots) {
                *pivot = all[lane];
            }
        }
        self.info.copy_from_slice(&info[..self.info.len()]);
    }
}

/// `P`, `L` and `U`.
pub(super) fn parts<T: Real>(factors: &[T], pivots: &[i32], stack: &Stack) -> [Vec<T>; 3] {
    let (m, n, count) = (stack.rows, stack.columns, stack.count());
    let k = m.min(n);
    let zeros = |len| vec![T::of(0.0); len];
    let (mut p, mut l, mut u) = (zeros(count * m * m), zeros(count * m * k), zeros(count * k * n));
    for matrix in 0..count {
        let mut order: Vec<usize> = (0..m).collect();
        for (i, &pivot) in pivots[matrix * k..][..k].iter().enumerate() {
            order.swap(i, pivot as usize - 1);
        }
        for (i, &row) in order.iter().enumerate() {
            p[(matrix * m + row) * m + i] = T::of(1.0);
            let from = &factors[(matrix * m + i) * n..][..n];
            let below = i.min(k);
            l[(matrix * m + i) * k..][..below].copy_from_slice(&from[..below]);
            if i < k {
                l[(matrix * m + i) * k + i] = T::of(1.0);
                u[(matrix * k + i) * n..][i..n].copy_from_slice(&from[i..]);
            }
        }
    }
    [p, l, u]
}

/// The triangles of `A = P L U`, or of the transposed system, in the order in which they are solved.
pub(super) fn triangles(transposed: bool) -> [Triangle; 2] {
    let lower = Triangle { upper: false, transposed, unit: true };
    let upper = Triangle { upper: true, transposed, unit: false };
    if transposed { [upper, lower] } else { [lower, upper] }
}

/// Solves with factors and pivots.
pub(super) fn solve<T: Real, const N: usize>(
    (lu, pivots): (&[T], &[i32]),
    b: Right<'_>,
    system: &System,
    transposed: bool,
) -> Vec<T> {
    let (n, k, count) = (system.n, system.k, system.both.count());
    let mut x = vec![T::of(0.0); count * n * k];
    if x.is_empty() {
        return x;
    }
    let work = n * n * k;
    if n <= SMALL && system.left && system.both.is_plain() && side_by_side::worthwhile::<N>(count, n) {
        let isa = Isa::current();
        let pieces = Pieces::new(&mut x, N * n * k);
        for_groups(count.div_ceil(N), work * N / 4, |group| {
            // SAFETY: each group once.
            let x = unsafe { pieces.get(group) };
            isa.run(Solve::<T, N> { lu, pivots, b, extents: [n, k], transposed, first: group * N, x });
        });
        return x;
    }
    let pieces = Pieces::new(&mut x, n * k);
    for_matrices(count, work, |index, par| {
        // SAFETY: each matrix once.
        let x = unsafe { pieces.get(index) };
        let [from_a, from_b] = system.both.sources(index);
        match b {
            Right::Of(b) => x.copy_from_slice(&values::<T>(b)[from_b * n * k..][..n * k]),
            Right::Identity => x.iter_mut().step_by(n + 1).for_each(|x| *x = T::of(1.0)),
        }
        let (lu, pivots) = (&lu[from_a * n * n..][..n * n], &pivots[from_a * n..][..n]);
        in_columns(x, system, |x| {
            let pivots: Vec<i32> = pivots.iter().map(|pivot| pivot - 1).collect();
            // SAFETY: the rows of a row-major matrix.
            let rows = unsafe { Part::new(x.as_mut_ptr(), View::of_columns(k)) };
            if !transposed {
                // SAFETY: pivots are numbers of rows, which was checked.
                unsafe { one::exchange_rows(rows, k, &pivots) };
            }
            for triangle in triangles(transposed) {
                solve_one(lu, n, x, k, triangle, par);
            }
            if transposed {
                // SAFETY: as above.
                unsafe { one::exchange_rows_back(rows, k, &pivots) };
            }
        });
    });
    x
}

struct Solve<'a, T, const N: usize> {
    lu: &'a [T],
    pivots: &'a [i32],
    b: Right<'a>,
    extents: [usize; 2],
    transposed: bool,
    first: usize,
    x: &'a mut [T],
}

impl<T: Real, const N: usize> Kernel for Solve<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [n, k] = self.extents;
        let zero = Lanes::<T, N>::splat(T::of(0.0));
        let (mut a, mut x) = (vec![zero; n * n], vec![zero; n * k]);
        interleaved(self.lu, n * n, self.first, &mut a);
        match self.b {
            Right::Of(b) => interleaved(values::<T>(b), n * k, self.first, &mut x),
            Right::Identity => x.iter_mut().step_by(n + 1).for_each(|x| *x = Lanes::splat(T::of(1.0))),
        }
        let last = self.pivots.len() / n - 1;
        let row =
            |i: usize| std::array::from_fn(|lane| self.pivots[(self.first + lane).min(last) * n + i] - 1);
        if !self.transposed {
            (0..n).for_each(|i| side_by_side::exchange(&mut x, k, i, &row(i)));
        }
        for triangle in triangles(self.transposed) {
            let views = triangle.as_lower(n, View::of_columns(n), View::of_columns(k));
            side_by_side::solve_lower(&a, n, &mut x, k, triangle.unit, views);
        }
        if self.transposed {
            (0..n).rev().for_each(|i| side_by_side::exchange(&mut x, k, i, &row(i)));
        }
        separated(&x, self.x);
    }
}
