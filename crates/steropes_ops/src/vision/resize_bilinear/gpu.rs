//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Packs, RowsOfImages, unsupported};
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

pub(super) fn resize_bilinear(
    gpu: &Gpu,
    x: &Tensor,
    [height, width]: [usize; 2],
    shape: [usize; 4],
) -> Result<Tensor, OpError> {
    let [batch, out_height, out_width, channels] = shape;
    if height * out_height >= 1 << 32 || width * out_width >= 1 << 32 {
        let why = format!("from {height} x {width} to {out_height} x {out_width} places do not fit 32 bits");
        return Err(unsupported(OP, gpu, why));
    }
    let packs = Packs::of_rows(x.dtype(), channels);
    let kernel = kernel(packs, channels);
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), &shape)?;
    let row_bytes = [width, out_width].map(|width| width * channels * x.dtype().size_bytes());
    let sources = |row: usize| {
        let image = row / out_height * height;
        let above = row % out_height * (height - 1) / (out_height - 1).max(1);
        [image + above, image + (above + 1).min(height - 1)]
    };
    let rows = RowsOfImages { rows: batch * out_height, row_bytes, sources: &sources };
    for part in rows.parts(OP, gpu)? {
        let windows = part.windows(x, &y, row_bytes);
        let count = part.rows.len() * row_bytes[1] / packs.bytes();
        let params = [
            count as u32,
            part.rows.start as u32,
            part.sources.start as u32,
            height as u32,
            width as u32,
            out_height as u32,
            out_width as u32,
            windows[0].shift(packs.bytes()),
            windows[1].shift(packs.bytes()),
        ];
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, groups)?;
    }
    Ok(y)
}

fn kernel(packs: Packs, channels: usize) -> Kernel {
    let header = packs.header(Header::new());
    let header = header.count("THREADS", THREADS).count("CHANNELS", (channels / packs.lanes) as u32);
    Kernel::new("resize_bilinear", &header, include_str!("resize_bilinear.wgsl"))
}
