//! Launches.

use super::OP;
use crate::error::OpError;
use crate::geometry::check_binding;
use crate::gpu::bind;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;

pub(super) fn weighted_average(
    gpu: &Gpu,
    x: &Tensor,
    weights: &Tensor,
    fill: f32,
) -> Result<(Tensor, Tensor), OpError> {
    check_binding(OP, gpu, "x", x)?;
    let header = Header::new().count("THREADS", THREADS);
    let kernel = Kernel::new("weighted_average", &header, include_str!("weighted_average.wgsl"));
    let (views, shape) = (x.shape()[0], &x.shape()[1..]);
    let (count, channels) = (shape.iter().product::<usize>(), shape[shape.len() - 1]);
    let mean = Tensor::on_gpu(gpu, OP, DType::F32, shape)?;
    let sum = Tensor::on_gpu(gpu, OP, DType::F32, &shape[..shape.len() - 1])?;
    let params = [count as u32, channels as u32, views as u32, fill.to_bits()];
    let groups = spread(count.div_ceil(THREADS as usize) as u64);
    gpu.launch(&kernel, &[bind(x), bind(weights), bind(&mean), bind(&sum)], &params, groups)?;
    Ok((mean, sum))
}
