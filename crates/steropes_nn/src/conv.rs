//! Convolution layers.

use crate::{LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::vision::conv_transpose2d::{ConvTranspose2dWeights, conv_transpose2d};
use steropes_ops::vision::conv2d::{Conv2dWeights, ConvOptions, conv2d, resized_conv2d};
use steropes_tensor::Tensor;

/// A convolution on images `[batch, height, width, channels]`, from the parameters `weight` and `bias`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    packed: Conv2dWeights,
}

/// The extents of a convolution layer.
#[derive(Clone, Copy, Debug)]
struct Extents {
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// A 3x3 convolution with one pixel of padding: `weight` `[outputs, inputs, 3, 3]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load_3x3(
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
        stride: usize,
    ) -> Result<Self, LoadError> {
        let extents = Extents { inputs, outputs, kernel: 3, stride, padding: 1 };
        Self::load(weights, "weight", Some("bias"), extents)
    }

    /// A 3x3 convolution with one pixel of padding, stride 1 and no bias, whose weight `[outputs, inputs, 3, 3]` is
    /// the tensor `name`.
    ///
    /// # Errors
    /// [`LoadError`] if the tensor is missing or not as above.
    pub fn load_3x3_unbiased(
        weights: &Weights<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, LoadError> {
        Self::load(weights, name, None, Extents { inputs, outputs, kernel: 3, stride: 1, padding: 1 })
    }

    /// A convolution that turns each `patch x patch` square into one pixel: `weight` `[outputs, inputs, patch,
    /// patch]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load_patches(
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
        patch: usize,
    ) -> Result<Self, LoadError> {
        let extents = Extents { inputs, outputs, kernel: patch, stride: patch, padding: 0 };
        Self::load(weights, "weight", Some("bias"), extents)
    }

    /// [`Conv2d::load_patches`] of `inputs.len()` channels for images that are to be brought to other units first: channel `c` of
    /// the image times `factor` plus `offset`, where `(factor, offset)` is `inputs[c]`. The sums are f64 and rounded once, and a
    /// convolution without padding is linear in its image, so this costs nothing later.
    ///
    /// # Errors
    /// As [`Conv2d::load_patches`].
    pub fn load_patches_of(
        weights: &Weights<'_>,
        inputs: &[(f64, f64)],
        outputs: usize,
        patch: usize,
    ) -> Result<Self, LoadError> {
        let shape = [outputs, inputs.len(), patch, patch];
        let mut kernels = weights.values("weight", &shape)?;
        let mut shifts = weights.values("bias", &[outputs])?;
        let area = patch * patch;
        for (kernel, shift) in kernels.chunks_exact_mut(inputs.len() * area).zip(&mut shifts) {
            let mut sum = f64::from(*shift);
            for (plane, (factor, offset)) in kernel.chunks_exact_mut(area).zip(inputs) {
                for weight in plane {
                    sum += f64::from(*weight) * offset;
                    *weight = (f64::from(*weight) * factor) as f32;
                }
            }
            *shift = sum as f32;
        }
        let weight = weights.upload_factor("weight", &shape, kernels)?;
        let bias = weights.upload("bias", &[outputs], shifts)?;
        Self::pack(weights, &weight, Some(&bias), patch, 0)
    }

    /// A convolution in time and space that turns each `patch x patch` square of `frames` frames into one token, for images whose
    /// channels are those of the frames, one frame after the other: `weight` `[outputs, channels, frames, patch, patch]` and `bias`
    /// `[outputs]`, to which `shift`, as many values, is added. The inputs of a sum are only taken in another order.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    ///
    /// # Panics
    /// If `shift` has another length.
    pub fn load_tubelets(
        weights: &Weights<'_>,
        [channels, frames]: [usize; 2],
        outputs: usize,
        patch: usize,
        shift: Option<&[f32]>,
    ) -> Result<Self, LoadError> {
        let area = patch * patch;
        let stored = weights.values("weight", &[outputs, channels, frames, patch, patch])?;
        let mut kernels = vec![0.0; stored.len()];
        for (to, plane) in kernels.chunks_exact_mut(area.max(1)).enumerate() {
            let (output, frame, channel) = (to / (channels * frames), to / channels % frames, to % channels);
            let from = (output * channels + channel) * frames + frame;
            plane.copy_from_slice(&stored[from * area..][..area]);
        }
        let mut bias = weights.values("bias", &[outputs])?;
        if let Some(shift) = shift {
            assert_eq!(shift.len(), outputs, "a shift for each output");
            bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias += shift);
        }
        let weight = weights.upload_factor("weight", &[outputs, channels * frames, patch, patch], kernels)?;
        let bias = weights.upload("bias", &[outputs], bias)?;
        Self::pack(weights, &weight, Some(&bias), patch, 0)
    }

    fn load(weights: &Weights<'_>, name: &str, bias: Option<&str>, e: Extents) -> Result<Self, LoadError> {
        let weight = weights.factor(name, &[e.outputs, e.inputs, e.kernel, e.kernel])?;
        let bias = bias.map(|bias| weights.tensor(bias, &[e.outputs])).transpose()?;
        Self::pack(weights, &weight, bias.as_ref(), e.stride, e.padding)
    }

    fn pack(
        weights: &Weights<'_>,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
    ) -> Result<Self, LoadError> {
        let packed = Conv2dWeights::pack(weight, bias, stride, padding);
        Ok(Self { packed: packed.map_err(|error| weights.refused(error))? })
    }

    /// The convolved image with the fused steps of `options`.
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward(&self, x: &Tensor, options: ConvOptions<'_>) -> Result<Tensor, OpError> {
        conv2d(x, &self.packed, options)
    }

    /// The image resized bilinearly to `size` (height, width) and convolved; before a 1x1 convolution `pointwise`, rectified.
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward_resized(
        &self,
        x: &Tensor,
        size: [usize; 2],
        pointwise: Option<&Self>,
    ) -> Result<Tensor, OpError> {
        resized_conv2d(x, size, &self.packed, pointwise.map(|pointwise| &pointwise.packed))
    }
}

/// A transposed convolution whose stride is its kernel, from the parameters `weight` and `bias`.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    packed: ConvTranspose2dWeights,
}

impl ConvTranspose2d {
    /// Reads `weight` `[channels, channels, kernel, kernel]` and `bias` `[channels]`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not as above.
    pub fn load(weights: &Weights<'_>, channels: usize, kernel: usize) -> Result<Self, LoadError> {
        let weight = weights.factor("weight", &[channels, channels, kernel, kernel])?;
        let bias = weights.tensor("bias", &[channels])?;
        let packed = ConvTranspose2dWeights::pack(&weight, &bias).map_err(|e| weights.refused(e))?;
        Ok(Self { packed })
    }

    /// `[batch, height, width, channels]` to `[batch, kernel height, kernel width, channels]`.
    ///
    /// # Errors
    /// [`OpError`] if `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, OpError> {
        conv_transpose2d(x, &self.packed)
    }
}
