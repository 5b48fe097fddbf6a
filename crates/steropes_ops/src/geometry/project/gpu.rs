//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{bind, bind_rows};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, row_slices, spread};

const THREADS: u32 = 64;

pub(super) fn project(
    gpu: &Gpu,
    points: &Tensor,
    intrinsics: &Tensor,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let kernel =
        Kernel::new("project", &Header::new().count("THREADS", THREADS), include_str!("project.wgsl"));
    let pixels = Tensor::on_gpu(gpu, OP, DType::F32, shape)?;
    let count = points.len() / 3;
    let each = count / shape[0].max(1);
    for slice in row_slices(gpu.capabilities(), count, &[12, 8]) {
        let bindings = [bind_rows(points, 3, &slice), bind(intrinsics), bind_rows(&pixels, 2, &slice)];
        // NaN comes from here, because a kernel text must not spell it.
        let params = [slice.start as u32, slice.len() as u32, each as u32, f32::NAN.to_bits()];
        gpu.launch(&kernel, &bindings, &params, spread(slice.len().div_ceil(THREADS as usize) as u64))?;
    }
    Ok(pixels)
}
