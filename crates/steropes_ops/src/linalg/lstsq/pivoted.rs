//! Any rank: QR with column pivoting, one column after another, and QR of the rows of R that count (a complete orthogonal
//! factorisation). Matrices are shared among threads.

use super::System;
use super::cpu::squares;
use crate::cpu::Isa;
use crate::cpu::lanes::Real;
use crate::cpu::simd::{Kernel, Simd};
use crate::linalg::qr::{Matrices, factors, reduce_column, reflect_column, view};
use faer::Par;
use rayon::prelude::*;

/// Solutions, residuals if all matrices are of full rank and have more rows than columns, and ranks.
pub(super) fn gelsy<T: Real, const N: usize>(
    a: &[T],
    b: &[T],
    rcond: f64,
    system: &System,
) -> (Vec<T>, Option<Vec<T>>, Vec<i64>) {
    let &System { m, n, k, .. } = system;
    let count = system.count();
    let mut solution = vec![T::zero(); count * n * k];
    let mut residuals = vec![T::zero(); count * k];
    let mut ranks = vec![0; count];
    let results = solution.par_chunks_mut(n * k).zip(residuals.par_chunks_mut(k)).zip(&mut ranks);
    let sources = a.par_chunks(m * n).zip(b.par_chunks(m * k));
    sources.zip(results).for_each(|((a, b), ((x, residuals), rank))| {
        *rank = one::<T, N>(a, b, rcond, [m, n, k], x) as i64;
        squares(view(a, m, n), view(x, n, k), view(b, m, k), residuals, Par::Seq);
    });
    let full = m > n && ranks.iter().all(|&rank| rank == n as i64);
    (solution, full.then_some(residuals), ranks)
}

/// Writes the solution of one system; returns its rank.
fn one<T: Real, const N: usize>(a: &[T], b: &[T], rcond: f64, [m, n, k]: [usize; 3], x: &mut [T]) -> usize {
    if a.iter().chain(b).any(|x| !x.is_finite()) {
        x.fill(T::nan());
        return 0;
    }
    let column = |from: &[T], width: usize, j: usize| (0..m).map(|i| from[i * width + j]).collect();
    let mut columns: Vec<Vec<T>> = (0..n).map(|j| column(a, n, j)).collect();
    columns.extend((0..k).map(|j| column(b, k, j)));
    let mut order: Vec<usize> = (0..n).collect();
    Isa::current().run(Pivoted { columns: &mut columns, order: &mut order });
    let rank = rank(&columns, m.min(n), rcond);
    if rank == 0 {
        return 0;
    }
    // The rows of R that count are T^T Z^T with orthonormal columns of Z, so x = P Z T^-T Q^T b.
    let transposed: Vec<T> = (0..n * rank)
        .map(|e| if e % rank <= e / rank { columns[e / rank][e % rank] } else { T::zero() })
        .collect();
    let [t, z] = factors::<T, N>(&transposed, &Matrices { count: 1, m: n, n: rank }, [rank, rank]);
    for j in 0..k {
        let mut y = columns[n + j][..rank].to_vec();
        for i in 0..rank {
            let known: T = (0..i).map(|l| t[l * rank + i] * y[l]).sum();
            y[i] = (y[i] - known) / t[i * rank + i];
        }
        for (z, &place) in z.chunks_exact(rank).zip(&order) {
            x[place * k + j] = z.iter().zip(&y).map(|(&z, &y)| z * y).sum();
        }
    }
    rank
}

/// Columns to reduce, the first ones in the order of their norms, and that order.
struct Pivoted<'a, T> {
    columns: &'a mut [Vec<T>],
    order: &'a mut [usize],
}

impl<T: Real> Kernel for Pivoted<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let n = self.order.len();
        let mut v = vec![T::zero(); self.columns[0].len()];
        for j in 0..n.min(self.columns[0].len()) {
            // Norms are taken anew, so that none is what rounding left of an older one.
            let norms = self.columns[j..n].iter().map(|column| norm(&column[j..]));
            let first = norms
                .enumerate()
                .fold((0, -T::one()), |best, next| if next.1 > best.1 { next } else { best });
            self.columns.swap(j, j + first.0);
            self.order.swap(j, j + first.0);
            let (done, behind) = self.columns.split_at_mut(j + 1);
            let tau = reduce_column(&mut done[j][j..], &mut v[j..]);
            for column in behind {
                reflect_column(&mut column[j..], &v[j..], tau);
            }
        }
    }
}

/// The norm of a column, of any scale.
#[inline(always)]
fn norm<T: Real>(column: &[T]) -> T {
    let largest = column.iter().fold(T::zero(), |largest, x| largest.max(x.abs()));
    if largest == T::zero() {
        return largest;
    }
    let sum: T = column.iter().map(|&x| (x / largest) * (x / largest)).sum();
    largest * sum.sqrt()
}

/// The most leading rows and columns of R whose condition is estimated to be at most `1 / rcond`.
fn rank<T: Real>(columns: &[Vec<T>], most: usize, rcond: f64) -> usize {
    let entry = |i: usize, j: usize| num_traits::cast::<T, f64>(columns[j][i]).expect("a float");
    let first = entry(0, 0).abs();
    if first == 0.0 {
        return 0;
    }
    let [mut largest, mut smallest] = [(first, vec![1.0]), (first, vec![1.0])];
    for j in 1..most {
        let column: Vec<f64> = (0..=j).map(|i| entry(i, j)).collect();
        let next_largest = extend(&largest, &column, true);
        let next_smallest = extend(&smallest, &column, false);
        let counts = next_largest.0 * rcond <= next_smallest.0 && next_smallest.0 > 0.0;
        if !counts {
            return j;
        }
        (largest, smallest) = (next_largest, next_smallest);
    }
    most
}

/// From an estimate of the largest (or smallest) singular value of a triangle and its left vector, those of the triangle with one
/// more column: the best combination of that vector and the new row.
fn extend((value, vector): &(f64, Vec<f64>), column: &[f64], largest: bool) -> (f64, Vec<f64>) {
    let (diagonal, above) = column.split_last().expect("a column has a diagonal");
    let product: f64 = vector.iter().zip(above).map(|(x, y)| x * y).sum();
    let scale = value.abs().max(product.abs()).max(diagonal.abs());
    let [s, alpha, gamma] = [value / scale, product / scale, diagonal / scale];
    // The squares are the eigenvalues of [[a, b], [b, d]], whose determinant is (s gamma)^2.
    let [a, b, d] = [s * s + alpha * alpha, alpha * gamma, gamma * gamma];
    let top = (a + d) / 2.0 + ((a - d) / 2.0).hypot(b);
    let eigenvalue = if largest { top } else { (s * gamma).powi(2) / top };
    let (x, y) = if (eigenvalue - a).abs() >= (eigenvalue - d).abs() {
        (b, eigenvalue - a)
    } else {
        (eigenvalue - d, b)
    };
    // Without a length both directions are as good.
    let length = x.hypot(y);
    let (x, y) = if length == 0.0 { (1.0, 0.0) } else { (x / length, y / length) };
    let mut vector: Vec<f64> = vector.iter().map(|v| v * x).collect();
    vector.push(y);
    (eigenvalue.sqrt() * scale, vector)
}
