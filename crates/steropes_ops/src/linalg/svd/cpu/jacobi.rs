//! One-sided Jacobi rotations on matrices side by side, one in each lane: pairs of columns are turned until all are orthogonal; their
//! lengths are the singular values, and the turns together are `V`. A wide matrix is taken transposed. Of a pair the longer column comes
//! first, so that columns end in order.
//!
//! A lane whose columns are orthogonal turns by nothing while others go on, so results do not depend on the neighbours.

use super::{Task, choose_signs, power_of_two, tasks};
use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real, interleaved, separated};
use crate::cpu::simd::{Kernel, Simd};
use crate::linalg::svd::{Extents, Vectors};
use rayon::prelude::*;

/// Sweeps over all pairs after which rounding alone is left; ten are rarely needed.
const SWEEPS: usize = 40;

/// Multiplications in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 17;

pub(super) fn svd<T: Real>(a: &[T], extents: Extents, results: &mut [Vec<T>; 3]) {
    // One vector of AVX-512, two of AVX2, four of NEON.
    if size_of::<T>() == 4 {
        groups::<T, 16>(a, extents, results);
    } else {
        groups::<T, 8>(a, extents, results);
    }
}

fn groups<T: Real, const N: usize>(a: &[T], extents: Extents, results: &mut [Vec<T>; 3]) {
    let isa = Isa::current();
    let (length, width) = (extents.length(), extents.values());
    let each = (TASK / (64 * N * length * width * width)).max(1);
    let [u, _, vh] = extents.sizes();
    let out = (length * width).max(u).max(vh);
    let scratch = || vec![Lanes::<T, N>::splat(T::zero()); (length + width) * width + out];
    tasks(a, extents, results, N)
        .into_par_iter()
        .with_min_len(each)
        .for_each_init(scratch, |scratch, task| isa.run(Group { task, extents, scratch }));
}

/// As many matrices as there are lanes, or fewer at the end.
struct Group<'a, 's, T, const N: usize> {
    task: Task<'a, T>,
    extents: Extents,
    scratch: &'s mut [Lanes<T, N>],
}

impl<T: Real, const N: usize> Kernel for Group<'_, '_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // Extents that the compiler knows become straight code.
        match (self.extents.length(), self.extents.values()) {
            (2, 2) => self.solve(2, 2),
            (3, 3) => self.solve(3, 3),
            (4, 4) => self.solve(4, 4),
            (length, width) => self.solve(length, width),
        }
    }
}

impl<T: Real, const N: usize> Group<'_, '_, T, N> {
    #[inline(always)]
    fn solve(mut self, length: usize, width: usize) {
        let (columns, rest) = self.scratch.split_at_mut(length * width);
        let (turns, out) = rest.split_at_mut(width * width);
        let turns = &mut turns[..if self.extents.vectors == Vectors::None { 0 } else { width * width }];
        let transposed = self.extents.transposed();
        let unscale = load(self.task.a, transposed, [length, width], columns, out);
        turns.fill(Lanes::splat(T::zero()));
        turns.iter_mut().step_by(width + 1).for_each(|one| *one = Lanes::splat(T::one()));
        for _ in 0..SWEEPS {
            if !sweep(columns, turns, length, width) {
                break;
            }
        }
        let mut complete = self.extents.vectors == Vectors::Full && length > width;
        let zero = Lanes::splat(smallest::<T>());
        for c in 0..width {
            let column = &mut columns[c * length..][..length];
            let square = column.iter().fold(Lanes::splat(T::zero()), |sum, &x| x.times_plus(x, sum));
            let value = zero.if_greater(square, Lanes::splat(T::zero()), square.sqrt());
            let inverse = zero.if_greater(square, Lanes::splat(T::zero()), Lanes::splat(T::one()) / value);
            complete |= zero.any_greater(square);
            column.iter_mut().for_each(|x| *x = *x * inverse);
            out[c] = value * unscale;
        }
        separated(&out[..width], self.task.s);
        if self.extents.vectors == Vectors::None {
            return;
        }
        let (left, right) = if transposed { (&*turns, &*columns) } else { (&*columns, &*turns) };
        let [rows, k] = [self.extents.rows, width];
        let signs = &mut [Lanes::splat(T::one()); MOST_WIDTH][..width];
        for (c, sign) in signs.iter_mut().enumerate() {
            *sign = sign_of(&left[c * rows..][..rows]);
        }
        store(left, signs, [rows, k, self.extents.left()], true, out, self.task.u);
        store(right, signs, [self.extents.columns, k, self.extents.right()], false, out, self.task.vh);
        if complete {
            self.complete();
        }
    }

    /// Completes the long vectors of each matrix to an orthonormal set.
    fn complete(&mut self) {
        let Extents { rows, columns, .. } = self.extents;
        let [u, s, vh] = self.extents.sizes();
        let each = self.task.u.chunks_exact_mut(u).zip(self.task.s.chunks_exact_mut(s));
        for ((u, s), vh) in each.zip(self.task.vh.chunks_exact_mut(vh)) {
            if self.extents.transposed() {
                complete(vh, [columns, self.extents.right()], [1, columns], s);
            } else {
                complete(u, [rows, self.extents.left()], [self.extents.left(), 1], s);
            }
            choose_signs(&mut Task { a: &[], u, s, vh }, self.extents);
        }
    }
}

/// More columns than any matrix in lanes has.
const MOST_WIDTH: usize = super::LANES_COLUMNS;

/// The square of a length that counts as 0, after scaling.
#[inline(always)]
fn smallest<T: Real>() -> T {
    T::of(if size_of::<T>() == 4 { 1e-30 } else { 1e-250 })
}

/// Reads a group: columns of the tall form one after another, scaled so that squares neither overflow nor vanish. Returns
/// what undoes the scaling.
#[inline(always)]
fn load<T: Real, const N: usize>(
    a: &[T],
    transposed: bool,
    [length, width]: [usize; 2],
    columns: &mut [Lanes<T, N>],
    out: &mut [Lanes<T, N>],
) -> Lanes<T, N> {
    // What the largest entry becomes: a power of two.
    let most =
        T::of(if size_of::<T>() == 4 { (1u64 << 30) as f64 } else { f64::from_bits((1023 + 300) << 52) });
    let values = &mut out[..length * width];
    interleaved(a, length * width, 0, values);
    let largest = values.iter().fold(Lanes::splat(T::zero()), |m, x| x.abs().if_greater(m, x.abs(), m));
    let power = largest.map(power_of_two);
    let scale = power.map(|p| most / p);
    let undo = power.map(|p| p / most);
    for c in 0..width {
        for r in 0..length {
            let from = if transposed { c * length + r } else { r * width + c };
            columns[c * length + r] = values[from] * scale;
        }
    }
    undo
}

/// Turns every pair of columns once; whether any was turned.
#[inline(always)]
fn sweep<T: Real, const N: usize>(
    columns: &mut [Lanes<T, N>],
    turns: &mut [Lanes<T, N>],
    length: usize,
    width: usize,
) -> bool {
    let tolerance = Lanes::splat(T::epsilon() * T::of((length as f64).sqrt()));
    let mut turned = false;
    for p in 0..width {
        for q in p + 1..width {
            let (x, y) = pair(columns, length, p, q);
            let products = products(x, y);
            let [xx, yy, xy] = products;
            let bound = tolerance * xx.sqrt() * yy.sqrt();
            if xy.abs().any_greater(bound) || yy.any_greater(xx) {
                turned = true;
                let turn = Turn::of(products, bound);
                turn.apply(x, y);
                if !turns.is_empty() {
                    let (x, y) = pair(turns, width, p, q);
                    turn.apply(x, y);
                }
            }
        }
    }
    turned
}

/// Columns `p` and `q > p`.
#[inline(always)]
fn pair<T>(columns: &mut [T], length: usize, p: usize, q: usize) -> (&mut [T], &mut [T]) {
    let (front, back) = columns.split_at_mut(q * length);
    (&mut front[p * length..][..length], &mut back[..length])
}

/// `x.x`, `y.y` and `x.y`.
#[inline(always)]
fn products<T: Real, const N: usize>(x: &[Lanes<T, N>], y: &[Lanes<T, N>]) -> [Lanes<T, N>; 3] {
    let mut sums = [Lanes::splat(T::zero()); 3];
    for (&x, &y) in x.iter().zip(y) {
        sums[0] = x.times_plus(x, sums[0]);
        sums[1] = y.times_plus(y, sums[1]);
        sums[2] = x.times_plus(y, sums[2]);
    }
    sums
}

/// A turn of two columns after which they are orthogonal, and the longer one is first.
struct Turn<T, const N: usize> {
    lengths: [Lanes<T, N>; 2],
    sine: Lanes<T, N>,
    /// The tangent of half the angle: with it rounding changes lengths by an ulp times the angle only, however often columns
    /// are turned.
    half: Lanes<T, N>,
}

impl<T: Real, const N: usize> Turn<T, N> {
    #[inline(always)]
    fn of([xx, yy, xy]: [Lanes<T, N>; 3], bound: Lanes<T, N>) -> Self {
        let (zero, one) = (Lanes::splat(T::zero()), Lanes::splat(T::one()));
        let cotangent = (xx - yy).abs() / (xy.abs() + xy.abs());
        // From 1e8 on (1e17 in f64), where the square may overflow, the root is the cotangent itself.
        let far = one / (cotangent + cotangent);
        let near = one / (cotangent + cotangent.times_plus(cotangent, one).sqrt());
        let tangent = cotangent.if_greater(Lanes::splat(T::one() / T::epsilon()), far, near);
        let tangent = xy.if_greater(zero, tangent, -tangent);
        let cosine = one / tangent.times_plus(tangent, one).sqrt();
        let sine = cosine * tangent;
        let [sine, half] = [sine, sine / (one + cosine)].map(|x| xy.abs().if_greater(bound, x, zero));
        Self { lengths: [xx, yy], sine, half }
    }

    #[inline(always)]
    fn apply(&self, x: &mut [Lanes<T, N>], y: &mut [Lanes<T, N>]) {
        let Self { lengths: [xx, yy], sine, half } = *self;
        for (x, y) in x.iter_mut().zip(y) {
            let (long, short) = (yy.if_greater(xx, *y, *x), yy.if_greater(xx, *x, *y));
            *x = sine.times_plus(short.minus_product(half, long), long);
            *y = short.minus_product(sine, half.times_plus(short, long));
        }
    }
}

/// -1 where the sign rule turns the vector round, else 1.
#[inline(always)]
fn sign_of<T: Real, const N: usize>(vector: &[Lanes<T, N>]) -> Lanes<T, N> {
    let (zero, one) = (Lanes::splat(T::zero()), Lanes::splat(T::one()));
    let largest = vector.iter().fold(zero, |m, x| x.abs().if_greater(m, x.abs(), m));
    let equal = largest * Lanes::splat(T::of(0.999));
    vector.iter().rev().fold(one, |sign, &x| {
        let own = zero.if_greater(x, -one, one);
        equal.if_greater(x.abs(), sign, own)
    })
}

/// Writes `count` vectors, as columns of a matrix with `places` columns (`upright`) or as rows.
#[inline(always)]
fn store<T: Real, const N: usize>(
    vectors: &[Lanes<T, N>],
    signs: &[Lanes<T, N>],
    [length, count, places]: [usize; 3],
    upright: bool,
    out: &mut [Lanes<T, N>],
    to: &mut [T],
) {
    let out = &mut out[..length * places];
    if places > count {
        out.fill(Lanes::splat(T::zero()));
    }
    for c in 0..count {
        for r in 0..length {
            out[if upright { r * places + c } else { c * length + r }] = vectors[c * length + r] * signs[c];
        }
    }
    separated(out, to);
}

/// Fills the vectors whose singular value is 0, and those beyond the singular values, so that all are orthonormal: each is
/// what is left of the axis that the others contain least of. `strides` are those of entries and of vectors.
fn complete<T: Real>(vectors: &mut [T], [length, count]: [usize; 2], strides: [usize; 2], s: &[T]) {
    let at = |r: usize, c: usize| r * strides[0] + c * strides[1];
    let first = s.iter().position(|s| s.is_zero()).unwrap_or(s.len());
    let mut contained = vec![T::zero(); length];
    for c in 0..first {
        (0..length).for_each(|r| contained[r] += vectors[at(r, c)] * vectors[at(r, c)]);
    }
    for c in first..count {
        let axis = (0..length).fold(0, |best, r| if contained[r] < contained[best] { r } else { best });
        let mut new = vec![T::zero(); length];
        new[axis] = T::one();
        // Once more, because the first time leaves rounding that is large beside a short rest.
        for _ in 0..2 {
            for other in 0..c {
                let dot: T = (0..length).map(|r| new[r] * vectors[at(r, other)]).sum();
                (0..length).for_each(|r| new[r] -= dot * vectors[at(r, other)]);
            }
        }
        let norm = num_traits::Float::sqrt(new.iter().map(|&x| x * x).sum::<T>());
        for r in 0..length {
            vectors[at(r, c)] = new[r] / norm;
            contained[r] += vectors[at(r, c)] * vectors[at(r, c)];
        }
    }
}
