//! From one precision to another.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod tests;

use crate::error::OpError;
use steropes_tensor::{DType, Device, Tensor};

const OP: &str = "elementwise::cast";

/// The values of `x` as `dtype`; shared memory where they are already.
///
/// # Shapes
/// - `x`: any shape, f32 or f16
/// - `dtype`: f32 or f16
/// - returns: the shape of `x`
///
/// # Numerics
/// To f32 exactly, to f16 the nearest, ties to even, infinite from 65520 on: `Tolerance::Exact` on every device. Not a
/// number stays one.
///
/// # Errors
/// [`OpError::DType`] or [`OpError::Value`] if an argument is not as above, [`OpError::Unsupported`] on a GPU without f16.
///
/// # Source
/// IEEE 754.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor, OpError> {
    let float = |dtype: DType| matches!(dtype, DType::F32 | DType::F16);
    if !float(x.dtype()) {
        return Err(OpError::DType { op: OP, argument: "x", expected: "f32 or f16", found: x.dtype() });
    }
    if !float(dtype) {
        return Err(OpError::value(OP, "dtype", "f32 or f16", dtype));
    }
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    match x.device() {
        Device::Cpu => Ok(cpu::cast(x)),
        Device::Gpu(gpu) => gpu::cast(&gpu, x, dtype),
    }
}
