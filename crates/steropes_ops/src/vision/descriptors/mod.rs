//! From raw local features to unit descriptors.

pub(crate) mod bench;
mod cpu;
mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "vision::descriptors";

/// The first `dim` channels of every pixel divided by their Euclidean norm; a zero vector gives NaN.
/// The channels after them are returned as they are.
///
/// # Shapes
/// - `raw`: `[batch, height, width, at least dim]`, f32
/// - returns: `[batch, height, width, dim]` and `[batch, height, width, rest]`
///
/// # Numerics
/// f32; the sum of squares is not scaled, so a norm above 1e19 or below 1e-19 overflows or underflows.
/// `Tolerance::Ulps(dim / 8 + 4)` holds otherwise.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `raw` is not as above, [`OpError::Value`] if `dim` is 0.
///
/// # Source
/// MASt3R, arXiv:2406.09756, section 3.2; written from the formula.
pub fn descriptors(raw: &Tensor, dim: usize) -> Result<(Tensor, Tensor), OpError> {
    let (batch, height, width, channels) = match *raw.shape() {
        [batch, height, width, channels] if channels >= dim => (batch, height, width, channels),
        _ => {
            let expected = format!("[batch, height, width, at least {dim}]");
            return Err(OpError::shape(OP, "raw", expected, raw.shape()));
        }
    };
    let values = host::<f32>(OP, "raw", raw)?;
    if dim == 0 {
        return Err(OpError::value(OP, "dim", "at least 1", dim));
    }
    let (unit, rest) = cpu::descriptors(values, dim, channels);
    Ok((on_cpu(&[batch, height, width, dim], unit), on_cpu(&[batch, height, width, channels - dim], rest)))
}
