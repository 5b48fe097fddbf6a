//! Single and large matrices: panels of columns, halved until a few are left that are reduced one by one, and blocks of reflections
//! (compact WY) as products of matrices, which run on all threads for one matrix and on one thread for each of many.

use super::lanes::reflector;
use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real};
use crate::cpu::simd::{Kernel, Simd};
use faer::{Accum, Mat, MatMut, MatRef, Par};

/// Columns of a panel.
const PANEL: usize = 64;

/// Columns that are reduced one by one.
const NARROW: usize = 8;

/// A matrix `[m, n]` of a stack as products see it.
pub(in crate::linalg) fn view<T>(a: &[T], m: usize, n: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(a, m, n)
}

/// As [`view`], to write.
pub(in crate::linalg) fn view_mut<T>(a: &mut [T], m: usize, n: usize) -> MatMut<'_, T> {
    MatMut::from_row_major_slice_mut(a, m, n)
}

/// `to = a b` or `to += a b`.
pub(in crate::linalg) fn multiply<T: Real>(
    to: MatMut<'_, T>,
    accum: Accum,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    par: Par,
) {
    faer::linalg::matmul::matmul(to, accum, a, b, T::one(), par);
}

/// Threads for one of `count` matrices.
pub(in crate::linalg) fn threads_for(count: usize) -> Par {
    if count < rayon::current_num_threads() { Par::rayon(0) } else { Par::Seq }
}

/// A factored matrix.
pub(super) struct Factored<T> {
    /// R; what is below its diagonal means nothing.
    r: Mat<T>,
    /// The reflectors, with ones on the diagonal and zeros above.
    v: Mat<T>,
    /// Their factors.
    tau: Vec<T>,
    /// `H_1 .. H_p = I - V T V^T` for every panel.
    triangles: Vec<Mat<T>>,
}

impl<T: Real> Factored<T> {
    /// The factors of a matrix.
    pub(super) fn new(a: &[T], m: usize, n: usize, par: Par) -> Self {
        let steps = m.min(n);
        let mut r = view(a, m, n).to_owned();
        let mut v = Mat::zeros(m, steps);
        let mut tau = vec![T::zero(); steps];
        let mut triangles = Vec::new();
        for first in (0..steps).step_by(PANEL) {
            let width = PANEL.min(steps - first);
            let mut v = v.as_mut().submatrix_mut(first, first, m - first, width);
            let rows = r.as_mut().submatrix_mut(first, first, m - first, n - first);
            let (panel, behind) = rows.split_at_col_mut(width);
            let tau = &mut tau[first..first + width];
            reduce(panel, v.as_mut(), tau, par);
            let triangle = triangle(v.as_ref(), tau, par);
            if behind.ncols() > 0 {
                apply(v.as_ref(), triangle.transpose(), behind, par);
            }
            triangles.push(triangle);
        }
        Self { r, v, tau, triangles }
    }

    /// From reflectors as LAPACK stores them, the first `tau.len()` columns of `[m, n]`.
    pub(super) fn from_reflectors(a: &[T], m: usize, n: usize, tau: &[T], par: Par) -> Self {
        let a = view(a, m, n);
        let v = Mat::from_fn(m, tau.len(), |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Less => T::zero(),
            std::cmp::Ordering::Equal => T::one(),
            std::cmp::Ordering::Greater => a[(i, j)],
        });
        let panel = |first| {
            let width = PANEL.min(tau.len() - first);
            triangle(v.as_ref().submatrix(first, first, m - first, width), &tau[first..first + width], par)
        };
        let triangles = (0..tau.len()).step_by(PANEL).map(panel).collect();
        Self { r: Mat::zeros(0, 0), v, tau: tau.to_vec(), triangles }
    }

    /// The factor of each reflector.
    pub(super) fn write_tau(&self, tau: &mut [T]) {
        tau.copy_from_slice(&self.tau);
    }

    /// Everything, as LAPACK stores it.
    pub(super) fn write_all(&self, to: &mut [T]) {
        let n = self.r.ncols();
        for (i, row) in to.chunks_exact_mut(n).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                *x = if i <= j { self.r[(i, j)] } else { self.v[(i, j)] };
            }
        }
    }

    /// The rows of R that `r` has room for.
    pub(super) fn write_r(&self, r: &mut [T]) {
        let n = self.r.ncols();
        for (i, row) in r.chunks_exact_mut(n).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                *x = if i <= j { self.r[(i, j)] } else { T::zero() };
            }
        }
    }

    /// The first `columns` columns of Q.
    pub(super) fn write_q(&self, q: &mut [T], columns: usize, par: Par) {
        let m = self.v.nrows();
        let mut result = Mat::identity(m, columns);
        for (i, triangle) in self.triangles.iter().enumerate().rev() {
            let first = i * PANEL;
            let v = self.v.as_ref().submatrix(first, first, m - first, triangle.ncols());
            // Columns before these are still those of the identity, which are zero in these rows.
            let rows = result.as_mut().submatrix_mut(first, first, m - first, columns - first);
            apply(v, triangle.as_ref(), rows, par);
        }
        view_mut(q, m, columns).copy_from(&result);
    }
}

/// `(I - V T V^T) C` in place of C.
fn apply<T: Real>(v: MatRef<'_, T>, t: MatRef<'_, T>, c: MatMut<'_, T>, par: Par) {
    let mut projected = Mat::zeros(v.ncols(), c.ncols());
    multiply(projected.as_mut(), Accum::Replace, v.transpose(), c.as_ref(), par);
    let mut factors = Mat::zeros(v.ncols(), c.ncols());
    multiply(factors.as_mut(), Accum::Replace, t, projected.as_ref(), par);
    faer::linalg::matmul::matmul(c, Accum::Add, v, factors.as_ref(), -T::one(), par);
}

/// T of `H_1 .. H_p = I - V T V^T`.
fn triangle<T: Real>(v: MatRef<'_, T>, tau: &[T], par: Par) -> Mat<T> {
    let width = tau.len();
    let mut products = Mat::zeros(width, width);
    multiply(products.as_mut(), Accum::Replace, v.transpose(), v, par);
    let mut t = Mat::zeros(width, width);
    for (j, &tau) in tau.iter().enumerate() {
        for i in 0..j {
            let sum: T = (i..j).map(|l| t[(i, l)] * products[(l, j)]).sum();
            t[(i, j)] = -tau * sum;
        }
        t[(j, j)] = tau;
    }
    t
}

/// Reduces the columns of `a`, which begin at the diagonal, with their reflectors in `v`, which is zeros before.
fn reduce<T: Real>(a: MatMut<'_, T>, v: MatMut<'_, T>, tau: &mut [T], par: Par) {
    if tau.len() <= NARROW {
        return Isa::current().run(Narrow { a, v, tau });
    }
    let half = tau.len() / 2;
    let (first_tau, second_tau) = tau.split_at_mut(half);
    let (first, mut second) = a.split_at_col_mut(half);
    let (mut first_v, second_v) = v.split_at_col_mut(half);
    reduce(first, first_v.as_mut(), first_tau, par);
    let triangle = triangle(first_v.as_ref(), first_tau, par);
    apply(first_v.as_ref(), triangle.transpose(), second.as_mut(), par);
    reduce(second.split_at_row_mut(half).1, second_v.split_at_row_mut(half).1, second_tau, par);
}

/// Values of a column that are computed together.
const TOGETHER: usize = 16;

/// A few columns, one by one.
struct Narrow<'a, T> {
    a: MatMut<'a, T>,
    v: MatMut<'a, T>,
    tau: &'a mut [T],
}

impl<T: Real> Kernel for Narrow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        for (j, tau) in self.tau.iter_mut().enumerate() {
            let v = &mut slice_mut(&mut self.v, j)[j..];
            *tau = reduce_column(&mut slice_mut(&mut self.a, j)[j..], v);
            for c in j + 1..self.a.ncols() {
                reflect_column(&mut slice_mut(&mut self.a, c)[j..], v, *tau);
            }
        }
    }
}

/// Writes the reflector of a column to `v`, and what its first value becomes to the column; returns tau.
#[inline(always)]
pub(in crate::linalg) fn reduce_column<T: Real>(column: &mut [T], v: &mut [T]) -> T {
    let mut lanes: Vec<Lanes<T, 1>> = column.iter().map(|&x| Lanes([x])).collect();
    let mut tau = Lanes([T::zero()]);
    column[0] = reflector(&mut lanes, &mut tau).0[0];
    for (to, x) in v.iter_mut().zip(&lanes) {
        *to = x.0[0];
    }
    v[0] = T::one();
    tau.0[0]
}

/// `(I - tau v v^T)` times a column.
#[inline(always)]
pub(in crate::linalg) fn reflect_column<T: Real>(column: &mut [T], v: &[T], tau: T) {
    let sum = dot(v, column) * tau;
    subtract(column, v, sum);
}

/// Column `j` of a matrix whose columns are contiguous.
#[inline(always)]
fn slice_mut<'a, T>(a: &'a mut MatMut<'_, T>, j: usize) -> &'a mut [T] {
    a.as_mut().col_mut(j).try_as_col_major_mut().expect("columns are contiguous").as_slice_mut()
}

/// The sum of the products of two columns.
#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [Lanes::<T, TOGETHER>::splat(T::zero()); 2];
    let (a, a_rest) = a.as_chunks::<TOGETHER>();
    let (b, b_rest) = b.as_chunks::<TOGETHER>();
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i % 2] = Lanes(*a).times_plus(Lanes(*b), sums[i % 2]);
    }
    let rest: T = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b).sum();
    (sums[0] + sums[1]).0.into_iter().sum::<T>() + rest
}

/// `a -= b factor`.
#[inline(always)]
fn subtract<T: Real>(a: &mut [T], b: &[T], factor: T) {
    let lanes = Lanes::splat(factor);
    let (a, a_rest) = a.as_chunks_mut::<TOGETHER>();
    let (b, b_rest) = b.as_chunks::<TOGETHER>();
    for (a, b) in a.iter_mut().zip(b) {
        *a = Lanes(*a).minus_product(Lanes(*b), lanes).0;
    }
    for (a, &b) in a_rest.iter_mut().zip(b_rest) {
        *a -= b * factor;
    }
}
