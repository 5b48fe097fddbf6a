//! Matching losses weighted by the confidence that a network gives them.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::reduction::check_gradient;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "loss::conf_matching_loss";

/// How the confidences of both descriptors of a match become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConfidenceMode {
    /// Their mean.
    #[default]
    Mean,
    /// Their product.
    Product,
}

/// Options of [`conf_matching_loss`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfMatchingOptions {
    /// The weight of the logarithm of a confidence.
    pub alpha: f32,
    /// How two confidences become one.
    pub mode: ConfidenceMode,
    /// Which quantile of the losses the confidences of what is no match are weighted by; without one they do not count.
    pub negative_quantile: Option<f32>,
}

impl Default for ConfMatchingOptions {
    /// Those of MASt3R's training: 10, the mean, matches only.
    fn default() -> Self {
        Self { alpha: 10.0, mode: ConfidenceMode::Mean, negative_quantile: None }
    }
}

/// The mean of `q loss - alpha log q` over the matches, `q` being their confidence; with a quantile, also the mean of
/// `loss_quantile c - alpha log c` over the confidences `c` of both descriptors of what is no match.
///
/// # Shapes
/// - `loss`: `[.., rows]`, f32
/// - `confidences`: two tensors of the shape of `loss`, above 0, f32, on a GPU also f16
/// - `valid`: the shape of `loss`, u8: which rows are matches
/// - returns: `[]`, f32
///
/// # Numerics
/// f32, sums on the CPU in f64; within 2e-6 of the mean magnitude of both terms. A mean of nothing is 0. A quantile between two losses lies between them
/// in proportion; it has no gradient.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Value`] if `alpha` is not a finite number
/// from 0 on or the quantile not from 0 to 1, [`OpError::Unsupported`] on a GPU if a tensor does not fit one binding.
///
/// # Source
/// arXiv:2406.09756, section 3.2; written from its formula.
pub fn conf_matching_loss(
    loss: &Tensor,
    confidences: [&Tensor; 2],
    valid: &Tensor,
    options: &ConfMatchingOptions,
) -> Result<Tensor, OpError> {
    check(loss, confidences, valid, options)?;
    match place(OP, &arguments(loss, confidences, valid))? {
        Place::Cpu => {
            let problem = cpu::Problem::new(values(loss), confidences.map(values), values(valid), options);
            Ok(on_cpu(&[], vec![problem.forward()]))
        }
        Place::Gpu(gpu) => gpu::forward(&gpu, loss, confidences, valid, options),
    }
}

/// The gradients of [`conf_matching_loss`] for `loss` and both confidences.
///
/// # Shapes
/// - `grad`: `[]`, f32
/// - returns: three tensors of the shape of `loss`, f32 and in the dtype of the confidences
///
/// # Numerics
/// As [`conf_matching_loss`]; within `Tolerance::OfLargest(3e-6)`, f16 results are rounded once more.
///
/// # Errors
/// As [`conf_matching_loss`].
///
/// # Source
/// Written from the formula.
pub fn conf_matching_loss_backward(
    grad: &Tensor,
    loss: &Tensor,
    confidences: [&Tensor; 2],
    valid: &Tensor,
    options: &ConfMatchingOptions,
) -> Result<[Tensor; 3], OpError> {
    check(loss, confidences, valid, options)?;
    check_gradient(OP, grad, &[])?;
    let mut arguments = arguments(loss, confidences, valid);
    arguments.push(("grad", grad, Holds::F32));
    match place(OP, &arguments)? {
        Place::Cpu => {
            let problem = cpu::Problem::new(values(loss), confidences.map(values), values(valid), options);
            let gradients = problem.backward(values::<f32>(grad)[0]);
            Ok(gradients.map(|gradient| on_cpu(loss.shape(), gradient)))
        }
        Place::Gpu(gpu) => gpu::backward(&gpu, grad, loss, confidences, valid, options),
    }
}

fn arguments<'a>(
    loss: &'a Tensor,
    [first, second]: [&'a Tensor; 2],
    valid: &'a Tensor,
) -> Vec<(&'static str, &'a Tensor, Holds)> {
    vec![
        ("loss", loss, Holds::F32),
        ("confidences[0]", first, Holds::Float),
        ("confidences[1]", second, Holds::Float),
        ("valid", valid, Holds::Mask),
    ]
}

fn check(
    loss: &Tensor,
    [first, second]: [&Tensor; 2],
    valid: &Tensor,
    options: &ConfMatchingOptions,
) -> Result<(), OpError> {
    for (name, tensor) in [("confidences[0]", first), ("confidences[1]", second), ("valid", valid)] {
        if tensor.shape() != loss.shape() {
            return Err(OpError::shape(OP, name, format!("{:?}", loss.shape()), tensor.shape()));
        }
    }
    if !(options.alpha.is_finite() && options.alpha >= 0.0) {
        return Err(OpError::value(OP, "alpha", "a finite number from 0 on", options.alpha));
    }
    match options.negative_quantile {
        Some(q) if !(0.0..=1.0).contains(&q) => {
            Err(OpError::value(OP, "negative_quantile", "from 0 to 1", q))
        }
        _ => Ok(()),
    }
}
