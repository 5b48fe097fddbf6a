//! From raw local features to unit descriptors.

pub(crate) mod bench;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "vision::descriptors";

/// The first `dim` channels of every pixel divided by their Euclidean norm; a zero vector gives NaN.
/// The channels after them are returned as they are.
///
/// # Shapes
/// - `raw`: `[batch, height, width, at least dim]`, f32
/// - returns: `[batch, height, width, dim]` and `[batch, height, width, rest]`
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `raw` is not as above.
///
/// # Source
/// MASt3R, arXiv:2406.09756, section 3.2; written from the formula.
pub fn descriptors(raw: &Tensor, dim: usize) -> Result<(Tensor, Tensor), OpError> {
    let (batch, height, width, channels) = match *raw.shape() {
        [batch, height, width, channels] if channels >= dim && dim > 0 => (batch, height, width, channels),
        _ => {
            let expected = format!("[batch, height, width, at least {dim}]");
            return Err(OpError::shape(OP, "raw", expected, raw.shape()));
        }
    };
    let values = host::<f32>(OP, "raw", raw)?;
    let pixels = batch * height * width;
    let rest = channels - dim;
    let mut unit = vec![0.0f32; pixels * dim];
    unit.par_chunks_mut(dim).zip(values.par_chunks(channels)).for_each(|(unit, raw)| {
        let norm = raw[..dim].iter().map(|v| v * v).sum::<f32>().sqrt();
        unit.iter_mut().zip(raw).for_each(|(u, r)| *u = r / norm);
    });
    let others: Vec<f32> = values.chunks_exact(channels).flat_map(|raw| raw[dim..].iter().copied()).collect();
    Ok((on_cpu(&[batch, height, width, dim], unit), on_cpu(&[batch, height, width, rest], others)))
}
