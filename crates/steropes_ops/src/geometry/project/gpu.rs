//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{rows_of_entries, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

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
    for part in rows_of_entries(OP, gpu, (count, &[12, 8]), each, (intrinsics, 16))? {
        let (from, to) = (window(points, 12, &part.rows), window(&pixels, 8, &part.rows));
        let counts = [part.first, part.rows.len(), each].map(|n| n as u32);
        // NaN comes from here, because a kernel text must not spell it.
        let nan = f32::NAN.to_bits();
        let params = [counts.as_slice(), &[nan, from.shift(4), part.table.shift(16), to.shift(8)]].concat();
        let groups = spread(part.rows.len().div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[from.binding, part.table.binding, to.binding], &params, groups)?;
    }
    Ok(pixels)
}
