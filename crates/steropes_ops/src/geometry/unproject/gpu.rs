//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{rows_of_entries, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;

pub(super) fn unproject(gpu: &Gpu, depth: &Tensor, intrinsics: &Tensor) -> Result<Tensor, OpError> {
    let kernel =
        Kernel::new("unproject", &Header::new().count("THREADS", THREADS), include_str!("unproject.wgsl"));
    let shape = depth.shape();
    let points = Tensor::on_gpu(gpu, OP, DType::F32, &[shape[0], shape[1], shape[2], 3])?;
    let each = shape[1] * shape[2];
    for part in rows_of_entries(OP, gpu, (depth.len(), &[4, 12]), each, (intrinsics, 16))? {
        let (from, to) = (window(depth, 4, &part.rows), window(&points, 12, &part.rows));
        let counts = [part.first, part.rows.len(), shape[2], shape[1]].map(|n| n as u32);
        let params = [counts.as_slice(), &[from.shift(4), part.table.shift(16), to.shift(4)]].concat();
        let groups = spread(part.rows.len().div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[from.binding, part.table.binding, to.binding], &params, groups)?;
    }
    Ok(points)
}
