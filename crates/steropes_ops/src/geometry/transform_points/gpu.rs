//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{bind, bind_rows};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, row_slices, spread};

const THREADS: u32 = 64;

pub(super) fn transform_points(gpu: &Gpu, points: &Tensor, transforms: &Tensor) -> Result<Tensor, OpError> {
    let header = Header::new().count("THREADS", THREADS);
    let kernel = Kernel::new("transform_points", &header, include_str!("transform_points.wgsl"));
    let moved = Tensor::on_gpu(gpu, OP, DType::F32, points.shape())?;
    let count = points.len() / 3;
    let each = count / points.shape()[0].max(1);
    for slice in row_slices(gpu.capabilities(), count, &[12]) {
        let bindings = [bind_rows(points, 3, &slice), bind(transforms), bind_rows(&moved, 3, &slice)];
        let params = [slice.start as u32, slice.len() as u32, each as u32];
        gpu.launch(&kernel, &bindings, &params, spread(slice.len().div_ceil(THREADS as usize) as u64))?;
    }
    Ok(moved)
}
