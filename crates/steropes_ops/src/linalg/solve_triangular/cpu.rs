//! Small systems with few right sides side by side in lanes; others one by one: right sides side by side in vectors, halves of
//! the triangle apart, so that most work is products.

use super::System;
use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real, for_groups, interleaved, separated};
use crate::cpu::simd::{Kernel, Simd};
use crate::linalg::dense::one::{self, Part};
use crate::linalg::dense::{Pieces, Triangle, View, for_matrices, side_by_side};

/// Equations of the largest systems that go side by side, and right sides they have at most.
const SMALL: [usize; 2] = [16, 7];

/// Solves the systems of all `triangles` of `a`, one after another.
pub(crate) fn solve<T: Real, const N: usize>(
    a: &[T],
    b: &[T],
    system: &System,
    triangles: &[Triangle],
) -> Vec<T> {
    let (n, k, count) = (system.n, system.k, system.both.count());
    let mut x = vec![T::of(0.0); count * n * k];
    if x.is_empty() {
        return x;
    }
    let work = n * n * k / 2 * triangles.len();
    if n <= SMALL[0] && k <= SMALL[1] && system.both.is_plain() && side_by_side::worthwhile::<N>(count, n) {
        let isa = Isa::current();
        let pieces = Pieces::new(&mut x, N * n * k);
        for_groups(count.div_ceil(N), work * N / 4, |group| {
            // SAFETY: each group once.
            let x = unsafe { pieces.get(group) };
            isa.run(Group::<T, N> { a, b, system, triangles, first: group * N, x });
        });
        return x;
    }
    let pieces = Pieces::new(&mut x, n * k);
    for_matrices(count, work, |index, par| {
        // SAFETY: each matrix once.
        let x = unsafe { pieces.get(index) };
        let [from_a, from_b] = system.both.sources(index);
        let a = &a[from_a * n * n..][..n * n];
        x.copy_from_slice(&b[from_b * n * k..][..n * k]);
        in_columns(x, system, |x| {
            for triangle in triangles {
                solve_one(a, n, x, k, *triangle, par);
            }
        });
    });
    x
}

/// Solves one system for the columns of `x`, `[n, k]`.
pub(crate) fn solve_one<T: Real>(
    a: &[T],
    n: usize,
    x: &mut [T],
    k: usize,
    triangle: Triangle,
    par: faer::Par,
) {
    let (of_a, of_x) = triangle.as_lower(n, View::of_columns(n), View::of_columns(k));
    // SAFETY: the views are those of row-major matrices; `a` is only read.
    unsafe {
        let (a, x) = (Part::new(a.as_ptr().cast_mut(), of_a), Part::new(x.as_mut_ptr(), of_x));
        one::solve_lower(a, n, x, k, triangle.unit, par);
    }
}

/// Calls `body` with right sides as columns.
pub(crate) fn in_columns<T: Real>(x: &mut [T], system: &System, body: impl FnOnce(&mut [T])) {
    if system.left {
        body(x);
        return;
    }
    let mut columns = transposed(x, system.k, system.n);
    body(&mut columns);
    x.copy_from_slice(&transposed(&columns, system.n, system.k));
}

fn transposed<T: Real>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len());
    for j in 0..columns {
        out.extend((0..rows).map(|i| x[i * columns + j]));
    }
    out
}

struct Group<'a, T, const N: usize> {
    a: &'a [T],
    b: &'a [T],
    system: &'a System,
    triangles: &'a [Triangle],
    first: usize,
    x: &'a mut [T],
}

impl<T: Real, const N: usize> Kernel for Group<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (n, k) = (self.system.n, self.system.k);
        let zero = Lanes::<T, N>::splat(T::of(0.0));
        let (mut a, mut x) = (vec![zero; n * n], vec![zero; n * k]);
        interleaved(self.a, n * n, self.first, &mut a);
        interleaved(self.b, n * k, self.first, &mut x);
        let of_x = if self.system.left { View::of_columns(k) } else { View::of_columns(n).transposed() };
        for triangle in self.triangles {
            let views = triangle.as_lower(n, View::of_columns(n), of_x);
            side_by_side::solve_lower(&a, n, &mut x, k, triangle.unit, views);
        }
        separated(&x, self.x);
    }
}
