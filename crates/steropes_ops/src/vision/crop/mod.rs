//! Cropping to the top left corner.

pub(crate) mod bench;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "vision::crop";

/// The top left `height x width` pixels of every image.
///
/// # Shapes
/// - `x`: `[batch, at least height, at least width, channels]`, f32
/// - returns: `[batch, height, width, channels]`
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
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    let values = host::<f32>(OP, "x", x)?;
    let shape = [batch, height, width, channels];
    let mut y = vec![0.0f32; shape.iter().product()];
    y.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(row, y)| {
        let source = (row / height * h + row % height) * w * channels;
        y.copy_from_slice(&values[source..][..width * channels]);
    });
    Ok(on_cpu(&shape, y))
}
