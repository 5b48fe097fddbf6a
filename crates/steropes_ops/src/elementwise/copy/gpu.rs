//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Unit, flat_groups, flat_header, flat_ranges, window};
use std::ops::Range;
use steropes_tensor::{Gpu, Header, Kernel, Tensor};

/// Whole tensors are copied by vectors of four words; the memory of a tensor is made of them.
const VECTOR: Unit = Unit { bytes: 16 };

pub(super) fn copy(gpu: &Gpu, x: &Tensor) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), x.shape())?;
    let count = (x.len() * x.dtype().size_bytes()).div_ceil(VECTOR.bytes);
    launch(gpu, VECTOR, (x, 0), &y, count)?;
    Ok(y)
}

pub(super) fn copy_rows(
    gpu: &Gpu,
    x: &Tensor,
    rows: Range<usize>,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), shape)?;
    let row_bytes = shape[1..].iter().product::<usize>() * x.dtype().size_bytes();
    let unit = Unit::of_rows(&[row_bytes]);
    let units = row_bytes / unit.bytes;
    launch(gpu, unit, (x, rows.start * units), &y, rows.len() * units)?;
    Ok(y)
}

/// Copies `count` units from the unit `first` of `x` on.
fn launch(
    gpu: &Gpu,
    unit: Unit,
    (x, first): (&Tensor, usize),
    y: &Tensor,
    count: usize,
) -> Result<(), OpError> {
    let kernel = Kernel::new("copy", &flat_header(unit.header(Header::new())), include_str!("copy.wgsl"));
    for range in flat_ranges(gpu, count, &[(x, unit.bytes), (y, unit.bytes)]) {
        let from = window(x, unit.bytes, &(first + range.start..first + range.end));
        let to = window(y, unit.bytes, &range);
        let params = [range.len() as u32, from.shift(unit.bytes)];
        gpu.launch(&kernel, &[from.binding, to.binding], &params, flat_groups(range.len()))?;
    }
    Ok(())
}
