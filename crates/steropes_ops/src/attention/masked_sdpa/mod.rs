//! Scaled dot-product attention with masks, grouped heads and sequences of different lengths, and its gradient.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod mask;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place};
use steropes_tensor::{DType, Gpu, Tensor};

use mask::{Bands, Layout};
pub use mask::{Mask, Segments};

const OP: &str = "attention::sdpa_masked";
const BACKWARD: &str = "attention::sdpa_backward";

/// The most values of a head, which a GPU keeps in registers.
const MOST_HEAD_DIM: usize = 256;

/// What [`sdpa_masked`] returns; [`sdpa_backward`] needs both.
#[derive(Clone, Debug)]
pub struct Attended {
    /// The values, weighted: `[batch, queries, heads, head_dim]`, the dtype of the queries.
    pub out: Tensor,
    /// The logarithm of the sum of `e^score` for each query: `[batch, heads, queries]`, f32; minus infinity where everything is
    /// masked.
    pub lse: Tensor,
}

/// What [`sdpa_backward`] returns, each with the shape and dtype of its argument.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// With respect to the queries.
    pub q: Tensor,
    /// With respect to the keys, summed over the heads of a group.
    pub k: Tensor,
    /// With respect to the values, summed over the heads of a group.
    pub v: Tensor,
}

/// `softmax(q kᵀ scale + mask) v` for every batch and head, without storing the scores.
///
/// `heads` is a multiple of `kv_heads`; head `h` of the queries takes head `h / (heads / kv_heads)` of keys and values. A query that may
/// attend to nothing gives zeros, as PyTorch does since 2.5.
///
/// # Shapes
/// - `q`: `[batch, queries, heads, head_dim]`, f32, on a GPU also f16, `head_dim` from 1 to 256
/// - `k`, `v`: `[batch, keys, kv_heads, head_dim]`, the dtype of `q`, at least one key
/// - `mask`: [`Mask`]
/// - returns: [`Attended`]
///
/// # Numerics
/// Scores, weights and sums in f32, with the running maximum subtracted before the exponential, which has a relative error below
/// 1e-6. An error of a score is a relative error of its weight, so that results with scores of magnitude `s`, at least 1, are within
/// `Tolerance::OfLargest(4e-7 * (4 s + sqrt(head_dim + keys)))`. f16 results are rounded once, to within 5e-4 of the largest; without a mask or with
/// a causal one, and heads of a multiple of eight values, weights are rounded to f16 too where the device multiplies matrices, as in [`sdpa`](crate::attention::sdpa::sdpa): 1e-3.
/// Weights below `2^-126` are zero. Scores must be finite, and with matrices also values that a causal mask hides. The result does not depend on the number of threads.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`], [`OpError::Device`] or [`OpError::Value`] if an argument is not as above or `scale` is not
/// finite, or sequences are not those of the tokens; [`OpError::Unsupported`] if one batch element of an argument, or a mask for all of them, does not fit a binding of the GPU.
/// Nothing is computed then.
///
/// # Source
/// Written from the formula; running maximum and sum as in arXiv:1805.02867, a tile at a time as in arXiv:2205.14135; groups
/// as in arXiv:2305.13245.
pub fn sdpa_masked(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Mask<'_>,
    scale: f32,
) -> Result<Attended, OpError> {
    let extents = Extents::of(OP, [q, k, v])?;
    let layout = mask.layout(OP, &extents)?;
    check_scale(OP, scale)?;
    let mut arguments = vec![("q", q, Holds::Float), ("k", k, Holds::Float), ("v", v, Holds::Float)];
    arguments.extend(mask.argument());
    let place = place(OP, &arguments)?;
    let bands = mask.bands(gpu_of(&place))?;
    let problem = Problem { q, k, v, mask, bands: bands.as_ref(), layout, scale, extents };
    match place {
        Place::Cpu => {
            let (out, lse) = cpu::forward(&problem);
            let lse_shape = [extents.batch, extents.heads, extents.queries];
            Ok(Attended { out: on_cpu(q.shape(), out), lse: on_cpu(&lse_shape, lse) })
        }
        Place::Gpu(gpu) => gpu::forward(&gpu, &problem),
    }
}

/// The gradients of [`sdpa_masked`] with respect to queries, keys and values, from that of its result.
///
/// Scores are computed again, tile by tile; there are no atomic additions. Masks have no gradient here, and neither has
/// [`Attended::lse`].
///
/// # Shapes
/// - `[q, k, v]`, `mask`, `scale`: those of [`sdpa_masked`]
/// - `attended`: what it returned
/// - `gradient`: the shape and dtype of `q`
/// - returns: [`Gradients`]
///
/// # Numerics
/// As [`sdpa_masked`], with sums over all queries of a group for `k` and `v`. The gradient of a score is a difference that vanishes where
/// one weight is 1; its error stays that of the terms. f16 gradients of queries and keys are within 1e-3 of the largest, because the
/// result that they need was rounded; with matrices (see [`sdpa_masked`]) 2e-3, and those of values 1e-3.
///
/// # Errors
/// As [`sdpa_masked`].
///
/// # Source
/// Written from the formula: with the weights `p` and the gradient `g` of the result, `dv = pᵀ g`, `ds = p (g vᵀ - sum(g out))`,
/// `dq = scale ds k`, `dk = scale dsᵀ q`; tiles as in arXiv:2307.08691.
pub fn sdpa_backward(
    [q, k, v]: [&Tensor; 3],
    attended: &Attended,
    gradient: &Tensor,
    mask: Mask<'_>,
    scale: f32,
) -> Result<Gradients, OpError> {
    let extents = Extents::of(BACKWARD, [q, k, v])?;
    let layout = mask.layout(BACKWARD, &extents)?;
    check_scale(BACKWARD, scale)?;
    let Attended { out, lse } = attended;
    for (name, tensor) in [("out", out), ("gradient", gradient)] {
        if tensor.shape() != q.shape() {
            return Err(OpError::shape(BACKWARD, name, format!("{:?}", q.shape()), tensor.shape()));
        }
    }
    let lse_shape = [extents.batch, extents.heads, extents.queries];
    if lse.shape() != lse_shape {
        return Err(OpError::shape(BACKWARD, "lse", format!("{lse_shape:?}"), lse.shape()));
    }
    let mut arguments = vec![("q", q, Holds::Float), ("k", k, Holds::Float), ("v", v, Holds::Float)];
    arguments.extend([("out", out, Holds::Float), ("lse", lse, Holds::F32)]);
    arguments.push(("gradient", gradient, Holds::Float));
    arguments.extend(mask.argument());
    let place = place(BACKWARD, &arguments)?;
    let bands = mask.bands(gpu_of(&place))?;
    let problem = Problem { q, k, v, mask, bands: bands.as_ref(), layout, scale, extents };
    match place {
        Place::Cpu => {
            let [dq, dk, dv] = cpu::backward(&problem, attended, gradient);
            Ok(Gradients { q: on_cpu(q.shape(), dq), k: on_cpu(k.shape(), dk), v: on_cpu(v.shape(), dv) })
        }
        Place::Gpu(gpu) => gpu::backward(&gpu, &problem, attended, gradient),
    }
}

fn gpu_of(place: &Place) -> Option<&Gpu> {
    match place {
        Place::Cpu => None,
        Place::Gpu(gpu) => Some(gpu),
    }
}

fn check_scale(op: &'static str, scale: f32) -> Result<(), OpError> {
    if scale.is_finite() { Ok(()) } else { Err(OpError::value(op, "scale", "a finite number", scale)) }
}

/// What is computed, checked but for device and dtype.
#[derive(Clone, Copy)]
struct Problem<'a> {
    q: &'a Tensor,
    k: &'a Tensor,
    v: &'a Tensor,
    mask: Mask<'a>,
    /// Those of [`Mask::Segments`].
    bands: Option<&'a Bands>,
    layout: Layout,
    scale: f32,
    extents: Extents,
}

impl<'a> Problem<'a> {
    fn dtype(&self) -> DType {
        self.q.dtype()
    }

    /// What kernels of a GPU read of the mask.
    fn mask_tensor(&self) -> Option<&'a Tensor> {
        self.mask.tensor().or_else(|| self.bands?.uploaded.as_ref())
    }
}

#[derive(Clone, Copy, Debug)]
struct Extents {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Extents {
    fn of(op: &'static str, [q, k, v]: [&Tensor; 3]) -> Result<Self, OpError> {
        let &[batch, queries, heads, head_dim] = q.shape() else {
            return Err(OpError::shape(op, "q", "[batch, queries, heads, head_dim]", q.shape()));
        };
        if heads == 0 || !(1..=MOST_HEAD_DIM).contains(&head_dim) {
            let expected =
                format!("[.., heads, head_dim] with heads, and head_dim from 1 to {MOST_HEAD_DIM}");
            return Err(OpError::shape(op, "q", expected, q.shape()));
        }
        let (keys, kv_heads) = match *k.shape() {
            [b, keys, h, d] if b == batch && keys > 0 && h > 0 && heads % h == 0 && d == head_dim => {
                (keys, h)
            }
            _ => {
                let expected = format!(
                    "[{batch}, keys, kv_heads, {head_dim}] with at least one key and kv_heads that divide {heads}"
                );
                return Err(OpError::shape(op, "k", expected, k.shape()));
            }
        };
        if v.shape() != k.shape() {
            return Err(OpError::shape(op, "v", format!("{:?}", k.shape()), v.shape()));
        }
        Ok(Self { batch, queries, keys, heads, kv_heads, head_dim })
    }

    /// Heads of queries for each head of keys.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}
