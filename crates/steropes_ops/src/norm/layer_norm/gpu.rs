//! Pipeline choice and launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Packs, Rows, bind, row_ranges, window};
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, Tensor, spread};

/// Packs that an invocation keeps in registers.
const MOST_PACKS: usize = 16;

pub(super) fn layer_norm(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<Tensor, OpError> {
    let width = weight.len();
    let packs = Packs::of_rows(x.dtype(), width);
    let rows = Rows::choose(gpu.capabilities(), width / packs.lanes);
    let kernel = kernel(gpu.capabilities(), x.dtype(), width)?;
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), x.shape())?;
    let row_bytes = width * x.dtype().size_bytes();
    for range in row_ranges(OP, gpu, x.len() / width, &[row_bytes])? {
        let [from, to] = [x, &y].map(|tensor| window(tensor, row_bytes, &range));
        let bindings = [from.binding, bind(weight), bind(bias), to.binding];
        let params = [range.len() as u32, from.shift(packs.bytes()), eps.to_bits()];
        gpu.launch(&kernel, &bindings, &params, spread(range.len().div_ceil(rows.rows as usize) as u64))?;
    }
    Ok(y)
}

fn kernel(gpu: &Capabilities, dtype: DType, width: usize) -> Result<Kernel, OpError> {
    let packs = Packs::of_rows(dtype, width);
    let per_row = width / packs.lanes;
    let rows = Rows::choose(gpu, per_row);
    let per_thread = per_row.div_ceil(rows.threads as usize);
    if per_thread > MOST_PACKS {
        let why = format!("rows of {width} elements do not fit its registers");
        return Err(OpError::Unsupported { op: OP, device: gpu.name.clone(), why });
    }
    let header = packs
        .header(Header::new())
        .count("WIDTH", per_row as u32)
        .count("COUNT", width as u32)
        .count("PER_THREAD", per_thread as u32)
        .flag("FULL", per_row == per_thread * rows.threads as usize);
    Ok(Kernel::new("layer_norm", &rows.header(header), include_str!("layer_norm.wgsl")))
}
