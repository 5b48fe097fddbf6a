//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// Side of a tile.
const TILE: usize = 32;

pub(super) fn transpose(
    gpu: &Gpu,
    x: &Tensor,
    [rows, columns]: [usize; 2],
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), shape)?;
    if y.is_empty() {
        return Ok(y);
    }
    let size = x.dtype().size_bytes();
    let bytes = rows * columns * size;
    let header = Header::new().element(x.dtype()).count("TILE", TILE as u32);
    let kernel = Kernel::new("transpose", &header, include_str!("transpose.wgsl"));
    let tiles = rows.div_ceil(TILE) * columns.div_ceil(TILE);
    for range in row_ranges(OP, gpu, x.len() / (rows * columns), &[bytes])? {
        let [from, to] = [x, &y].map(|tensor| window(tensor, bytes, &range));
        let params = [range.len() as u32, rows as u32, columns as u32, from.shift(size), to.shift(size)];
        let groups = spread((range.len() * tiles) as u64);
        gpu.launch(&kernel, &[from.binding, to.binding], &params, groups)?;
    }
    Ok(y)
}
