//! Transposes of matrices.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "elementwise::transpose";

/// `x` with its last two axes exchanged, in memory of its own.
///
/// # Shapes
/// - `x`: `[.., rows, columns]`, f32, on the CPU also f64, on a GPU also f16
/// - returns: `[.., columns, rows]`, the dtype of `x`
///
/// # Numerics
/// Values are copied to the bit.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` is not as above, [`OpError::Unsupported`] if a matrix does not fit a GPU's
/// binding. Nothing is computed then.
///
/// # Source
/// Written from the definition.
pub fn transpose(x: &Tensor) -> Result<Tensor, OpError> {
    let &[ref batch @ .., rows, columns] = x.shape() else {
        return Err(OpError::shape(OP, "x", "[.., rows, columns]", x.shape()));
    };
    let place = place(OP, &[("x", x, Holds::Number)])?;
    let shape = [batch, &[columns, rows]].concat();
    Ok(match (place, x.dtype()) {
        (Place::Cpu, DType::F64) => on_cpu(&shape, cpu::transpose::<f64>(values(x), [rows, columns])),
        (Place::Cpu, _) => on_cpu(&shape, cpu::transpose::<f32>(values(x), [rows, columns])),
        (Place::Gpu(gpu), _) => gpu::transpose(&gpu, x, [rows, columns], &shape)?,
    })
}
