//! From many channels per patch to few channels per pixel.

pub(crate) mod bench;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "vision::pixel_shuffle";

/// Spreads the components of each patch over its pixels:
/// `y[p row + r, p col + c, channel] = x[row, col, channel p² + r p + c]`.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels p²]`, f32
/// - returns: `[batch, p height, p width, channels]`
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above or `patch` is 0.
///
/// # Source
/// arXiv:1609.05158; channel-major order.
pub fn pixel_shuffle(x: &Tensor, patch: usize) -> Result<Tensor, OpError> {
    if patch == 0 {
        return Err(OpError::value(OP, "patch", "at least 1", patch));
    }
    let taps = patch * patch;
    let (batch, height, width, channels) = match *x.shape() {
        [batch, height, width, n] if n % taps == 0 => (batch, height, width, n / taps),
        _ => {
            let expected = format!("[batch, height, width, a multiple of {taps}]");
            return Err(OpError::shape(OP, "x", expected, x.shape()));
        }
    };
    let values = host::<f32>(OP, "x", x)?;
    let shape = [batch, patch * height, patch * width, channels];
    let mut y = vec![0.0f32; shape.iter().product()];
    y.par_chunks_mut((patch * width * channels).max(1)).enumerate().for_each(|(row, y)| {
        let (source_row, r) = (row / patch, row % patch);
        for (col, y) in y.chunks_exact_mut(patch * channels).enumerate() {
            let token = &values[(source_row * width + col) * channels * taps..][..channels * taps];
            for (c, y) in y.chunks_exact_mut(channels).enumerate() {
                for (channel, y) in y.iter_mut().enumerate() {
                    *y = token[channel * taps + r * patch + c];
                }
            }
        }
    });
    Ok(on_cpu(&shape, y))
}
