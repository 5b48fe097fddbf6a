//! The normalisation layer.

use crate::{LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::norm::layer_norm::layer_norm;
use steropes_tensor::Tensor;

/// Layer normalisation over the last axis, from the parameters `weight` and `bias`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Reads `weight` and `bias`, both `[width]`; `eps` is added to the variance.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load(weights: &Weights<'_>, width: usize, eps: f32) -> Result<Self, LoadError> {
        let (weight, bias) = (weights.tensor("weight", &[width])?, weights.tensor("bias", &[width])?);
        Ok(Self { weight, bias, eps })
    }

    /// The normalised `x`, of the same shape `[.., width]`.
    ///
    /// # Errors
    /// [`OpError`] if `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, OpError> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}
