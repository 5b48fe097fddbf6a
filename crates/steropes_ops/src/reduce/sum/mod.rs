//! Sums over neighbouring axes.

pub(crate) mod bench;
mod cpu;
pub(crate) mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::ops::Range;
use steropes_tensor::{DType, Tensor};

const OP: &str = "reduce::sum";

/// The sum of `x` over `axes`, neighbours of each other.
///
/// # Shapes
/// - `x`: any, f32, on the CPU also f64, on a GPU also f16
/// - returns: the shape of `x` without `axes`, its dtype; no axes give `x` itself, and axes without extent zeros
///
/// # Numerics
/// On the CPU sums are f64 and rounded once. On a GPU they are f32, of up to 128 neighbours at a time, or 4096 where the last axis
/// is summed, and those sums likewise: within `Tolerance::Sum` of the values. Nothing depends on the number of threads.
///
/// # Errors
/// [`OpError::Value`] if `x` does not have the axes, [`OpError::DType`] if it is not as above. Nothing is computed then.
///
/// # Source
/// Written from the definition.
pub fn sum(x: &Tensor, axes: Range<usize>) -> Result<Tensor, OpError> {
    let rank = x.shape().len();
    if axes.start > axes.end || axes.end > rank {
        let found = format!("{}..{}", axes.start, axes.end);
        return Err(OpError::value(OP, "axes", format!("within 0..{rank}"), found));
    }
    let place = place(OP, &[("x", x, Holds::Number)])?;
    if axes.is_empty() {
        return Ok(x.clone());
    }
    let (before, after) = (&x.shape()[..axes.start], &x.shape()[axes.end..]);
    let extents = [before, &x.shape()[axes.clone()], after].map(|extents| extents.iter().product::<usize>());
    let shape = [before, after].concat();
    Ok(match (place, x.dtype()) {
        (Place::Cpu, DType::F64) => on_cpu(&shape, cpu::sum::<f64>(values(x), extents)),
        (Place::Cpu, _) => on_cpu(&shape, cpu::sum::<f32>(values(x), extents)),
        (Place::Gpu(gpu), _) => gpu::sum(&gpu, x, extents, x.dtype(), &shape)?,
    })
}
