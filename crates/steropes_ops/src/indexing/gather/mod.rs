//! Elements of a tensor by their numbers along an axis.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::places::{Places, check_shapes};
use super::{check_below, integers};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "indexing::gather";

/// The elements of `x` at the coordinates of each element of `index`, but with that element as the coordinate along `axis`.
///
/// # Shapes
/// - `x`: any shape with an axis `axis`, f32, on a GPU also f16
/// - `index`: the rank of `x`, along all axes but `axis` at most as long as `x`; i32, u32 or i64
/// - returns: the shape of `index`, the dtype of `x`
///
/// # Numerics
/// Exact: values are copied. The gradient is [`scatter_add`](super::scatter_add::scatter_add) to zeros.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Value`] if `x` has no such axis or, on
/// the CPU, a number is not from 0 to below the extent of `axis`; on a GPU its element is not a number.
/// [`OpError::Unsupported`] on a GPU if more than four runs of axes remain when those that lie alike in `x` and `index` are taken together.
///
/// # Source
/// Written from the definition; arguments are those of `torch.gather`.
pub fn gather(x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor, OpError> {
    check_shapes(OP, x, axis, index)?;
    let places = Places::new(x.shape(), index.shape(), axis);
    match place(OP, &[("x", x, Holds::Float), ("index", index, Holds::Index)])? {
        Place::Cpu => {
            let numbers = integers(index);
            check_below(OP, "index", &numbers, x.shape()[axis])?;
            Ok(on_cpu(index.shape(), cpu::gather(values(x), &places, &numbers)))
        }
        Place::Gpu(gpu) => gpu::gather(&gpu, x, &places, index),
    }
}
