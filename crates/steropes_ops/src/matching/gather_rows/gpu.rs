//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 128;

pub(super) fn gather_rows(gpu: &Gpu, rows: &Tensor, indices: &Tensor) -> Result<Tensor, OpError> {
    let &[count, width] = rows.shape() else { unreachable!("the shape was checked") };
    let gathered = Tensor::on_gpu(gpu, OP, rows.dtype(), &[indices.len(), width])?;
    let element = rows.dtype().size_bytes();
    let row_bytes = width * element;
    let header = Header::new().element(rows.dtype()).count("THREADS", THREADS);
    let kernel = Kernel::new("gather_rows", &header, include_str!("gather_rows.wgsl"));
    let mut sources = row_ranges(OP, gpu, count, &[row_bytes])?;
    if sources.is_empty() {
        // Without rows every number is one that no row has.
        sources.push(0..0);
    }
    for to in row_ranges(OP, gpu, indices.len(), &[row_bytes, size_of::<u32>()])? {
        let groups = spread((to.len() * width).div_ceil(THREADS as usize) as u64);
        let (asked, found) = (window(indices, size_of::<u32>(), &to), window(&gathered, row_bytes, &to));
        for from in &sources {
            let part = window(rows, row_bytes, from);
            let counts = [to.len(), width, from.start, from.len()].map(|p| p as u32);
            let shifts = [part.shift(element), asked.shift(size_of::<u32>()), found.shift(element)];
            let bindings = [part.binding, asked.binding, found.binding];
            gpu.launch(&kernel, &bindings, &[counts.as_slice(), &shifts].concat(), groups)?;
        }
    }
    Ok(gathered)
}
