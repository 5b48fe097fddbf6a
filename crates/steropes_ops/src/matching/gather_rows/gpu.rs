//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::bind_rows;
use steropes_tensor::{Gpu, Header, Kernel, Tensor, row_slices, spread};

const THREADS: u32 = 128;

pub(super) fn gather_rows(gpu: &Gpu, rows: &Tensor, indices: &Tensor) -> Result<Tensor, OpError> {
    let &[count, width] = rows.shape() else { unreachable!("the shape was checked") };
    let caps = gpu.capabilities();
    let gathered = Tensor::on_gpu(gpu, OP, rows.dtype(), &[indices.len(), width])?;
    let row_bytes = width * rows.dtype().size_bytes();
    let header = Header::new().element(rows.dtype()).count("THREADS", THREADS);
    let kernel = Kernel::new("gather_rows", &header, include_str!("gather_rows.wgsl"));
    for to in row_slices(caps, indices.len(), &[row_bytes, size_of::<u32>()]) {
        let groups = spread((to.len() * width).div_ceil(THREADS as usize) as u64);
        for from in row_slices(caps, count, &[row_bytes]) {
            let bindings =
                [bind_rows(rows, width, &from), bind_rows(indices, 1, &to), bind_rows(&gathered, width, &to)];
            let params = [to.len(), width, from.start, from.len(), count].map(|p| p as u32);
            gpu.launch(&kernel, &bindings, &params, groups)?;
        }
    }
    Ok(gathered)
}
