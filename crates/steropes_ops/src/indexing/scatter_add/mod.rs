//! Sums at places that numbers along an axis name.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::places::{Places, check_shapes};
use super::{check_below, integers};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "indexing::scatter_add";

/// `x` with each element of `src` added at its own coordinates, but with the element of `index` there as the coordinate along `axis`.
///
/// # Shapes
/// - `x`: any shape with an axis `axis`, f32, on a GPU also f16
/// - `index`: the rank of `x`, along all axes but `axis` at most as long as `x`; i32, u32 or i64
/// - `src`: the shape of `index`, the dtype of `x`
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// Sums in f32, in the order of `src`, so that results are the same every time; on a GPU numbers are sorted for that. Within `Tolerance::Sum` of
/// the most elements at one place; f16 results are rounded once. The gradient for `src` is [`gather`](super::gather::gather).
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Value`] if `x` has no such axis or, on
/// the CPU, a number is not from 0 to below the extent of `axis`; on a GPU its element is left out.
/// [`OpError::Unsupported`] on a GPU if a tensor does not fit one binding, or as [`gather`](super::gather::gather).
///
/// # Source
/// Written from the definition; arguments are those of `torch.scatter_add`.
pub fn scatter_add(x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Result<Tensor, OpError> {
    check_shapes(OP, x, axis, index)?;
    if src.shape() != index.shape() {
        return Err(OpError::shape(OP, "src", format!("{:?} as the index", index.shape()), src.shape()));
    }
    let places = Places::new(x.shape(), index.shape(), axis);
    let arguments = [("x", x, Holds::Float), ("index", index, Holds::Index), ("src", src, Holds::Float)];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let numbers = integers(index);
            check_below(OP, "index", &numbers, x.shape()[axis])?;
            Ok(on_cpu(x.shape(), cpu::scatter_add(values(x), &places, &numbers, values(src))))
        }
        Place::Gpu(gpu) => gpu::scatter_add(&gpu, x, &places, index, src),
    }
}
