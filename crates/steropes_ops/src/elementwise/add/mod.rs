//! Sum of two tensors.

pub(crate) mod bench;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "elementwise::add";

/// `x + y`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// `x`, `y` and the result have one shape, f32.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if they differ.
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
    sum.par_chunks_mut(1 << 14).zip(addend.par_chunks(1 << 14)).for_each(|(sum, addend)| {
        sum.iter_mut().zip(addend).for_each(|(s, a)| *s += a);
    });
    Ok(on_cpu(&shape, sum))
}
