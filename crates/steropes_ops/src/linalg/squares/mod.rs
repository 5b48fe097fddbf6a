//! Products of stacks of square matrices, for ops that are made of them.

use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

use crate::cpu::lanes::Real;

/// `to = left right` for row-major matrices of one extent, on this thread.
pub(super) fn product<T: Real>(left: &[T], right: &[T], n: usize, to: &mut [T]) {
    let [left, right] = [left, right].map(|matrix| MatRef::from_row_major_slice(matrix, n, n));
    matmul(MatMut::from_row_major_slice_mut(to, n, n), Accum::Replace, left, right, T::one(), Par::Seq);
}

/// The products of the matrices of two stacks `[.., n, n]` on a GPU; `transposed` says which of them are taken transposed.
pub(super) fn product_on_gpu(
    gpu: &Gpu,
    op: &'static str,
    [left, right]: [&Tensor; 2],
    transposed: [bool; 2],
) -> Result<Tensor, OpError> {
    let n = left.shape()[left.shape().len() - 1];
    let tiles = n.div_ceil(16);
    let header = Header::new()
        .count("N", n as u32)
        .count("TILES", tiles as u32)
        .flag("LEFT_TRANSPOSED", transposed[0])
        .flag("RIGHT_TRANSPOSED", transposed[1]);
    let kernel = Kernel::new("squares", &header, include_str!("squares.wgsl"));
    let to = Tensor::on_gpu(gpu, op, DType::F32, left.shape())?;
    let bytes = 4 * n * n;
    for range in row_ranges(op, gpu, left.len() / (n * n), &[bytes])? {
        let windows = [left, right, &to].map(|tensor| window(tensor, bytes, &range));
        let shifts = windows.each_ref().map(|window| window.shift(4));
        let params = [&[range.len() as u32], &shifts[..]].concat();
        let groups = spread((range.len() * tiles * tiles) as u64);
        gpu.launch(&kernel, &windows.map(|window| window.binding), &params, groups)?;
    }
    Ok(to)
}
