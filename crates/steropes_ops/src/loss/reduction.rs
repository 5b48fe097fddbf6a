//! What becomes of the losses of rows or elements.

use crate::error::OpError;
use rayon::prelude::*;
use steropes_tensor::Tensor;

/// What becomes of the losses of rows or elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// They are returned.
    None,
    /// Their mean.
    #[default]
    Mean,
    /// Their sum divided by the first extent, for divergences of distributions.
    BatchMean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// What a sum over elements of a tensor of this shape is multiplied by.
    pub(super) fn factor(self, shape: &[usize]) -> f64 {
        match self {
            Self::None | Self::Sum => 1.0,
            Self::Mean => 1.0 / shape.iter().product::<usize>() as f64,
            Self::BatchMean => 1.0 / shape.first().copied().unwrap_or(1) as f64,
        }
    }

    /// The shape of the result where losses have the shape `losses`.
    pub(super) fn shape(self, losses: &[usize]) -> &[usize] {
        if self == Self::None { losses } else { &[] }
    }
}

/// Refuses a gradient that does not have the shape of the loss.
pub(super) fn check_gradient(op: &'static str, grad: &Tensor, shape: &[usize]) -> Result<(), OpError> {
    if grad.shape() == shape {
        return Ok(());
    }
    Err(OpError::shape(op, "grad", format!("{shape:?} as the loss"), grad.shape()))
}

/// Elements that are added up one after another.
const CHUNK: usize = 1 << 14;

/// The sums of `terms(i)` for all `i` below `count`, in f64 and in chunks whose order no number of threads changes.
pub(super) fn sums<const N: usize>(count: usize, terms: impl Fn(usize) -> [f64; N] + Sync) -> [f64; N] {
    let add = |a: [f64; N], b: [f64; N]| -> [f64; N] { std::array::from_fn(|k| a[k] + b[k]) };
    let chunk =
        |first: usize| (first..(first + CHUNK).min(count)).fold([0.0; N], |sum, i| add(sum, terms(i)));
    let chunks: Vec<[f64; N]> =
        (0..count.div_ceil(CHUNK)).into_par_iter().map(|c| chunk(c * CHUNK)).collect();
    chunks.into_iter().fold([0.0; N], add)
}
