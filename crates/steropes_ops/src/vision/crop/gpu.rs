//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{RowsOfImages, Unit};
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

pub(super) fn crop(gpu: &Gpu, x: &Tensor, [h, w]: [usize; 2], shape: [usize; 4]) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), &shape)?;
    if y.is_empty() {
        return Ok(y);
    }
    let [batch, height, width, channels] = shape;
    let row_bytes = [w, width].map(|width| width * channels * x.dtype().size_bytes());
    let unit = Unit::of_rows(&row_bytes);
    let kernel = kernel(unit);
    let from = |row: usize| row / height * h + row % height;
    let rows = RowsOfImages { rows: batch * height, row_bytes, sources: &|row| [from(row), from(row)] };
    for part in rows.parts(OP, gpu)? {
        let windows = part.windows(x, &y, row_bytes);
        let units = row_bytes.map(|bytes| bytes / unit.bytes);
        let count = part.rows.len() * units[1];
        let params = [
            count as u32,
            part.rows.start as u32,
            part.sources.start as u32,
            height as u32,
            h as u32,
            units[0] as u32,
            units[1] as u32,
            windows[0].shift(unit.bytes),
            windows[1].shift(unit.bytes),
        ];
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, groups)?;
    }
    Ok(y)
}

fn kernel(unit: Unit) -> Kernel {
    let header = unit.header(Header::new()).count("THREADS", THREADS);
    Kernel::new("crop", &header, include_str!("crop.wgsl"))
}
