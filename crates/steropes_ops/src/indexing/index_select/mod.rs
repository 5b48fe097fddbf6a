//! Slices of a tensor by their numbers.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::places::check_axis;
use super::{check_below, integers};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "indexing::index_select";

/// The slices of `x` along `axis` with the numbers in `index`, in that order.
///
/// # Shapes
/// - `x`: `[.., extent, ..]` with `extent` as axis `axis`, f32, on a GPU also f16
/// - `index`: `[count]`, i32, u32 or i64
/// - returns: `[.., count, ..]`, the dtype of `x`
///
/// # Numerics
/// Exact: values are copied.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Value`] if `x` has no such axis or, on
/// the CPU, a number is not from 0 to below `extent`; on a GPU its slice is not a number. [`OpError::Unsupported`] on a GPU if
/// `index` does not fit one binding.
///
/// # Source
/// Written from the definition; arguments are those of `torch.index_select`.
pub fn index_select(x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor, OpError> {
    check_axis(OP, x, axis)?;
    let &[count] = index.shape() else {
        return Err(OpError::shape(OP, "index", "[count]", index.shape()));
    };
    let mut shape = x.shape().to_vec();
    shape[axis] = count;
    match place(OP, &[("x", x, Holds::Float), ("index", index, Holds::Index)])? {
        Place::Cpu => {
            let index = integers(index);
            check_below(OP, "index", &index, x.shape()[axis])?;
            Ok(on_cpu(&shape, cpu::index_select(values(x), x.shape(), axis, &index)))
        }
        Place::Gpu(gpu) => gpu::index_select(&gpu, x, axis, index, &shape),
    }
}
