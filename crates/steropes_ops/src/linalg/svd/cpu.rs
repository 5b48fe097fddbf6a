//! Several small matrices by Jacobi rotations side by side in lanes ([`jacobi`]), groups of them on all threads; others by a bidiagonal
//! reduction, each on one thread, or a few large ones one after another on all threads. The reduction of f32 works in f64 up to a size
//! where that costs twice the time: in f32 its rounding is three times that of the rotations.

mod backward;
mod jacobi;

pub(super) use backward::svd_backward;

use super::{Extents, Vectors};
use crate::cpu::lanes::Real;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, SvdParams, svd as bidiagonal, svd_scratch};
use faer::{Mat, Par};
use rayon::prelude::*;

/// The most columns of a matrix in lanes: beyond, rotations cost more than a reduction to a bidiagonal matrix.
const LANES_COLUMNS: usize = 64;

/// The most elements of a matrix in lanes, so that a group stays in a core's own cache.
const LANES_ELEMENTS: usize = 4096;

/// The fewest matrices in lanes, if they are wider than [`ALWAYS_LANES`]; fewer would leave most lanes idle.
const LANES_COUNT: usize = 4;

/// Columns up to which even a single matrix is worth a group of lanes.
const ALWAYS_LANES: usize = 16;

/// The longest side of an f32 matrix whose reduction works in f64.
const WIDE_LENGTH: usize = 256;

/// The fewest matrices that are worth a thread each; fewer large ones get all threads, one after another.
const WHOLE_THREADS: usize = 4;

/// Elements from which a single matrix is worth more than one thread.
const LARGE: usize = 1 << 14;

/// How far the work on a single matrix is split: not by the number of threads, so that this does not decide how results are
/// rounded.
const SPLIT: usize = 8;

/// A matrix that has no decomposition.
pub(super) struct Failure {
    /// Its number.
    pub(super) matrix: usize,
    /// Why.
    pub(super) why: &'static str,
}

/// One matrix and its results.
struct Task<'a, T> {
    a: &'a [T],
    u: &'a mut [T],
    s: &'a mut [T],
    vh: &'a mut [T],
}

pub(super) fn svd<T: Real>(a: &[T], count: usize, extents: Extents) -> Result<[Vec<T>; 3], Failure> {
    let size = extents.rows * extents.columns;
    if let Some(matrix) = first_not_finite(a, size) {
        return Err(Failure { matrix, why: "holds NaN or an infinity" });
    }
    let mut results = extents.sizes().map(|size| vec![T::zero(); size * count]);
    let width = extents.values();
    let several = count >= LANES_COUNT || width <= ALWAYS_LANES;
    if width <= LANES_COLUMNS && size <= LANES_ELEMENTS && several {
        jacobi::svd(a, extents, &mut results);
        return Ok(results);
    }
    let solve: fn(&mut Task<'_, T>, Extents, Par, usize) -> Result<(), Failure> =
        if extents.length() <= WIDE_LENGTH { solve::<T, f64> } else { solve::<T, T> };
    let mut tasks = tasks(a, extents, &mut results, 1);
    if size < LARGE || count >= WHOLE_THREADS {
        let solved = tasks.par_iter_mut().enumerate().map(|(i, task)| solve(task, extents, Par::Seq, i));
        solved.collect::<Result<(), _>>()?;
    } else {
        for (i, task) in tasks.iter_mut().enumerate() {
            solve(task, extents, Par::rayon(SPLIT), i)?;
        }
    }
    Ok(results)
}

/// The number of the first matrix of `size` elements with NaN or an infinity.
fn first_not_finite<T: Real>(a: &[T], size: usize) -> Option<usize> {
    /// Elements in a task.
    const TASK: usize = 1 << 16;
    // 0 times a finite number is 0, times any other NaN: a sum is faster than a test of each.
    let bad = |part: &[T]| !part.iter().map(|&x| x * T::zero()).sum::<T>().is_zero();
    let part = a.par_chunks(TASK).position_first(bad)?;
    let element = a[part * TASK..].iter().position(|x| !num_traits::Float::is_finite(*x))?;
    Some((part * TASK + element) / size)
}

/// Tasks of `each` matrices.
fn tasks<'a, T: Real>(
    a: &'a [T],
    extents: Extents,
    [u, s, vh]: &'a mut [Vec<T>; 3],
    each: usize,
) -> Vec<Task<'a, T>> {
    let [us, ss, vhs] = extents.sizes().map(|size| (size * each).max(1));
    let (mut us, mut ss, mut vhs) = (u.chunks_mut(us), s.chunks_mut(ss), vh.chunks_mut(vhs));
    let task = |a| Task {
        a,
        u: us.next().unwrap_or_default(),
        s: ss.next().unwrap_or_default(),
        vh: vhs.next().unwrap_or_default(),
    };
    a.chunks(extents.rows * extents.columns * each).map(task).collect()
}

/// One matrix by a bidiagonal reduction in `W`.
fn solve<T: Real, W: Real>(
    task: &mut Task<'_, T>,
    extents: Extents,
    par: Par,
    matrix: usize,
) -> Result<(), Failure> {
    let Extents { rows, columns, vectors } = extents;
    let largest = task.a.iter().fold(T::zero(), |m, &x| num_traits::Float::max(m, num_traits::Float::abs(x)));
    let scale = power_of_two(largest);
    let wide = |x: T| x.to_f64().map_or(W::nan(), W::of);
    let narrow = |x: W| x.to_f64().map_or(T::nan(), T::of);
    let a = Mat::from_fn(rows, columns, |r, c| wide(task.a[r * columns + c] / scale));
    let wanted = match vectors {
        Vectors::None => ComputeSvdVectors::No,
        Vectors::Thin => ComputeSvdVectors::Thin,
        Vectors::Full => ComputeSvdVectors::Full,
    };
    let params = faer::Spec::<SvdParams, W>::default();
    let mut memory = MemBuffer::new(svd_scratch::<W>(rows, columns, wanted, wanted, par, params));
    let mut u = Mat::<W>::zeros(rows, extents.left());
    let mut v = Mat::<W>::zeros(columns, extents.right());
    let mut s = faer::diag::Diag::<W>::zeros(extents.values());
    let bases = (vectors != Vectors::None).then_some(()).map(|()| (u.as_mut(), v.as_mut())).unzip();
    bidiagonal(a.as_ref(), s.as_mut(), bases.0, bases.1, par, MemStack::new(&mut memory), params)
        .map_err(|_| Failure { matrix, why: "did not converge" })?;
    for (to, from) in task.s.iter_mut().zip(s.column_vector().iter()) {
        *to = narrow(*from) * scale;
    }
    for (r, row) in task.u.chunks_exact_mut(extents.left().max(1)).enumerate() {
        row.iter_mut().enumerate().for_each(|(c, x)| *x = narrow(u[(r, c)]));
    }
    for (r, row) in task.vh.chunks_exact_mut(columns).enumerate() {
        row.iter_mut().enumerate().for_each(|(c, x)| *x = narrow(v[(c, r)]));
    }
    choose_signs(task, extents);
    Ok(())
}

/// The power of two below `largest`, far enough from the ends of the range that its inverse is a normal number.
#[inline(always)]
fn power_of_two<T: Real>(largest: T) -> T {
    let exponent_only = f64::from_bits(largest.to_f64().unwrap_or(1.0).to_bits() & (0x7ff << 52));
    let end = if size_of::<T>() == 4 { f64::from_bits((1023 - 96) << 52) } else { f64::from_bits(400 << 52) };
    T::of(exponent_only.max(end))
}

/// Whether the sign rule turns a vector round.
fn is_negative<T: Real>(vector: impl Iterator<Item = T> + Clone) -> bool {
    let magnitude = |x: T| num_traits::Float::abs(x);
    let largest = vector.clone().fold(T::zero(), |m, x| num_traits::Float::max(m, magnitude(x)));
    let equal = largest * T::of(0.999);
    vector.into_iter().find(|&x| magnitude(x) >= equal).is_some_and(|x| x < T::zero())
}

/// Applies the sign rule to all vectors of a matrix.
fn choose_signs<T: Real>(task: &mut Task<'_, T>, extents: Extents) {
    let (left, columns) = (extents.left(), extents.columns);
    let turn = |x: &mut T| *x = -*x;
    for i in 0..left {
        if is_negative(task.u[i..].iter().step_by(left).copied()) {
            task.u[i..].iter_mut().step_by(left).for_each(turn);
            if i < extents.values() {
                task.vh[i * columns..][..columns].iter_mut().for_each(turn);
            }
        }
    }
    for row in task.vh.chunks_exact_mut(columns).skip(extents.values()) {
        if is_negative(row.iter().copied()) {
            row.iter_mut().for_each(turn);
        }
    }
}
