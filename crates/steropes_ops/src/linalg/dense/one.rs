//! One matrix of any size, row by row: recursion on halves down to blocks that stay in L1, so that nearly all work is
//! products, which `faer` does. Blocks are loops over rows that become vectors inside [`Isa::run`].

use super::View;
use crate::cpu::Isa;
use crate::cpu::lanes::Real;
use crate::cpu::simd::{Kernel, Simd};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

/// Rows of a triangle that are not divided further.
const TRIANGLE: usize = 64;

/// Columns of a panel that is not divided further, of a matrix that does not fit one block.
const PANEL: usize = 16;

/// Right sides from which on they are taken side by side.
const SIDE_BY_SIDE: usize = 8;

/// A matrix in memory.
#[derive(Clone, Copy)]
pub(crate) struct Part<T> {
    first: *mut T,
    row: isize,
    column: isize,
}

impl<T: Real> Part<T> {
    /// The matrix of `view` in memory that begins at `first`.
    ///
    /// # Safety
    /// All its elements must be in memory that outlives the part, and may be written if an algorithm says that it does.
    pub(crate) unsafe fn new(first: *mut T, view: View) -> Self {
        // SAFETY: the caller's promise.
        Self { first: unsafe { first.offset(view.start) }, row: view.row, column: view.column }
    }

    #[inline(always)]
    unsafe fn at(self, i: usize, j: usize) -> *mut T {
        // SAFETY: the caller asks for an element of the matrix, or one behind its end that it does not touch.
        unsafe { self.first.offset(i as isize * self.row + j as isize * self.column) }
    }

    #[inline(always)]
    unsafe fn from(self, i: usize, j: usize) -> Self {
        // SAFETY: as `at`.
        Self { first: unsafe { self.at(i, j) }, ..self }
    }

    #[inline(always)]
    fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// Columns `columns` of row `i`, which must lie one after another.
    #[inline(always)]
    unsafe fn row<'a>(self, i: usize, columns: std::ops::Range<usize>) -> &'a mut [T] {
        debug_assert_eq!(self.column, 1, "rows lie one after another");
        // SAFETY: the caller asks for a part of the matrix that nothing else holds.
        unsafe { std::slice::from_raw_parts_mut(self.at(i, columns.start), columns.len()) }
    }

    unsafe fn matrix<'a>(self, rows: usize, columns: usize) -> MatRef<'a, T> {
        // SAFETY: the caller asks for a part of the matrix.
        unsafe { MatRef::from_raw_parts(self.first, rows, columns, self.row, self.column) }
    }

    unsafe fn matrix_mut<'a>(self, rows: usize, columns: usize) -> MatMut<'a, T> {
        // SAFETY: the caller asks for a part of the matrix that nothing else holds.
        unsafe { MatMut::from_raw_parts_mut(self.first, rows, columns, self.row, self.column) }
    }
}

/// `target = target - a b`, or the product itself; extents `[m, n, k]`.
///
/// # Safety
/// The parts must have these extents, and `target` must not overlap the others.
pub(crate) unsafe fn product<T: Real>(
    target: Part<T>,
    accumulate: Accum,
    factor: f64,
    (a, b): (Part<T>, Part<T>),
    [m, n, k]: [usize; 3],
    par: Par,
) {
    // SAFETY: the caller's promise.
    unsafe {
        matmul(target.matrix_mut(m, n), accumulate, a.matrix(m, k), b.matrix(k, n), T::of(factor), par);
    }
}

/// Solves the `n` equations of the lower triangle of `a` for the `k` columns of `b`, in place.
///
/// # Safety
/// `a` must be `[n, n]` and `b` `[n, k]`, without overlap of `b` with the triangle.
pub(crate) unsafe fn solve_lower<T: Real>(a: Part<T>, n: usize, b: Part<T>, k: usize, unit: bool, par: Par) {
    if n <= TRIANGLE {
        Isa::current().run(SolveLower { a, n, b, k, unit });
        return;
    }
    let half = (n / 2).next_multiple_of(PANEL);
    // SAFETY: parts of the matrices; the two halves of `b` are different rows.
    unsafe {
        solve_lower(a, half, b, k, unit, par);
        let rest = b.from(half, 0);
        product(rest, Accum::Add, -1.0, (a.from(half, 0), b), [n - half, k, half], par);
        solve_lower(a.from(half, half), n - half, rest, k, unit, par);
    }
}

struct SolveLower<T> {
    a: Part<T>,
    n: usize,
    b: Part<T>,
    k: usize,
    unit: bool,
}

impl<T: Real> Kernel for SolveLower<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut done = 0;
        // SAFETY: the caller of `solve_lower` vouches for the extents.
        unsafe {
            if self.b.column == 1 && self.k >= SIDE_BY_SIDE {
                while done + 32 <= self.k {
                    self.columns::<32>(done);
                    done += 32;
                }
                while done + SIDE_BY_SIDE <= self.k {
                    self.columns::<SIDE_BY_SIDE>(done);
                    done += SIDE_BY_SIDE;
                }
            }
            (done..self.k).for_each(|column| self.column(column));
        }
    }
}

impl<T: Real> SolveLower<T> {
    /// `W` columns from `first` on, side by side.
    #[inline(always)]
    unsafe fn columns<const W: usize>(&self, first: usize) {
        for i in 0..self.n {
            // SAFETY: the columns are inside the rows of `b`.
            unsafe {
                let row = self.b.at(i, first).cast::<[T; W]>();
                let mut sum = *row;
                for j in 0..i {
                    let factor = *self.a.at(i, j);
                    let known = &*self.b.at(j, first).cast::<[T; W]>();
                    for w in 0..W {
                        sum[w] -= factor * known[w];
                    }
                }
                if !self.unit {
                    let diagonal = *self.a.at(i, i);
                    for s in &mut sum {
                        *s /= diagonal;
                    }
                }
                *row = sum;
            }
        }
    }

    /// One column, by scalar products with rows of the triangle.
    #[inline(always)]
    unsafe fn column(&self, column: usize) {
        let mut x = [T::of(0.0); TRIANGLE];
        let mut row = [T::of(0.0); TRIANGLE];
        for i in 0..self.n {
            // SAFETY: elements of the triangle and the column.
            unsafe {
                for (j, value) in row[..i].iter_mut().enumerate() {
                    *value = *self.a.at(i, j);
                }
                let rest = *self.b.at(i, column) - dot(&row[..i], &x[..i]);
                x[i] = if self.unit { rest } else { rest / *self.a.at(i, i) };
                *self.b.at(i, column) = x[i];
            }
        }
    }
}

/// A scalar product in sixteen sums.
#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::of(0.0); 16];
    let whole = a.len() / 16 * 16;
    for (a, b) in a[..whole].chunks_exact(16).zip(b[..whole].chunks_exact(16)) {
        for w in 0..16 {
            sums[w] += a[w] * b[w];
        }
    }
    for (w, (&a, &b)) in a[whole..].iter().zip(&b[whole..]).enumerate() {
        sums[w] += a * b;
    }
    for step in [8, 4, 2, 1] {
        for w in 0..step {
            sums[w] += sums[w + step];
        }
    }
    sums[0]
}

/// Replaces the upper triangle of a symmetric matrix by `U` with `U^T U` = the matrix; the other triangle is not touched.
/// Returns the number of the first pivot that is not above zero, if there is one.
///
/// # Safety
/// `a` must be `[n, n]` with rows that lie one after another.
pub(crate) unsafe fn cholesky_upper<T: Real>(a: Part<T>, n: usize, par: Par) -> Option<usize> {
    if n <= TRIANGLE {
        return Isa::current().run(Cholesky { a, n });
    }
    let half = (n / 2).next_multiple_of(PANEL);
    // SAFETY: parts of the matrix that do not overlap.
    unsafe {
        if let Some(pivot) = cholesky_upper(a, half, par) {
            return Some(pivot);
        }
        let (right, corner, rest) = (a.from(0, half), a.from(half, half), n - half);
        solve_lower(a.transposed(), half, right, rest, false, par);
        triangular::matmul(
            corner.matrix_mut(rest, rest),
            BlockStructure::TriangularUpper,
            Accum::Add,
            right.transposed().matrix(rest, half),
            BlockStructure::Rectangular,
            right.matrix(half, rest),
            BlockStructure::Rectangular,
            T::of(-1.0),
            par,
        );
        cholesky_upper(corner, rest, par).map(|pivot| pivot + half)
    }
}

struct Cholesky<T> {
    a: Part<T>,
    n: usize,
}

impl<T: Real> Kernel for Cholesky<T> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Option<usize> {
        let (a, n) = (self.a, self.n);
        for k in 0..n {
            // SAFETY: different rows of the matrix.
            unsafe {
                let pivot = a.row(k, k..n);
                if pivot[0] <= T::of(0.0) || num_traits::Float::is_nan(pivot[0]) {
                    return Some(k);
                }
                let root = num_traits::Float::sqrt(pivot[0]);
                for value in pivot.iter_mut() {
                    *value /= root;
                }
                for i in k + 1..n {
                    minus(a.row(i, i..n), pivot[i - k], &pivot[i - k..]);
                }
            }
        }
        None
    }
}

/// `row -= factor other`
#[inline(always)]
fn minus<T: Real>(row: &mut [T], factor: T, other: &[T]) {
    for (value, &other) in row.iter_mut().zip(other) {
        *value -= factor * other;
    }
}

/// Replaces a matrix by its factors `L` (below the diagonal, which is ones) and `U`, of its rows exchanged: row `k` with row
/// `pivots[k]`, in that order, counted from 0. Returns the number of the first pivot that is zero, if there is one.
///
/// # Safety
/// `a` must be `[rows, columns]` with rows that lie one after another.
pub(crate) unsafe fn lu<T: Real>(
    a: Part<T>,
    [rows, columns]: [usize; 2],
    pivots: &mut [i32],
    par: Par,
) -> Option<usize> {
    let steps = rows.min(columns);
    let pivots = &mut pivots[..steps];
    // SAFETY: parts of the matrix that do not overlap.
    unsafe {
        let zero = lu_columns(a, rows, steps, pivots, par);
        if columns > steps {
            let right = a.from(0, steps);
            exchange_rows(right, columns - steps, pivots);
            solve_lower(a, steps, right, columns - steps, true, par);
        }
        zero
    }
}

/// [`lu`] of a matrix that is not wide.
unsafe fn lu_columns<T: Real>(
    a: Part<T>,
    rows: usize,
    columns: usize,
    pivots: &mut [i32],
    par: Par,
) -> Option<usize> {
    if columns <= PANEL || rows <= TRIANGLE {
        return Isa::current().run(Lu { a, rows, columns, pivots });
    }
    let half = (columns / 2).next_multiple_of(PANEL);
    // SAFETY: parts of the matrix that do not overlap.
    unsafe {
        let (right, rest) = (a.from(0, half), columns - half);
        let (upper, lower) = pivots.split_at_mut(half);
        let first = lu_columns(a, rows, half, upper, par);
        exchange_rows(right, rest, upper);
        solve_lower(a, half, right, rest, true, par);
        let corner = right.from(half, 0);
        product(corner, Accum::Add, -1.0, (a.from(half, 0), right), [rows - half, rest, half], par);
        let second = lu_columns(corner, rows - half, rest, lower, par);
        exchange_rows(a.from(half, 0), half, lower);
        for pivot in lower {
            *pivot += half as i32;
        }
        first.or(second.map(|pivot| pivot + half))
    }
}

struct Lu<'a, T> {
    a: Part<T>,
    rows: usize,
    columns: usize,
    pivots: &'a mut [i32],
}

impl<T: Real> Kernel for Lu<'_, T> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Option<usize> {
        let (a, columns) = (self.a, self.columns);
        let mut zero = None;
        for k in 0..columns {
            // SAFETY: different rows of the matrix.
            unsafe {
                let largest = largest(a, k, self.rows);
                self.pivots[k] = largest as i32;
                if largest != k {
                    a.row(k, 0..columns).swap_with_slice(a.row(largest, 0..columns));
                }
                let pivot = a.row(k, k..columns);
                if pivot[0] == T::of(0.0) {
                    zero = zero.or(Some(k));
                    continue;
                }
                for i in k + 1..self.rows {
                    let row = a.row(i, k..columns);
                    let factor = row[0] / pivot[0];
                    row[0] = factor;
                    minus(&mut row[1..], factor, &pivot[1..]);
                }
            }
        }
        zero
    }
}

/// The row from `k` on with the largest magnitude in column `k`, the first of equals. One that is not a number is larger than
/// all, so that it goes into every row.
#[inline(always)]
unsafe fn largest<T: Real>(a: Part<T>, k: usize, rows: usize) -> usize {
    // SAFETY: elements of the column.
    unsafe {
        let magnitude = |i| num_traits::Float::abs(*a.at(i, k));
        let mut best = (k, magnitude(k));
        for i in k + 1..rows {
            let found = magnitude(i);
            if found > best.1 || (found.is_nan() && !best.1.is_nan()) {
                best = (i, found);
            }
        }
        best.0
    }
}

/// Exchanges row `k` with row `pivots[k]` in order.
///
/// # Safety
/// `a` must have these rows, `columns` long.
pub(crate) unsafe fn exchange_rows<T: Real>(a: Part<T>, columns: usize, pivots: &[i32]) {
    for (k, &other) in pivots.iter().enumerate() {
        // SAFETY: different rows of the matrix.
        unsafe { exchange(a, columns, k, other as usize) };
    }
}

/// Undoes [`exchange_rows`].
///
/// # Safety
/// As [`exchange_rows`].
pub(crate) unsafe fn exchange_rows_back<T: Real>(a: Part<T>, columns: usize, pivots: &[i32]) {
    for (k, &other) in pivots.iter().enumerate().rev() {
        // SAFETY: different rows of the matrix.
        unsafe { exchange(a, columns, k, other as usize) };
    }
}

unsafe fn exchange<T: Real>(a: Part<T>, columns: usize, k: usize, other: usize) {
    if other != k {
        // SAFETY: the caller's promise.
        unsafe { a.row(k, 0..columns).swap_with_slice(a.row(other, 0..columns)) };
    }
}
