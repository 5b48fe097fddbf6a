//! A plain copy: the yardstick of every kernel that memory limits.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod tests;

use crate::error::OpError;
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
