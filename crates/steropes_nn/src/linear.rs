//! The linear layer.

use crate::{LoadError, WeightType, Weights};
use steropes_ops::OpError;
use steropes_ops::linalg::linear::{self, Activation, LinearWeights, Weight};
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
        let (shape, bias) = ([outputs, inputs], weights.tensor("bias", &[outputs])?);
        if let Some(format) = weights.precision().blocks() {
            return Self::pack(weights, &weights.blocks("weight", shape, format)?, &bias);
        }
        let values = weights.values("weight", &shape)?;
        Self::pack_values(weights, &weights.upload_matrix("weight", shape, values)?, &bias)
    }

    /// Reads a layer whose outputs, as many as `scale` has values, are multiplied by it: `weight` `[outputs, inputs]` and `bias`
    /// `[outputs]`. Each product is rounded once; of weights in blocks those of the scales, after they are quantised.
    ///
    /// # Errors
    /// As [`Linear::load`], and [`LoadError::TooLarge`] or, of blocks, [`LoadError::Op`] if a product does not fit the precision.
    pub fn load_scaled(weights: &Weights<'_>, inputs: usize, scale: &[f32]) -> Result<Self, LoadError> {
        let outputs = scale.len();
        let shape = [outputs, inputs];
        let mut shifts = weights.values("bias", &[outputs])?;
        shifts.iter_mut().zip(scale).for_each(|(shift, factor)| *shift *= factor);
        let bias = weights.upload("bias", &[outputs], shifts)?;
        if let Some(format) = weights.precision().blocks() {
            let mut blocks = weights.blocks("weight", shape, format)?;
            blocks.scale_rows(scale).map_err(|error| weights.refused(error))?;
            return Self::pack(weights, &blocks, &bias);
        }
        let mut rows = weights.values("weight", &shape)?;
        for (row, factor) in rows.chunks_exact_mut(inputs).zip(scale) {
            row.iter_mut().for_each(|weight| *weight *= factor);
        }
        Self::pack_values(weights, &weights.upload_matrix("weight", shape, rows)?, &bias)
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
        let (parts, first) = (names.map(|name| weights.at(name)), weights.at(names[0]));
        let mut shifts = Vec::new();
        for part in &parts {
            shifts.extend(part.values("bias", &[outputs])?);
        }
        let bias = first.upload("bias", &[N * outputs], shifts)?;
        let shape = [outputs, inputs];
        if let Some(format) = weights.precision().blocks() {
            let mut joined = parts[0].blocks("weight", shape, format)?;
            for part in &parts[1..] {
                let more = part.blocks("weight", shape, format)?;
                joined = joined.followed_by(more).expect("parts of one format and shape");
            }
            return Self::pack(&first, &joined, &bias);
        }
        let mut rows = Vec::new();
        for part in &parts {
            let weight = part.values("weight", &shape)?;
            part.check_factor("weight", &weight)?;
            rows.extend(weight);
        }
        Self::pack_values(&first, &first.upload_matrix("weight", [N * outputs, inputs], rows)?, &bias)
    }

    /// A weight from [`Weights::upload_matrix`].
    fn pack_values(weights: &Weights<'_>, values: &Tensor, bias: &Tensor) -> Result<Self, LoadError> {
        let is_int8 = weights.precision() == WeightType::Int8;
        Self::pack(weights, if is_int8 { Weight::Int8(values) } else { Weight::Values(values) }, bias)
    }

    /// The bias is always f32.
    fn pack<'a>(
        weights: &Weights<'_>,
        weight: impl Into<Weight<'a>>,
        bias: &Tensor,
    ) -> Result<Self, LoadError> {
        let packed = LinearWeights::pack(weight, Some(bias)).map_err(|e| weights.refused(e))?;
        Ok(Self { packed })
    }

    /// Whether products with it may round their rows to bf16 or int8, so that what is computed around it may be as rough.
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
