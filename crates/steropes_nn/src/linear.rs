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

    /// Reads a layer whose outputs, as many as `scale` has values, are multiplied by it: `weight` `[outputs, inputs]` and `bias`
    /// `[outputs]`. Each product is rounded once.
    ///
    /// # Errors
    /// As [`Linear::load`], and [`LoadError::TooLarge`] if a product does not fit the precision.
    pub fn load_scaled(weights: &Weights<'_>, inputs: usize, scale: &[f32]) -> Result<Self, LoadError> {
        let outputs = scale.len();
        let mut rows = weights.values("weight", &[outputs, inputs])?;
        let mut shifts = weights.values("bias", &[outputs])?;
        for ((row, shift), factor) in rows.chunks_exact_mut(inputs).zip(&mut shifts).zip(scale) {
            row.iter_mut().for_each(|weight| *weight *= factor);
            *shift *= factor;
        }
        let weight = weights.upload_factor("weight", &[outputs, inputs], rows)?;
        Self::pack(weights, &weight, &weights.upload("bias", &[outputs], shifts)?)
    }

    /// Reads the parameters of a 1x1 convolution, which is a linear layer on the channels of each pixel: `weight`
    /// `[outputs, inputs, 1, 1]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load_pointwise(weights: &Weights<'_>, inputs: usize, outputs: usize) -> Result<Self, LoadError> {
        let weight = weights.without_bf16().factor("weight", &[outputs, inputs, 1, 1])?;
        let weight = weight.reshape(&[outputs, inputs]).expect("extents of 1 hold no elements");
        Self::pack(weights, &weight, &weights.tensor("bias", &[outputs])?)
    }

    /// Reads several layers of the same inputs, each of `outputs` outputs, as one whose outputs lie side by side.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as in [`Linear::load`].
    pub fn load_joined<const N: usize>(
        weights: &Weights<'_>,
        names: [&str; N],
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, LoadError> {
        let (mut rows, mut shifts) = (Vec::new(), Vec::new());
        for part in names.map(|name| weights.at(name)) {
            let weight = part.values("weight", &[outputs, inputs])?;
            part.check_factor("weight", &weight)?;
            rows.extend(weight);
            shifts.extend(part.values("bias", &[outputs])?);
        }
        let first = weights.at(names[0]);
        let weight = first.upload_factor("weight", &[N * outputs, inputs], rows)?;
        let bias = first.upload("bias", &[N * outputs], shifts)?;
        Self::pack(&first, &weight, &bias)
    }

    /// Factors may be f16 on a GPU and bf16 on the CPU; the bias is always f32.
    fn pack(weights: &Weights<'_>, weight: &Tensor, bias: &Tensor) -> Result<Self, LoadError> {
        let packed = LinearWeights::pack(weight, Some(bias)).map_err(|e| weights.refused(e))?;
        Ok(Self { packed })
    }

    /// Whether products with it may round their rows to bf16, so that what is computed around it may be as rough.
    pub(crate) fn rounds_rows(&self) -> bool {
        self.packed.rounds_rows()
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
