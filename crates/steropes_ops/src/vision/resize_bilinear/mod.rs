//! Bilinear resizing with aligned corners.

pub(crate) mod bench;
mod cpu;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "vision::resize_bilinear";

/// Resizes an image so that its corner samples stay where they are.
///
/// The source coordinate of output `i` is `i (n_in - 1) / (n_out - 1)`, 0 if `n_out` is 1.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`, f32, no extent 0
/// - returns: `[batch, out_height, out_width, channels]`
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above.
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
    if out_height == 0 || out_width == 0 {
        return Err(OpError::value(
            OP,
            "out_height, out_width",
            "at least 1",
            format!("{out_height}, {out_width}"),
        ));
    }
    let shape = [batch, out_height, out_width, channels];
    let values = host::<f32>(OP, "x", x)?;
    Ok(on_cpu(&shape, cpu::resize_bilinear(values, [height, width], shape)))
}
