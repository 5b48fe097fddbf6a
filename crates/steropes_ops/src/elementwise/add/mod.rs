//! Sum of two tensors.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "elementwise::add";

/// `x + y`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// `x`, `y` and the result have one shape, f32.
///
/// # Numerics
/// One correctly rounded f32 addition for each value: `Tolerance::Exact`.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the shapes differ or a dtype is not f32. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn add(x: Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    if x.shape() != y.shape() {
        return Err(OpError::shape(OP, "y", format!("{:?}", x.shape()), y.shape()));
    }
    host::<f32>(OP, "x", &x)?;
    let addend = host::<f32>(OP, "y", y)?;
    let shape = x.shape().to_vec();
    let mut sum = x.into_vec::<f32>().expect("the dtype was checked");
    cpu::add(&mut sum, addend);
    Ok(on_cpu(&shape, sum))
}
