//! Two-sided cyclic Jacobi of as many matrices as a vector has lanes: a rotation in each lane at once, none in lanes that do
//! not need it, until no lane needs any. So a matrix has the same result whatever its neighbours are. Groups of matrices are
//! shared among threads.

use super::{Uplo, scale, sign};
use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real};
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Sweeps after which a matrix counts as not convergent; six or seven are usual.
const SWEEPS: usize = 30;

/// Multiplications in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 16;

/// Writes values, and vectors if there is room for them.
pub(super) fn eigh<T: Real, const N: usize>(
    a: &[T],
    n: usize,
    uplo: Uplo,
    values: &mut [T],
    vectors: &mut [T],
) {
    let isa = Isa::current();
    let with_vectors = !vectors.is_empty();
    let mut vectors = vectors.chunks_mut(N * n * n);
    let groups: Vec<_> = a
        .chunks(N * n * n)
        .zip(values.chunks_mut(N * n))
        .map(|(a, values)| (a, values, vectors.next().unwrap_or_default()))
        .collect();
    let work = 12 * n * n * n * N;
    let scratch = || {
        let zero = Lanes::splat(T::zero());
        (vec![zero; n * n], vec![zero; if with_vectors { n * n } else { 0 }])
    };
    let solve = |(a, v): &mut (Vec<_>, Vec<_>), (matrices, values, vectors)| {
        isa.run(Group::<T, N> { matrices, n, uplo, values, vectors, a, v });
    };
    let each = (TASK / work).max(1);
    if groups.len() <= each {
        let mut scratch = scratch();
        groups.into_iter().for_each(|group| solve(&mut scratch, group));
    } else {
        groups.into_par_iter().with_min_len(each).for_each_init(scratch, solve);
    }
}

/// At most `N` matrices.
struct Group<'a, T, const N: usize> {
    matrices: &'a [T],
    n: usize,
    uplo: Uplo,
    values: &'a mut [T],
    vectors: &'a mut [T],
    /// The matrices in lanes; only entries on and above the diagonal count.
    a: &'a mut [Lanes<T, N>],
    /// The vectors in lanes, one in each row; empty if nobody asked for them.
    v: &'a mut [Lanes<T, N>],
}

impl<T: Real, const N: usize> Kernel for Group<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let n = self.n;
        let scales = self.load();
        let tolerance = self.tolerance();
        for (i, v) in self.v.iter_mut().enumerate() {
            *v = Lanes::splat(if i % (n + 1) == 0 { T::one() } else { T::zero() });
        }
        let mut turned = true;
        for _ in 0..SWEEPS {
            turned = false;
            for p in 0..n {
                for q in p + 1..n {
                    turned |= self.rotate(p, q, tolerance);
                }
            }
            if !turned {
                break;
            }
        }
        let left = |lane: usize| {
            let above = |i: usize| num_traits::Float::abs(self.a[i].0[lane]) > tolerance.0[lane];
            turned && (0..n * n).any(|i| i / n < i % n && above(i))
        };
        let scales: [Option<T>; N] = std::array::from_fn(|lane| scales[lane].filter(|_| !left(lane)));
        for (lane, scale) in scales.into_iter().enumerate().take(self.matrices.len() / (n * n)) {
            self.store(lane, scale);
        }
    }
}

impl<T: Real, const N: usize> Group<'_, T, N> {
    /// Scaled matrices into lanes; zeros for those with no scale and behind the last one.
    #[inline(always)]
    fn load(&mut self) -> [Option<T>; N] {
        let (n, uplo) = (self.n, self.uplo);
        let mut scales = [None; N];
        self.a.fill(Lanes::splat(T::zero()));
        for (lane, matrix) in self.matrices.chunks_exact(n * n).enumerate() {
            scales[lane] = scale(matrix, n, uplo);
            let Some(scale) = scales[lane] else { continue };
            for i in 0..n {
                for j in i..n {
                    let from = if uplo == Uplo::Lower { j * n + i } else { i * n + j };
                    self.a[i * n + j].0[lane] = matrix[from] * scale;
                }
            }
        }
        scales
    }

    /// Off-diagonal entries up to this are left: together they are less than rounding of the values.
    #[inline(always)]
    fn tolerance(&self) -> Lanes<T, N> {
        let n = self.n;
        let mut squares = Lanes::splat(T::zero());
        for i in 0..n {
            let diagonal = self.a[i * n + i];
            squares = diagonal.times_plus(diagonal, squares);
            for &x in &self.a[i * n + i + 1..(i + 1) * n] {
                squares = (x + x).times_plus(x, squares);
            }
        }
        squares.sqrt() * Lanes::splat(<T as num_traits::Float>::epsilon() / T::of(4.0 * (n as f64).sqrt()))
    }

    /// Makes entry (p, q) zero in the lanes where it is above `tolerance`; whether there is one.
    #[inline(always)]
    fn rotate(&mut self, p: usize, q: usize, tolerance: Lanes<T, N>) -> bool {
        let n = self.n;
        let off = self.a[p * n + q];
        if !off.abs().any_greater(tolerance) {
            return false;
        }
        let (zero, one) = (Lanes::splat(T::zero()), Lanes::splat(T::one()));
        let [first, second] = [self.a[p * n + p], self.a[q * n + q]];
        let (distance, twice) = (second - first, off + off);
        // Scaled matrices: neither overflow nor, above the tolerance, underflow to zero.
        let root = (distance * distance + twice * twice).sqrt();
        let tangent = twice / (distance.abs() + root);
        let tangent = zero.if_greater(distance, -tangent, tangent);
        let tangent = off.abs().if_greater(tolerance, tangent, zero);
        let cosine = one / tangent.times_plus(tangent, one).sqrt();
        let sine = tangent * cosine;
        let turn = Turn { sine, half: sine / (one + cosine) };
        let change = tangent * off;
        self.a[p * n + p] = first - change;
        self.a[q * n + q] = second + change;
        self.a[p * n + q] = off.abs().if_greater(tolerance, zero, off);
        for k in 0..p {
            turn.apply(self.a, k * n + p, k * n + q);
        }
        for k in p + 1..q {
            turn.apply(self.a, p * n + k, k * n + q);
        }
        for k in q + 1..n {
            turn.apply(self.a, p * n + k, q * n + k);
        }
        if !self.v.is_empty() {
            for k in 0..n {
                turn.apply(self.v, p * n + k, q * n + k);
            }
        }
        true
    }

    /// Writes the results of a lane in order, or NaN without a scale.
    #[inline(always)]
    fn store(&mut self, lane: usize, scale: Option<T>) {
        let n = self.n;
        let values = &mut self.values[lane * n..(lane + 1) * n];
        let mut vectors = self.vectors.get_mut(lane * n * n..(lane + 1) * n * n);
        let Some(scale) = scale else {
            values.fill(T::nan());
            vectors.into_iter().for_each(|vectors| vectors.fill(T::nan()));
            return;
        };
        let value = |i: usize| self.a[i * n + i].0[lane];
        for i in 0..n {
            let before = |j: &usize| value(*j) < value(i) || (value(*j) == value(i) && *j < i);
            let rank = (0..n).filter(before).count();
            values[rank] = value(i) / scale;
            if let Some(vectors) = &mut vectors {
                let entries = self.v[i * n..(i + 1) * n].iter().map(|v| v.0[lane]);
                let sign = sign(entries.clone());
                entries.enumerate().for_each(|(k, entry)| vectors[k * n + rank] = entry * sign);
            }
        }
    }
}

/// A rotation by its sine and the tangent of half its angle, which rounding leaves orthogonal when the angle is small.
#[derive(Clone, Copy)]
struct Turn<T, const N: usize> {
    sine: Lanes<T, N>,
    half: Lanes<T, N>,
}

impl<T: Real, const N: usize> Turn<T, N> {
    #[inline(always)]
    fn apply(self, at: &mut [Lanes<T, N>], i: usize, j: usize) {
        let (x, y) = (at[i], at[j]);
        at[i] = x.minus_product(self.sine, self.half.times_plus(x, y));
        at[j] = self.sine.times_plus(x.minus_product(self.half, y), y);
    }
}
