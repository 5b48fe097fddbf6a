//! Small matrices: one in each lane of the vectors, groups of them shared among threads. A column is reduced by one pass for its
//! norm and two over each run of four columns to the right of it, which read the reflector once for the four.

use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real, interleaved, separated};
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Columns that are reflected together.
const TOGETHER: usize = 4;

/// Rows that are added up in one run.
const RUN: usize = 64;

/// Multiplications in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 16;

/// What a group of matrices gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives {
    /// The matrix with R above and the reflectors below the diagonal, and their factors.
    Reflectors,
    /// This many rows of R, and this many columns of Q.
    Factors { rows: usize, columns: usize },
}

/// Matrices of `m` rows and `n` columns, and where their reflectors come from.
#[derive(Clone, Copy)]
pub(super) struct Small<'a, T> {
    pub(super) m: usize,
    pub(super) n: usize,
    /// The matrices, one after another.
    pub(super) stack: &'a [T],
    /// Factors of reflectors that `stack` already holds below its diagonals, this many for each matrix.
    pub(super) reflectors: Option<(&'a [T], usize)>,
    pub(super) gives: Gives,
}

impl<T: Real> Small<'_, T> {
    fn steps(&self) -> usize {
        self.reflectors.map_or(self.m.min(self.n), |(_, steps)| steps)
    }

    /// Values of each result for one matrix.
    fn sizes(&self) -> [usize; 2] {
        match self.gives {
            Gives::Reflectors => [self.m * self.n, self.steps()],
            Gives::Factors { rows, columns } => [rows * self.n, self.m * columns],
        }
    }

    /// Both results for all matrices. There must be one, with a value.
    pub(super) fn run<const N: usize>(&self) -> [Vec<T>; 2] {
        let sizes = self.sizes();
        let count = self.stack.len() / (self.m * self.n);
        let mut results = sizes.map(|size| vec![T::zero(); count * size]);
        self.run_into::<N>(results.each_mut().map(Vec::as_mut_slice));
        results
    }

    /// Writes both results for all matrices.
    pub(super) fn run_into<const N: usize>(&self, results: [&mut [T]; 2]) {
        let sizes = self.sizes();
        let groups = (self.stack.len() / (self.m * self.n)).div_ceil(N);
        let [first, second] = results;
        let tasks: Vec<[&mut [T]; 2]> = pieces(first, N * sizes[0], groups)
            .zip(pieces(second, N * sizes[1], groups))
            .map(Into::into)
            .collect();
        let isa = Isa::current();
        let run = |(group, results)| isa.run(Group::<'_, T, N> { small: self, first: group * N, results });
        let work = (self.m * self.n + sizes[1]) * self.steps();
        let each = (TASK / work.max(1)).max(1);
        if groups <= each {
            tasks.into_iter().enumerate().for_each(run);
        } else {
            tasks.into_par_iter().enumerate().with_min_len(each).for_each(run);
        }
    }
}

/// `data` in `count` pieces of `size` values, the last what is left.
fn pieces<T>(data: &mut [T], size: usize, count: usize) -> impl Iterator<Item = &mut [T]> {
    let mut rest = data;
    (0..count).map(move |_| {
        let all = std::mem::take(&mut rest);
        let (piece, behind) = all.split_at_mut(size.min(all.len()));
        rest = behind;
        piece
    })
}

/// The matrices of one vector.
struct Group<'a, T, const N: usize> {
    small: &'a Small<'a, T>,
    first: usize,
    results: [&'a mut [T]; 2],
}

impl<T: Real, const N: usize> Kernel for Group<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Small { m, n, stack, reflectors, gives } = *self.small;
        let zero = Lanes::<T, N>::splat(T::zero());
        let mut a = vec![zero; m * n];
        let mut tau = vec![zero; self.small.steps()];
        let mut v = vec![zero; m];
        interleaved(stack, m * n, self.first, &mut a);
        match reflectors {
            None => factor(&mut a, n, &mut tau, &mut v),
            Some((_, 0)) => {}
            Some((factors, steps)) => interleaved(factors, steps, self.first, &mut tau),
        }
        let [first, second] = self.results;
        match gives {
            Gives::Reflectors => {
                separated(&a, first);
                separated(&tau, second);
            }
            Gives::Factors { rows, columns } => {
                if columns > 0 {
                    separated(&form(&a, n, &tau, columns, &mut v), second);
                }
                if rows > 0 {
                    for (i, row) in a.chunks_exact_mut(n).enumerate().take(rows) {
                        row[..i.min(n)].fill(zero);
                    }
                    separated(&a[..rows * n], first);
                }
            }
        }
    }
}

/// Reduces the rows of `n` values in `a` to R, with the reflectors below the diagonal and their factors in `tau`. `v` is room for
/// a column.
#[inline(always)]
fn factor<T: Real, const N: usize>(
    a: &mut [Lanes<T, N>],
    n: usize,
    tau: &mut [Lanes<T, N>],
    v: &mut [Lanes<T, N>],
) {
    for (j, tau) in tau.iter_mut().enumerate() {
        let column = &mut v[j..];
        for (x, row) in column.iter_mut().zip(a[j * n..].chunks_exact(n)) {
            *x = row[j];
        }
        let diagonal = reflector(column, tau);
        for (x, row) in column.iter().zip(a[j * n..].chunks_exact_mut(n)) {
            row[j] = *x;
        }
        a[j * n + j] = diagonal;
        reflect(column, *tau, &mut a[j * n..], n, j + 1);
    }
}

/// The first `columns` columns of the product of the reflectors below the diagonal of `a`.
#[inline(always)]
fn form<T: Real, const N: usize>(
    a: &[Lanes<T, N>],
    n: usize,
    tau: &[Lanes<T, N>],
    columns: usize,
    v: &mut [Lanes<T, N>],
) -> Vec<Lanes<T, N>> {
    let mut q = vec![Lanes::splat(T::zero()); v.len() * columns];
    for i in 0..columns.min(v.len()) {
        q[i * columns + i] = Lanes::splat(T::one());
    }
    for (j, &tau) in tau.iter().enumerate().rev() {
        let column = &mut v[j..];
        for (x, row) in column.iter_mut().zip(a[j * n..].chunks_exact(n)) {
            *x = row[j];
        }
        // Columns of Q before `j` are still those of the identity, which are zero in these rows.
        reflect(column, tau, &mut q[j * columns..], columns, j);
    }
    q
}

/// Makes a column its reflector, whose first value is taken for 1, and returns what the first value becomes. LAPACK's signs: the
/// new value has the opposite sign, and what is zero below stays as it is.
#[inline(always)]
pub(super) fn reflector<T: Real, const N: usize>(
    column: &mut [Lanes<T, N>],
    tau: &mut Lanes<T, N>,
) -> Lanes<T, N> {
    let (head, tail) = column.split_first_mut().expect("a column has a diagonal");
    let (zero, one) = (Lanes::splat(T::zero()), Lanes::splat(T::one()));
    let [smallest, largest] = [T::min_positive_value() / T::epsilon(), T::max_value()];
    // Runs are added up apart, because rounding of one long sum of like values drifts to one side.
    let sum_of_squares = |tail: &[Lanes<T, N>]| {
        let run = |run: &[Lanes<T, N>]| run.iter().fold(zero, |sum, x| x.times_plus(*x, sum));
        tail.chunks(RUN).fold(zero, |sum, part| sum + run(part))
    };
    let mut below = sum_of_squares(tail);
    let mut alpha = *head;
    let (mut scale, mut empty) = (one, [false; N]);
    let ordinary: [bool; N] = std::array::from_fn(|i| {
        let sum = below.0[i] + alpha.0[i] * alpha.0[i];
        below.0[i] >= smallest && sum <= largest
    });
    if ordinary.contains(&false) {
        // Values whose squares leave the range are divided by the largest; other lanes by 1, so that they do not change.
        let top = tail.iter().fold(zero, |top, x| x.abs().if_greater(top, x.abs(), top));
        scale = alpha.abs().if_greater(top, alpha.abs(), top);
        scale = Lanes(std::array::from_fn(|i| match scale.0[i] {
            scale if ordinary[i] || scale == T::zero() => T::one(),
            scale => scale,
        }));
        for x in tail.iter_mut() {
            *x = *x / scale;
        }
        alpha = alpha / scale;
        below = sum_of_squares(tail);
        empty = std::array::from_fn(|i| top.0[i] == T::zero() && below.0[i] == T::zero());
    }
    let norm = alpha.times_plus(alpha, below).sqrt();
    let beta = norm.zip(alpha, |norm, alpha| if alpha < T::zero() { norm } else { -norm });
    let shrink = one / (alpha - beta);
    for x in tail.iter_mut() {
        *x = Lanes(std::array::from_fn(|i| if empty[i] { x.0[i] } else { x.0[i] * shrink.0[i] }));
    }
    let factor = (beta - alpha) / beta;
    *tau = Lanes(std::array::from_fn(|i| if empty[i] { T::zero() } else { factor.0[i] }));
    let diagonal = beta * scale;
    let head = *head;
    Lanes(std::array::from_fn(|i| if empty[i] { head.0[i] } else { diagonal.0[i] }))
}

/// `(I - tau v v^T)` times the columns from `first` on of the rows `a`, each of `n` values; `v[0]` is taken for 1.
#[inline(always)]
fn reflect<T: Real, const N: usize>(
    v: &[Lanes<T, N>],
    tau: Lanes<T, N>,
    a: &mut [Lanes<T, N>],
    n: usize,
    first: usize,
) {
    let mut c = first;
    while c + TOGETHER <= n {
        reflect_columns::<T, N, TOGETHER>(v, tau, a, n, c);
        c += TOGETHER;
    }
    while c < n {
        reflect_columns::<T, N, 1>(v, tau, a, n, c);
        c += 1;
    }
}

#[inline(always)]
fn reflect_columns<T: Real, const N: usize, const COLUMNS: usize>(
    v: &[Lanes<T, N>],
    tau: Lanes<T, N>,
    a: &mut [Lanes<T, N>],
    n: usize,
    c: usize,
) {
    let mut sums: [Lanes<T, N>; COLUMNS] = std::array::from_fn(|u| a[c + u]);
    for (v, rows) in v[1..].chunks(RUN).zip(a[n..].chunks(RUN * n)) {
        let mut run = [Lanes::splat(T::zero()); COLUMNS];
        for (v, row) in v.iter().zip(rows.chunks_exact(n)) {
            let row = &row[c..c + COLUMNS];
            for u in 0..COLUMNS {
                run[u] = v.times_plus(row[u], run[u]);
            }
        }
        for u in 0..COLUMNS {
            sums[u] = sums[u] + run[u];
        }
    }
    for (u, sum) in sums.iter_mut().enumerate() {
        *sum = *sum * tau;
        a[c + u] = a[c + u] - *sum;
    }
    for (v, row) in v.iter().zip(a.chunks_exact_mut(n)).skip(1) {
        let row = &mut row[c..c + COLUMNS];
        for u in 0..COLUMNS {
            row[u] = row[u].minus_product(*v, sums[u]);
        }
    }
}
