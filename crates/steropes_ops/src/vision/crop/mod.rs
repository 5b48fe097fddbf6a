//! Cropping to the top left corner.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "vision::crop";

/// The top left `height x width` pixels of every image.
///
/// `y[b, row, col, channel] = x[b, row, col, channel]`. Where nothing is cut off, the result shares the memory
/// of `x`.
///
/// # Shapes
/// - `x`: `[batch, at least height, at least width, channels]`, f32, on a GPU also f16
/// - returns: `[batch, height, width, channels]`, the dtype of `x`
///
/// # Numerics
/// Values are copied, so `Tolerance::Exact` holds.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` is not as above.
///
/// # Source
/// Written from the definition.
pub fn crop(x: &Tensor, height: usize, width: usize) -> Result<Tensor, OpError> {
    let (batch, h, w, channels) = match *x.shape() {
        [batch, h, w, channels] if h >= height && w >= width => (batch, h, w, channels),
        _ => {
            let expected = format!("[batch, at least {height}, at least {width}, channels]");
            return Err(OpError::shape(OP, "x", expected, x.shape()));
        }
    };
    let place = place(OP, &[("x", x, Holds::Float)])?;
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    let shape = [batch, height, width, channels];
    match place {
        Place::Cpu => Ok(on_cpu(&shape, cpu::crop(values(x), [h, w], shape))),
        Place::Gpu(gpu) => gpu::crop(&gpu, x, [h, w], shape),
    }
}
