//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Unit, row_ranges, window};
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

pub(super) fn concat(
    gpu: &Gpu,
    x: &Tensor,
    y: &Tensor,
    shape: &[usize],
    [m, n]: [usize; 2],
) -> Result<Tensor, OpError> {
    let out = Tensor::on_gpu(gpu, OP, x.dtype(), shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let row_bytes = [m, n, m + n].map(|width| width * x.dtype().size_bytes());
    let unit = Unit::of_rows(&row_bytes);
    let kernel = kernel(unit);
    for rows in row_ranges(OP, gpu, out.len() / (m + n), &row_bytes)? {
        let windows = [
            window(x, row_bytes[0], &rows),
            window(y, row_bytes[1], &rows),
            window(&out, row_bytes[2], &rows),
        ];
        let count = rows.len() * row_bytes[2] / unit.bytes;
        let units = |bytes: usize| (bytes / unit.bytes) as u32;
        let shifts = windows.each_ref().map(|w| w.shift(unit.bytes));
        let params =
            [count as u32, units(row_bytes[0]), units(row_bytes[1]), shifts[0], shifts[1], shifts[2]];
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, groups)?;
    }
    Ok(out)
}

fn kernel(unit: Unit) -> Kernel {
    let header = unit.header(Header::new()).count("THREADS", THREADS);
    Kernel::new("concat", &header, include_str!("concat.wgsl"))
}
