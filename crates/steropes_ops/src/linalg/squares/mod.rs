//! Products of stacks of square matrices, for ops that are made of them.

use crate::cpu::lanes::Real;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// `to = left right` for row-major matrices of one extent, on this thread.
pub(super) fn product<T: Real>(left: &[T], right: &[T], n: usize, to: &mut [T]) {
    let [left, right] = [left, right].map(|matrix| MatRef::from_row_major_slice(matrix, n, n));
    matmul(MatMut::from_row_major_slice_mut(to, n, n), Accum::Replace, left, right, T::one(), Par::Seq);
}

/// The products of the matrices of two stacks `[.., n, n]` on a GPU; `transposed` says which of them are taken transposed.
pub(super) fn product_on_gpu(
    gpu: &Gpu,
    op: &'static str,
    factors: [&Tensor; 2],
    transposed: [bool; 2],
) -> Result<Tensor, OpError> {
    let to = Tensor::on_gpu(gpu, op, DType::F32, factors[0].shape())?;
    product_into(gpu, op, factors, transposed, &to, None)?;
    Ok(to)
}

/// [`product_on_gpu`] to memory that is there. With `wanted`, `[count]` of u32 and a number, only for matrices that want more
/// than the number.
pub(super) fn product_into(
    gpu: &Gpu,
    op: &'static str,
    [left, right]: [&Tensor; 2],
    transposed: [bool; 2],
    to: &Tensor,
    wanted: Option<(&Tensor, u32)>,
) -> Result<(), OpError> {
    let n = left.shape()[left.shape().len() - 1];
    let tiles = n.div_ceil(16);
    let header = Header::new()
        .count("N", n as u32)
        .count("TILES", tiles as u32)
        .flag("LEFT_TRANSPOSED", transposed[0])
        .flag("RIGHT_TRANSPOSED", transposed[1])
        .text(match wanted {
            None => "fn is_wanted(matrix: u32) -> bool { return true; }\n",
            Some(_) => {
                "@group(0) @binding(3) var<storage, read> wanted: array<u32>;\n\
                 fn is_wanted(matrix: u32) -> bool {\n    \
                 return wanted[params.wanted_shift + matrix] > params.number;\n}\n"
            }
        });
    let kernel = Kernel::new("squares", &header, include_str!("squares.wgsl"));
    let bytes = 4 * n * n;
    for range in row_ranges(op, gpu, left.len() / (n * n), &[bytes])? {
        let mut windows = Vec::from([left, right, to].map(|tensor| window(tensor, bytes, &range)));
        windows.extend(wanted.map(|(wanted, _)| window(wanted, 4, &range)));
        let mut params = vec![range.len() as u32];
        params.extend(windows.iter().map(|window| window.shift(4)));
        params.resize(5, 0);
        params.push(wanted.map_or(0, |(_, number)| number));
        let bindings: Vec<_> = windows.into_iter().map(|window| window.binding).collect();
        gpu.launch(&kernel, &bindings, &params, spread((range.len() * tiles * tiles) as u64))?;
    }
    Ok(())
}
