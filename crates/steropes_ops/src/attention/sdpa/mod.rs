//! Scaled dot-product attention.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "attention::sdpa";

/// `softmax(q kᵀ scale) v` for every batch and head, without storing the scores.
///
/// # Shapes
/// - `q`: `[batch, queries, heads, head_dim]`, f32
/// - `k`, `v`: `[batch, keys, heads, head_dim]`, f32, at least one key
/// - returns: the shape of `q`
///
/// # Numerics
/// f32 throughout, with the running maximum subtracted before the exponential, whose relative error is below 3e-7.
/// Within `Tolerance::Sum { depth: head_dim + keys }` for scores of about unit size; an error of a score is a relative
/// error of its weight. Scores must be finite. The result does not depend on the number of threads.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above or `scale` is not finite.
/// Nothing is computed then.
///
/// # Source
/// Written from the formula; running maximum and sum as in arXiv:1805.02867.
pub fn sdpa(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32) -> Result<Tensor, OpError> {
    let &[batch, queries, heads, head_dim] = q.shape() else {
        return Err(OpError::shape(OP, "q", "[batch, queries, heads, head_dim]", q.shape()));
    };
    let keys = match *k.shape() {
        [b, keys, h, d] if (b, h, d) == (batch, heads, head_dim) && keys > 0 => keys,
        _ => {
            let expected = format!("[{batch}, keys, {heads}, {head_dim}] with at least one key");
            return Err(OpError::shape(OP, "k", expected, k.shape()));
        }
    };
    if v.shape() != k.shape() {
        return Err(OpError::shape(OP, "v", format!("{:?}", k.shape()), v.shape()));
    }
    if !scale.is_finite() {
        return Err(OpError::value(OP, "scale", "a finite number", scale));
    }
    let (qs, ks, vs) = (host::<f32>(OP, "q", q)?, host::<f32>(OP, "k", k)?, host::<f32>(OP, "v", v)?);
    let extents = cpu::Extents { batch, queries, keys, heads, head_dim };
    Ok(on_cpu(q.shape(), cpu::sdpa(qs, ks, vs, extents, scale)))
}
