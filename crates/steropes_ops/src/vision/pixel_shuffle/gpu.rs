//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

pub(super) fn pixel_shuffle(
    gpu: &Gpu,
    x: &Tensor,
    patch: usize,
    shape: [usize; 4],
) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), &shape)?;
    if y.is_empty() {
        return Ok(y);
    }
    let [batch, height, width, channels] = shape;
    let kernel = kernel(x.dtype(), patch, channels);
    // A row of tokens becomes `patch` rows of pixels, which lie where the row of tokens lay.
    let row_len = patch * width * channels;
    let size = x.dtype().size_bytes();
    for rows in row_ranges(OP, gpu, batch * height / patch, &[row_len * size])? {
        let windows = [window(x, row_len * size, &rows), window(&y, row_len * size, &rows)];
        let count = rows.len() * row_len;
        let params = [count as u32, width as u32, windows[0].shift(size)];
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, groups)?;
    }
    Ok(y)
}

fn kernel(dtype: DType, patch: usize, channels: usize) -> Kernel {
    let header = Header::new()
        .element(dtype)
        .count("THREADS", THREADS)
        .count("PATCH", patch as u32)
        .count("CHANNELS", channels as u32);
    Kernel::new("pixel_shuffle", &header, include_str!("pixel_shuffle.wgsl"))
}
