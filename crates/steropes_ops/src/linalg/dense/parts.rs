//! Blocks of matrices, matrices side by side, and stacks that are repeated.

use super::gpu::{F32, check_lengths, groups_of, over_elements};
use crate::cpu::lanes::Real;
use crate::error::{Holds, OpError, Place, common_place, on_cpu, values};
use crate::gpu::bind;
use crate::linalg::matmul::{Transposed, matmul};
use crate::linalg::stack::Stack;
use std::ops::Range;
use steropes_tensor::{DType, Device, Gpu, Header, Tensor};

/// Where a block lies in matrices of a stack.
struct Block {
    /// Its first row and column.
    at: [usize; 2],
    /// Extents of the matrices.
    of: [usize; 2],
}

impl Block {
    fn index(&self, matrix: usize, row: usize) -> usize {
        (matrix * self.of[0] + self.at[0] + row) * self.of[1] + self.at[1]
    }

    /// Place of the first element, from a row to the next, from a matrix to the next.
    fn words(&self) -> [usize; 3] {
        [self.index(0, 0), self.of[1], self.of[0] * self.of[1]]
    }
}

fn copy_on_cpu<T: Real>(
    count: usize,
    [rows, columns]: [usize; 2],
    (x, from): (&[T], Block),
    (y, to): (&mut [T], Block),
) {
    for matrix in 0..count {
        for row in 0..rows {
            y[to.index(matrix, row)..][..columns].copy_from_slice(&x[from.index(matrix, row)..][..columns]);
        }
    }
}

fn copy_on_gpu(
    gpu: &Gpu,
    count: usize,
    [rows, columns]: [usize; 2],
    (x, from): (&Tensor, Block),
    (y, to): (&Tensor, Block),
) -> Result<(), OpError> {
    let elements = count * rows * columns;
    if elements == 0 {
        return Ok(());
    }
    let kernel = over_elements("matrices_part", Header::new(), include_str!("part.wgsl"));
    let params = [&[elements, rows, columns][..], &from.words(), &to.words()].concat();
    let params: Vec<u32> = params.into_iter().map(|word| word as u32).collect();
    Ok(gpu.launch(&kernel, &[bind(x), bind(y)], &params, groups_of(elements))?)
}

/// A block of every matrix.
pub(crate) fn block(
    op: &'static str,
    a: &Tensor,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Result<Tensor, OpError> {
    let stack = Stack::of(op, "a", a)?;
    if rows == (0..stack.rows) && columns == (0..stack.columns) {
        return Ok(a.clone());
    }
    let extents = [rows.len(), columns.len()];
    let (shape, count) = (stack.with(&extents), stack.count());
    let from = Block { at: [rows.start, columns.start], of: [stack.rows, stack.columns] };
    let to = Block { at: [0, 0], of: extents };
    match common_place(op, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => Ok(on_cpu(&shape, block_on_cpu::<f64>(a, count, from, to))),
        Place::Cpu => Ok(on_cpu(&shape, block_on_cpu::<f32>(a, count, from, to))),
        Place::Gpu(gpu) => {
            check_lengths(op, &gpu, &[a.len()])?;
            let y = Tensor::on_gpu(&gpu, op, F32, &shape)?;
            copy_on_gpu(&gpu, count, extents, (a, from), (&y, to))?;
            Ok(y)
        }
    }
}

fn block_on_cpu<T: Real>(a: &Tensor, count: usize, from: Block, to: Block) -> Vec<T> {
    let mut y = vec![T::zero(); count * to.of[0] * to.of[1]];
    copy_on_cpu(count, to.of, (values(a), from), (&mut y, to));
    y
}

/// Two stacks of the same batch as one: the second beside the first, or below it.
pub(crate) fn joined(op: &'static str, a: &Tensor, b: &Tensor, below: bool) -> Result<Tensor, OpError> {
    let (of_a, of_b) = (Stack::of(op, "a", a)?, Stack::of(op, "b", b)?);
    let (first, second, count) = ([of_a.rows, of_a.columns], [of_b.rows, of_b.columns], of_a.count());
    let of = if below { [first[0] + second[0], first[1]] } else { [first[0], first[1] + second[1]] };
    let at = if below { [first[0], 0] } else { [0, first[1]] };
    let shape = of_a.with(&of);
    let whole = |extents| Block { at: [0, 0], of: extents };
    let parts = || [(a, first, Block { at: [0, 0], of }), (b, second, Block { at, of })];
    match common_place(op, &[("a", a, Holds::Real), ("b", b, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            let mut y = vec![0.0f64; shape.iter().product()];
            parts().into_iter().for_each(|(x, extents, to)| {
                copy_on_cpu(count, extents, (values(x), whole(extents)), (&mut y, to))
            });
            Ok(on_cpu(&shape, y))
        }
        Place::Cpu => {
            let mut y = vec![0.0f32; shape.iter().product()];
            parts().into_iter().for_each(|(x, extents, to)| {
                copy_on_cpu(count, extents, (values(x), whole(extents)), (&mut y, to))
            });
            Ok(on_cpu(&shape, y))
        }
        Place::Gpu(gpu) => {
            check_lengths(op, &gpu, &[shape.iter().product()])?;
            let y = Tensor::on_gpu(&gpu, op, F32, &shape)?;
            for (x, extents, to) in parts() {
                copy_on_gpu(&gpu, count, extents, (x, whole(extents)), (&y, to))?;
            }
            Ok(y)
        }
    }
}

/// A value in every place, in the dtype and on the device of `like`.
pub(crate) fn filled(like: &Tensor, shape: &[usize], value: f64) -> Tensor {
    let len = shape.iter().product();
    match like.dtype() {
        DType::F64 => Tensor::new(&Device::Cpu, shape, vec![value; len]),
        _ => Tensor::new(&like.device(), shape, vec![value as f32; len]),
    }
    .expect("a value for each place")
}

/// The matrices of `a` repeated to the batch `batch`, which goes with theirs.
pub(crate) fn repeated(op: &'static str, a: &Tensor, batch: &[usize]) -> Result<Tensor, OpError> {
    let stack = Stack::of(op, "a", a)?;
    if stack.batch == batch {
        return Ok(a.clone());
    }
    let matrix = [stack.rows, stack.columns];
    let row = a.clone().reshape(&stack.with(&[1, matrix[0] * matrix[1]])).expect("as many elements");
    let all = matmul(&filled(a, &[batch, &[1, 1]].concat(), 1.0), &row, Transposed::NONE)
        .map_err(|error| error.of(op))?;
    Ok(all.reshape(&[batch, &matrix].concat()).expect("as many elements"))
}
