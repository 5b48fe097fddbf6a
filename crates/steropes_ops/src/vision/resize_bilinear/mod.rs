//! Bilinear resizing with aligned corners.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(super) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

pub(super) use cpu::{Tap, mix, taps};

const OP: &str = "vision::resize_bilinear";

/// Resizes an image so that its corner samples stay where they are.
///
/// Per axis, the source coordinate of output `i` is `s = i (n_in - 1) / (n_out - 1)`, 0 if `n_out` is 1, and the
/// result is `(1 - f) x[⌊s⌋] + f x[⌊s⌋ + 1]` with `f = s - ⌊s⌋`.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`, f32, on a GPU also f16, no extent 0
/// - returns: `[batch, out_height, out_width, channels]`, the dtype of `x`
///
/// # Numerics
/// f32, with source coordinates exact in integers: samples that coincide are copied, and a constant image stays as it
/// is to the last bit. `Tolerance::Sum { depth: 4 }` holds; f16 results are rounded once more, to within 5e-4 of themselves.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` is not as above, [`OpError::Value`] if the result would have a side
/// of 0, [`OpError::Unsupported`] on a GPU if the product of an input and an output side does not fit 32 bits.
///
/// # Source
/// Written from the formula.
pub fn resize_bilinear(x: &Tensor, out_height: usize, out_width: usize) -> Result<Tensor, OpError> {
    let &[batch, height, width, channels] = x.shape() else {
        return Err(OpError::shape(OP, "x", "[batch, height, width, channels]", x.shape()));
    };
    if x.is_empty() {
        return Err(OpError::shape(OP, "x", "[batch, height, width, channels], no extent 0", x.shape()));
    }
    let place = place(OP, &[("x", x, Holds::Float)])?;
    for (argument, side) in [("out_height", out_height), ("out_width", out_width)] {
        if side == 0 {
            return Err(OpError::value(OP, argument, "at least 1", side));
        }
    }
    let shape = [batch, out_height, out_width, channels];
    match place {
        Place::Cpu => Ok(on_cpu(&shape, cpu::resize_bilinear(values(x), [height, width], shape))),
        Place::Gpu(gpu) => gpu::resize_bilinear(&gpu, x, [height, width], shape),
    }
}
