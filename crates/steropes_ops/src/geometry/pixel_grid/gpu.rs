//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

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
    for pixels in row_ranges(OP, gpu, width * height, &[8])? {
        let [x, y] = origin.map(|o| o as u32);
        let to = window(&grid, 8, &pixels);
        let params = [pixels.start as u32, pixels.len() as u32, width as u32, x, y, to.shift(8)];
        let groups = spread(pixels.len().div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[to.binding], &params, groups)?;
    }
    Ok(grid)
}
