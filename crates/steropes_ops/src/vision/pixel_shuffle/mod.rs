//! From many channels per patch to few channels per pixel.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "vision::pixel_shuffle";

/// The largest patch side taken: far beyond any network, and its square cannot overflow.
const MAX_PATCH: usize = 1 << 15;

/// Spreads the components of each patch over its pixels.
///
/// `y[p row + r, p col + c, channel] = x[row, col, channel p² + r p + c]`, `p` short for `patch`: channel-major,
/// then row in the patch, then column.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels p²]`, f32, on a GPU also f16
/// - returns: `[batch, p height, p width, channels]`, the dtype of `x`
///
/// # Numerics
/// Values are copied, so `Tolerance::Exact` holds.
///
/// # Errors
/// [`OpError::Value`] if `patch` is 0 or above 32768, [`OpError::Shape`] or [`OpError::DType`] if `x` is not as
/// above.
///
/// # Source
/// arXiv:1609.05158; channel-major order.
pub fn pixel_shuffle(x: &Tensor, patch: usize) -> Result<Tensor, OpError> {
    if patch == 0 || patch > MAX_PATCH {
        return Err(OpError::value(OP, "patch", format!("between 1 and {MAX_PATCH}"), patch));
    }
    let taps = patch * patch;
    let (batch, height, width, channels) = match *x.shape() {
        [batch, height, width, n] if n % taps == 0 => (batch, height, width, n / taps),
        _ => {
            let expected = format!("[batch, height, width, a multiple of {taps}]");
            return Err(OpError::shape(OP, "x", expected, x.shape()));
        }
    };
    let shape = [batch, patch * height, patch * width, channels];
    match place(OP, &[("x", x, Holds::Float)])? {
        Place::Cpu => Ok(on_cpu(&shape, cpu::pixel_shuffle(values(x), width, patch, shape))),
        Place::Gpu(gpu) => gpu::pixel_shuffle(&gpu, x, patch, shape),
    }
}
