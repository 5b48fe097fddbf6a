//! Scaled dot-product attention.

pub(crate) mod bench;
mod cpu;
pub(super) mod gpu;
mod heads;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::cpu::Isa;
use crate::error::{Holds, OpError, Place, on_cpu, place};
use steropes_tensor::Tensor;

pub use heads::Heads;

const OP: &str = "attention::sdpa";

/// `softmax(q kᵀ scale) v` for every batch and head, without storing the scores.
///
/// # Shapes
/// - `q`: `[batch, queries, heads, head_dim]`, f32, on a GPU also f16
/// - `k`, `v`: `[batch, keys, heads, head_dim]`, the dtype of `q`, at least one key
/// - each may be some of the heads of a tensor with more: [`Heads`]
/// - returns: `[batch, queries, heads, head_dim]`, the dtype of `q`
///
/// # Numerics
/// f32 throughout, with the running maximum subtracted before the exponential, whose relative error is below 3e-7.
/// Within `Tolerance::Sum { depth: head_dim + keys }` for scores of about unit size; an error of a score is a relative
/// error of its weight. Scores must be finite, on a GPU below 1e29. The result does not depend on the number of threads.
///
/// f16 tensors have f32 scores and sums. Devices with matrices round the weights to f16; results are then within 1e-3 of the
/// largest value, else within 5e-4, the rounding of the result.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`], [`OpError::Device`] or [`OpError::Value`] if an argument is not as above or `scale`
/// is not finite; [`OpError::Unsupported`] if the keys of one batch element do not fit a binding of the GPU. Nothing is
/// computed then.
///
/// # Source
/// Written from the formula; running maximum and sum as in arXiv:1805.02867, a tile at a time as in arXiv:2205.14135.
pub fn sdpa<'a>(
    q: impl Into<Heads<'a>>,
    k: impl Into<Heads<'a>>,
    v: impl Into<Heads<'a>>,
    scale: f32,
) -> Result<Tensor, OpError> {
    attend(q.into(), k.into(), v.into(), scale, Products::Given)
}

/// As [`sdpa`] on the CPU, with products of bf16 where the CPU multiplies pairs of them (AMX, AVX-512), as
/// [`crate::linalg::linear`] does with weights in bf16.
///
/// # Shapes
/// As [`sdpa`], all f32
///
/// # Numerics
/// `q`, `k`, `v` and the weights are rounded to bf16, to within 2^-9 of each value; products are exact, scores and sums f32. Without
/// such instructions the result is that of [`sdpa`]. The result does not depend on the number of threads.
///
/// # Errors
/// As [`sdpa`], and [`OpError::Unsupported`] on a GPU.
///
/// # Source
/// As [`sdpa`].
pub fn sdpa_bf16<'a>(
    q: impl Into<Heads<'a>>,
    k: impl Into<Heads<'a>>,
    v: impl Into<Heads<'a>>,
    scale: f32,
) -> Result<Tensor, OpError> {
    attend(q.into(), k.into(), v.into(), scale, Products::Bf16)
}

/// What products take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Products {
    /// The dtype of the arguments.
    Given,
    /// bf16 where the CPU multiplies pairs of them.
    Bf16,
}

fn attend(
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    scale: f32,
    products: Products,
) -> Result<Tensor, OpError> {
    let (arguments, extents) = checked(q, k, v, scale)?;
    let [q, k, v] = [&arguments.q, &arguments.k, &arguments.v].map(|heads| heads.tensor);
    match place(OP, &[("q", q, Holds::Float), ("k", k, Holds::Float), ("v", v, Holds::Float)])? {
        Place::Cpu => {
            let Extents { batch, queries, heads, head_dim, .. } = extents;
            let unit = Isa::current().pair_unit().filter(|_| products == Products::Bf16);
            Ok(on_cpu(&[batch, queries, heads, head_dim], cpu::sdpa(&arguments, extents, unit)))
        }
        Place::Gpu(gpu) if products == Products::Bf16 => {
            let why = "products of bf16 run on the CPU only".to_owned();
            Err(OpError::Unsupported { op: OP, device: gpu.capabilities().name.clone(), why })
        }
        Place::Gpu(gpu) => gpu::sdpa(&gpu, &arguments, extents),
    }
}

/// What is computed, checked but for device and dtype.
struct Arguments<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    scale: f32,
}

#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    head_dim: usize,
}

fn checked<'a>(
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    scale: f32,
) -> Result<(Arguments<'a>, Extents), OpError> {
    let Some([batch, queries, heads, head_dim]) = q.extents("q")? else {
        return Err(OpError::shape(OP, "q", "[batch, queries, heads, head_dim]", q.tensor.shape()));
    };
    let keys = match k.extents("k")? {
        Some([b, keys, h, d]) if (b, h, d) == (batch, heads, head_dim) && keys > 0 => keys,
        _ => {
            let expected = format!("[{batch}, keys, {heads}, {head_dim}] with at least one key");
            return Err(OpError::shape(OP, "k", expected, k.tensor.shape()));
        }
    };
    if v.extents("v")? != Some([batch, keys, heads, head_dim]) {
        let expected = format!("[{batch}, {keys}, {heads}, {head_dim}]");
        return Err(OpError::shape(OP, "v", expected, v.tensor.shape()));
    }
    if !scale.is_finite() {
        return Err(OpError::value(OP, "scale", "a finite number", scale));
    }
    Ok((Arguments { q, k, v, scale }, Extents { batch, queries, keys, heads, head_dim }))
}
