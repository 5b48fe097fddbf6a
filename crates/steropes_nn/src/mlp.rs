//! The two-layer perceptron of a transformer block.

use crate::{Linear, LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::linalg::linear::Activation;
use steropes_tensor::Tensor;

/// `fc2(gelu(fc1(x)))`, from the parameters of `fc1` and `fc2`.
#[derive(Debug, Clone)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// Reads `fc1` (`inputs` to `hidden`) and `fc2` (`hidden` to `outputs`).
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        inputs: usize,
        hidden: usize,
        outputs: usize,
    ) -> Result<Self, LoadError> {
        let fc1 = Linear::load(&weights.at("fc1"), inputs, hidden)?;
        Ok(Self { fc1, fc2: Linear::load(&weights.at("fc2"), hidden, outputs)? })
    }

    /// [`Mlp::load`] whose outputs, as many as `scale` has values, are multiplied by it.
    ///
    /// # Errors
    /// As [`Mlp::load`], and [`LoadError::TooLarge`] if a product does not fit the precision.
    pub fn load_scaled(
        weights: &Weights<'_>,
        inputs: usize,
        hidden: usize,
        scale: &[f32],
    ) -> Result<Self, LoadError> {
        let fc1 = Linear::load(&weights.at("fc1"), inputs, hidden)?;
        Ok(Self { fc1, fc2: Linear::load_scaled(&weights.at("fc2"), hidden, scale)? })
    }

    /// [`Mlp::load`] with `fc2` in [`WeightType::finer`](crate::WeightType::finer).
    ///
    /// # Errors
    /// As [`Mlp::load`].
    pub fn load_with_finer_outputs(
        weights: &Weights<'_>,
        inputs: usize,
        hidden: usize,
        outputs: usize,
    ) -> Result<Self, LoadError> {
        let fc1 = Linear::load(&weights.at("fc1"), inputs, hidden)?;
        Ok(Self { fc1, fc2: Linear::load(&weights.at("fc2").in_finer_type(), hidden, outputs)? })
    }

    /// `fc2(gelu(fc1(x)))`: `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`OpError`] if `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, OpError> {
        self.fc2.forward(&self.fc1.forward_activated(x, Activation::Gelu)?)
    }

    /// `residual + fc2(gelu(fc1(x)))`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward_add(&self, residual: Tensor, x: &Tensor) -> Result<Tensor, OpError> {
        self.fc2.forward_add(residual, &self.fc1.forward_activated(x, Activation::Gelu)?)
    }
}
