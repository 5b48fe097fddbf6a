//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{bind, bind_rows};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, row_slices, spread};

const THREADS: u32 = 64;

pub(super) fn unproject(gpu: &Gpu, depth: &Tensor, intrinsics: &Tensor) -> Result<Tensor, OpError> {
    let kernel =
        Kernel::new("unproject", &Header::new().count("THREADS", THREADS), include_str!("unproject.wgsl"));
    let shape = depth.shape();
    let points = Tensor::on_gpu(gpu, OP, DType::F32, &[shape[0], shape[1], shape[2], 3])?;
    for slice in row_slices(gpu.capabilities(), depth.len(), &[4, 12]) {
        let bindings = [bind_rows(depth, 1, &slice), bind(intrinsics), bind_rows(&points, 3, &slice)];
        let params = [slice.start as u32, slice.len() as u32, shape[2] as u32, shape[1] as u32];
        gpu.launch(&kernel, &bindings, &params, spread(slice.len().div_ceil(THREADS as usize) as u64))?;
    }
    Ok(points)
}
