//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::bind_rows;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, row_slices, spread};

const THREADS: u32 = 64;

pub(super) fn pixel_grid(
    gpu: &Gpu,
    width: usize,
    height: usize,
    origin: [i32; 2],
) -> Result<Tensor, OpError> {
    let kernel =
        Kernel::new("pixel_grid", &Header::new().count("THREADS", THREADS), include_str!("pixel_grid.wgsl"));
    let grid = Tensor::on_gpu(gpu, OP, DType::F32, &[height, width, 2])?;
    for slice in row_slices(gpu.capabilities(), width * height, &[8]) {
        let [x, y] = origin.map(|o| o as u32);
        let params = [slice.start as u32, slice.len() as u32, width as u32, x, y];
        let groups = spread(slice.len().div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[bind_rows(&grid, 2, &slice)], &params, groups)?;
    }
    Ok(grid)
}
