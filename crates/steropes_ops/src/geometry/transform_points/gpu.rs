//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{rows_of_entries, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;

pub(super) fn transform_points(gpu: &Gpu, points: &Tensor, transforms: &Tensor) -> Result<Tensor, OpError> {
    let header = Header::new().count("THREADS", THREADS);
    let kernel = Kernel::new("transform_points", &header, include_str!("transform_points.wgsl"));
    let moved = Tensor::on_gpu(gpu, OP, DType::F32, points.shape())?;
    let count = points.len() / 3;
    let each = count / points.shape()[0].max(1);
    for part in rows_of_entries(OP, gpu, (count, &[12]), each, (transforms, 48))? {
        let [from, to] = [points, &moved].map(|tensor| window(tensor, 12, &part.rows));
        let counts = [part.first, part.rows.len(), each].map(|n| n as u32);
        let params = [counts.as_slice(), &[from.shift(4), part.table.shift(16)]].concat();
        let groups = spread(part.rows.len().div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[from.binding, part.table.binding, to.binding], &params, groups)?;
    }
    Ok(moved)
}
