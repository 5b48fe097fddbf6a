//! Averages over views, weighted by confidence.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "geometry::weighted_average";

/// `Σ w x / Σ w` over the views, for each element, and `Σ w`.
///
/// A weight that is not positive and finite counts as 0, and the value beside it is not looked at, so it may be NaN. Where no
/// weight is left, the average is `fill` and the sum 0.
///
/// # Shapes
/// - `x`: `[views, .., channels]`, f32, for example pointmaps `[views, height, width, 3]` or depths `[views, height, width, 1]`
/// - `weights`: `[views, ..]`, f32: one for all channels
/// - returns: averages `[.., channels]` and sums of weights `[..]`
///
/// # Numerics
/// Sums in f32 in the order of the views; within `Tolerance::Sum { depth: views }` of the largest value. Weights and products should
/// stay within f32: a sum that overflows gives an infinite sum and a meaningless average.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Unsupported`] if the
/// channels of one element are more than what a GPU can bind at once. Nothing is computed then.
///
/// # Source
/// MASt3R-SfM, arXiv:2409.19152, section 3.2 (averages of pointmaps). Written from the formula.
pub fn weighted_average(x: &Tensor, weights: &Tensor, fill: f32) -> Result<(Tensor, Tensor), OpError> {
    let (views, middle, channels) = match x.shape() {
        &[views, ref middle @ .., channels] if channels > 0 => (views, middle, channels),
        shape => return Err(OpError::shape(OP, "x", "[views, .., channels] with a channel", shape)),
    };
    let rows = [&[views], middle].concat();
    if weights.shape() != rows {
        return Err(OpError::shape(OP, "weights", format!("{rows:?}"), weights.shape()));
    }
    let shape = [middle, &[channels]].concat();
    match place(OP, &[("x", x, Holds::F32), ("weights", weights, Holds::F32)])? {
        Place::Cpu => {
            let sizes = [views, middle.iter().product(), channels];
            let (mean, sum) = cpu::weighted_average(values(x), values(weights), sizes, fill);
            Ok((on_cpu(&shape, mean), on_cpu(middle, sum)))
        }
        Place::Gpu(gpu) => gpu::weighted_average(&gpu, x, weights, fill),
    }
}
