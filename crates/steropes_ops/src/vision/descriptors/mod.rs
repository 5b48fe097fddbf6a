//! From raw local features to unit descriptors.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "vision::descriptors";

/// The first `dim` channels of every pixel divided by their Euclidean norm; a zero vector gives NaN.
/// The channels after them are returned as they are.
///
/// # Shapes
/// - `raw`: `[batch, height, width, at least dim]`, f32, on a GPU also f16
/// - returns: `[batch, height, width, dim]` and `[batch, height, width, rest]`, always f32
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
    let place = place(OP, &[("raw", raw, Holds::Float)])?;
    if dim == 0 {
        return Err(OpError::value(OP, "dim", "at least 1", dim));
    }
    let shapes = [dim, channels - dim].map(|n| [batch, height, width, n]);
    match place {
        Place::Cpu => {
            let (unit, rest) = cpu::descriptors(values(raw), dim, channels);
            Ok((on_cpu(&shapes[0], unit), on_cpu(&shapes[1], rest)))
        }
        Place::Gpu(gpu) => gpu::descriptors(&gpu, raw, shapes),
    }
}
