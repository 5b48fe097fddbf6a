//! Sum of two tensors.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::cpu::lanes::Real;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "elementwise::add";

/// `x + y`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// `x`, `y` and the result have one shape and dtype: f32, on the CPU also f64, on a GPU also f16.
///
/// # Numerics
/// One correctly rounded addition for each value: `Tolerance::Exact`. An f16 result is rounded a second time, to within
/// 5e-4 of itself.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the arguments are not as above. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn add(x: Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    if x.shape() != y.shape() {
        return Err(OpError::shape(OP, "y", format!("{:?}", x.shape()), y.shape()));
    }
    match place(OP, &[("x", &x, Holds::Number), ("y", y, Holds::Number)])? {
        Place::Cpu => Ok(match x.dtype() {
            DType::F64 => on_values::<f64>(x, y),
            _ => on_values::<f32>(x, y),
        }),
        Place::Gpu(gpu) => gpu::add(&gpu, x, y),
    }
}

fn on_values<T: Real>(x: Tensor, y: &Tensor) -> Tensor {
    let shape = x.shape().to_vec();
    let mut sum = x.into_vec::<T>().expect("the dtype was checked");
    cpu::add(&mut sum, values(y));
    on_cpu(&shape, sum)
}
