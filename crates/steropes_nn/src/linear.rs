//! The linear layer.

use crate::{LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::linalg::linear::{self, Activation, LinearWeights};
use steropes_tensor::Tensor;

/// `x Wᵀ + b`, from the parameters `weight` and `bias`.
#[derive(Debug, Clone)]
pub struct Linear {
    packed: LinearWeights,
}

impl Linear {
    /// Reads `weight` `[outputs, inputs]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load(weights: &Weights<'_>, inputs: usize, outputs: usize) -> Result<Self, LoadError> {
        let weight = weights.factor("weight", &[outputs, inputs])?;
        Self::pack(weights, &weight, &weights.tensor("bias", &[outputs])?)
    }

    /// Reads the parameters of a 1x1 convolution, which is a linear layer on the channels of each pixel: `weight`
    /// `[outputs, inputs, 1, 1]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load_pointwise(weights: &Weights<'_>, inputs: usize, outputs: usize) -> Result<Self, LoadError> {
        let weight = weights.factor("weight", &[outputs, inputs, 1, 1])?;
        let weight = weight.reshape(&[outputs, inputs]).expect("extents of 1 hold no elements");
        Self::pack(weights, &weight, &weights.tensor("bias", &[outputs])?)
    }

    /// Splits `weight` `[3 width, width]` and `bias` `[3 width]` into the three layers of their rows, so that
    /// queries, keys and values come out as three tensors.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load_thirds(weights: &Weights<'_>, width: usize) -> Result<[Self; 3], LoadError> {
        let weight = weights.values("weight", &[3 * width, width])?;
        let bias = weights.values("bias", &[3 * width])?;
        let third = |i: usize| {
            let rows = weight[i * width * width..][..width * width].to_vec();
            let rows = weights.upload_factor("weight", &[width, width], rows)?;
            let shift = bias[i * width..][..width].to_vec();
            let shift = weights.upload("bias", &[width], shift)?;
            Self::pack(weights, &rows, &shift)
        };
        Ok([third(0)?, third(1)?, third(2)?])
    }

    /// Layers on a GPU may hold their factors in f16; the bias is always f32.
    fn pack(weights: &Weights<'_>, weight: &Tensor, bias: &Tensor) -> Result<Self, LoadError> {
        let packed = LinearWeights::pack(weight, Some(bias)).map_err(|e| weights.refused(e))?;
        Ok(Self { packed })
    }

    /// `x Wᵀ + b`: `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`OpError`] if `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, OpError> {
        linear::linear(x, &self.packed, Activation::Identity)
    }

    /// `activation(x Wᵀ + b)`: `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`OpError`] if `x` does not fit.
    pub fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor, OpError> {
        linear::linear(x, &self.packed, activation)
    }

    /// `residual + x Wᵀ + b`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward_add(&self, residual: Tensor, x: &Tensor) -> Result<Tensor, OpError> {
        linear::linear_add(residual, x, &self.packed)
    }
}
