//! Pipeline choice and launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Packs, Rows, row_ranges, window};
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, Tensor, spread};

/// Packs that an invocation keeps in registers; longer rows are read twice.
const MOST_PACKS: usize = 8;

pub(super) fn softmax(gpu: &Gpu, x: &Tensor, width: usize) -> Result<Tensor, OpError> {
    let packs = Packs::of_rows(x.dtype(), width);
    let rows = Rows::choose(gpu.capabilities(), width / packs.lanes);
    let kernel = kernel(gpu.capabilities(), x.dtype(), width);
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), x.shape())?;
    let row_bytes = width * x.dtype().size_bytes();
    for range in row_ranges(OP, gpu, x.len() / width, &[row_bytes])? {
        let [from, to] = [x, &y].map(|tensor| window(tensor, row_bytes, &range));
        let params = [range.len() as u32, from.shift(packs.bytes())];
        let groups = spread(range.len().div_ceil(rows.rows as usize) as u64);
        gpu.launch(&kernel, &[from.binding, to.binding], &params, groups)?;
    }
    Ok(y)
}

fn kernel(gpu: &Capabilities, dtype: DType, width: usize) -> Kernel {
    let packs = Packs::of_rows(dtype, width);
    let per_row = width / packs.lanes;
    let rows = Rows::choose(gpu, per_row);
    let per_thread = per_row.div_ceil(rows.threads as usize);
    let header = packs
        .header(Header::new())
        .count("WIDTH", per_row as u32)
        .count("PER_THREAD", per_thread as u32)
        .flag("FULL", per_row == per_thread * rows.threads as usize);
    let body = if per_thread <= MOST_PACKS {
        include_str!("softmax.wgsl")
    } else {
        include_str!("softmax_long.wgsl")
    };
    Kernel::new("softmax", &rows.header(header), body)
}
