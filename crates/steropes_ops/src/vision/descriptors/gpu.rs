//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup, and its pixels.
const THREADS: usize = 128;

/// Bytes of an f32.
const F32: usize = 4;

pub(super) fn descriptors(
    gpu: &Gpu,
    raw: &Tensor,
    shapes: [[usize; 4]; 2],
) -> Result<(Tensor, Tensor), OpError> {
    let unit = Tensor::on_gpu(gpu, OP, DType::F32, &shapes[0])?;
    let rest = Tensor::on_gpu(gpu, OP, DType::F32, &shapes[1])?;
    let [dim, others] = shapes.map(|shape| shape[3]);
    let kernel = kernel(raw.dtype(), dim, others);
    let row_bytes = [(dim + others) * raw.dtype().size_bytes(), dim * F32, others * F32];
    for pixels in row_ranges(OP, gpu, unit.len() / dim, &row_bytes)? {
        let windows = [
            window(raw, row_bytes[0], &pixels),
            window(&unit, row_bytes[1], &pixels),
            window(&rest, row_bytes[2], &pixels),
        ];
        let params = [
            pixels.len() as u32,
            windows[0].shift(raw.dtype().size_bytes()),
            windows[1].shift(F32),
            windows[2].shift(F32),
        ];
        let groups = spread(pixels.len().div_ceil(THREADS) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, groups)?;
    }
    Ok((unit, rest))
}

fn kernel(dtype: DType, dim: usize, rest: usize) -> Kernel {
    let header = Header::new()
        .element(dtype)
        .count("THREADS", THREADS as u32)
        .count("DIM", dim as u32)
        .count("REST", rest as u32);
    Kernel::new("descriptors", &header, include_str!("descriptors.wgsl"))
}
