//! Small matrices side by side in the lanes of vectors, groups of them shared among threads. Larger ones in blocks of the
//! result, each a product of the library faer on one thread; blocks depend on the extents alone, so results do not depend on the
//! number of threads.

use super::Product;
use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real};
use crate::cpu::simd::{Kernel, Simd};
use faer::linalg::matmul::matmul_with_conj;
use faer::{Accum, Conj, MatMut, MatRef, Par};
use rayon::prelude::*;

/// The largest side of matrices that go into lanes.
const SMALL: usize = 16;
/// Rows and columns of a block of the result: large enough that packing its operands costs little beside it.
const BLOCK: [usize; 2] = [256, 512];
/// Multiply-adds of a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 18;

/// `N` is the number of lanes of the widest vector.
pub(super) fn matmul<T: Real, const N: usize>(a: &[T], b: &[T], product: &Product) -> Vec<T> {
    let Product { rows, columns, depth, .. } = *product;
    let count = product.batch.count();
    let mut out = vec![T::default(); count * rows * columns];
    if out.is_empty() || depth == 0 {
        return out;
    }
    if rows.max(columns).max(depth) <= SMALL && count > 1 {
        let isa = Isa::current();
        let group = |(group, out): (usize, &mut [T])| {
            isa.run(Group::<T, N> { a, b, product, first: group * N, out });
        };
        let least = (TASK / (rows * columns * depth * N)).max(1);
        let groups = out.par_chunks_mut(N * rows * columns).enumerate();
        groups.with_min_len(least).for_each(group);
    } else {
        blocks(a, b, product, &mut out);
    }
    out
}

/// A group of products in lanes.
struct Group<'a, T, const N: usize> {
    a: &'a [T],
    b: &'a [T],
    product: &'a Product,
    /// The first of them in the batch.
    first: usize,
    out: &'a mut [T],
}

impl<T: Real, const N: usize> Kernel for Group<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Product { rows, columns, depth, transposed, .. } = *self.product;
        let products = self.out.len() / (rows * columns);
        // Lanes behind the last product repeat it.
        let sources: [[usize; 2]; N] =
            std::array::from_fn(|lane| self.product.batch.sources(self.first + lane.min(products - 1)));
        let gather = |stack: &[T], side: usize, len: usize, to: &mut [Lanes<T, N>]| {
            for (i, lanes) in to[..len].iter_mut().enumerate() {
                *lanes = Lanes(std::array::from_fn(|lane| stack[sources[lane][side] * len + i]));
            }
        };
        let mut left = [Lanes::splat(T::default()); SMALL * SMALL];
        let mut right = [Lanes::splat(T::default()); SMALL * SMALL];
        gather(self.a, 0, rows * depth, &mut left);
        gather(self.b, 1, depth * columns, &mut right);
        let [row_step, left_step] = if transposed.a { [1, rows] } else { [depth, 1] };
        let [right_step, column_step] = if transposed.b { [1, depth] } else { [columns, 1] };
        for i in 0..rows {
            for j in 0..columns {
                let mut sum = Lanes::<T, N>::splat(T::default());
                for k in 0..depth {
                    let (x, y) =
                        (left[i * row_step + k * left_step], right[k * right_step + j * column_step]);
                    sum = x.times_plus(y, sum);
                }
                for (lane, out) in self.out.chunks_exact_mut(rows * columns).enumerate() {
                    out[i * columns + j] = sum.0[lane];
                }
            }
        }
    }
}

/// The first value of an output that tasks share, each writing its own block.
#[derive(Clone, Copy)]
struct Output<T>(*mut T);

// SAFETY: tasks write disjoint blocks and read none.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T: Real> Output<T> {
    /// The block of `rows` and `columns` from value `at` on, whose rows are `stride` apart.
    ///
    /// # Safety
    /// It lies in the output, and no other task has a part of it.
    unsafe fn block<'a>(self, at: usize, [rows, columns]: [usize; 2], stride: usize) -> MatMut<'a, T> {
        // SAFETY: the caller's promise.
        unsafe { MatMut::from_raw_parts_mut(self.0.add(at), rows, columns, stride as isize, 1) }
    }
}

fn blocks<T: Real>(a: &[T], b: &[T], product: &Product, out: &mut [T]) {
    let Product { rows, columns, depth, transposed, .. } = *product;
    let [down, across] = [rows.div_ceil(BLOCK[0]), columns.div_ceil(BLOCK[1])];
    let output = Output(out.as_mut_ptr());
    let block = |index: usize| {
        let (matrix, place) = (index / (down * across), index % (down * across));
        let [left, right] = product.batch.sources(matrix);
        let left = matrix_of(a, left, [rows, depth], transposed.a);
        let right = matrix_of(b, right, [depth, columns], transposed.b);
        let [row, column] = [place / across * BLOCK[0], place % across * BLOCK[1]];
        let [height, width] = [BLOCK[0].min(rows - row), BLOCK[1].min(columns - column)];
        // SAFETY: blocks of different numbers do not overlap and end with the matrix.
        let to = unsafe { output.block((matrix * rows + row) * columns + column, [height, width], columns) };
        let (left, right) = (left.subrows(row, height), right.subcols(column, width));
        matmul_with_conj(to, Accum::Replace, left, Conj::No, right, Conj::No, T::of(1.0), Par::Seq);
    };
    let tasks = product.batch.count() * down * across;
    let work = rows.min(BLOCK[0]) * columns.min(BLOCK[1]) * depth;
    let each = (TASK / work).max(1);
    if tasks <= each {
        (0..tasks).for_each(block);
    } else {
        (0..tasks).into_par_iter().with_min_len(each).for_each(block);
    }
}

/// Matrix `index` of a stack, `[rows, columns]` as the product sees it.
fn matrix_of<T: Real>(
    stack: &[T],
    index: usize,
    [rows, columns]: [usize; 2],
    transposed: bool,
) -> MatRef<'_, T> {
    let values = &stack[index * rows * columns..][..rows * columns];
    if transposed {
        MatRef::from_column_major_slice(values, rows, columns)
    } else {
        MatRef::from_row_major_slice(values, rows, columns)
    }
}
