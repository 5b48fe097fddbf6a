//! A plain copy, whole or of some rows: the yardstick of every kernel that memory limits.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::ops::Range;
use steropes_tensor::{Device, Tensor};

const OP: &str = "elementwise::copy";

/// The elements of `x` in memory of their own.
///
/// # Shapes
/// - `x`: any shape and dtype
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// Elements are copied to the bit.
///
/// # Errors
/// [`OpError::Failed`] if the device has no memory for it.
///
/// # Source
/// Written from the definition.
pub fn copy(x: &Tensor) -> Result<Tensor, OpError> {
    match x.device() {
        Device::Cpu => Ok(cpu::copy(x)),
        Device::Gpu(gpu) => gpu::copy(&gpu, x),
    }
}

/// The rows `rows` of `x`, along its first axis, in memory of their own.
///
/// # Shapes
/// - `x`: `[rows, ..]`, f32, on a GPU also f16
/// - returns: `[rows.len(), ..]`, the dtype of `x`
///
/// # Numerics
/// Elements are copied to the bit.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` is not as above or has fewer rows.
///
/// # Source
/// Written from the definition.
pub fn copy_rows(x: &Tensor, rows: Range<usize>) -> Result<Tensor, OpError> {
    let mut shape = x.shape().to_vec();
    match shape.first_mut() {
        Some(extent) if rows.start <= rows.end && rows.end <= *extent => *extent = rows.len(),
        _ => return Err(OpError::shape(OP, "x", format!("[rows, ..] with the rows {rows:?}"), x.shape())),
    }
    match place(OP, &[("x", x, Holds::Float)])? {
        Place::Cpu => {
            let row = shape[1..].iter().product::<usize>();
            Ok(on_cpu(&shape, values::<f32>(x)[rows.start * row..rows.end * row].to_vec()))
        }
        Place::Gpu(gpu) => gpu::copy_rows(&gpu, x, rows, &shape),
    }
}
