//! Transposed convolution whose kernel equals its stride.

pub(crate) mod bench;
mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use crate::linalg::linear::{Activation, LinearWeights, linear};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "vision::conv_transpose2d";

/// The weights of a transposed convolution with `kernel = stride` and no padding.
#[derive(Debug, Clone)]
pub struct ConvTranspose2dWeights {
    product: LinearWeights,
    outputs: usize,
    kernel: usize,
}

impl ConvTranspose2dWeights {
    /// Packs `weight` `[inputs, outputs, kernel, kernel]` (f32) and `bias` `[outputs]`.
    ///
    /// # Errors
    /// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above.
    pub fn pack(weight: &Tensor, bias: &Tensor) -> Result<Self, OpError> {
        let (inputs, outputs, kernel) = match *weight.shape() {
            [inputs, outputs, kernel, width] if kernel == width && !weight.is_empty() => {
                (inputs, outputs, kernel)
            }
            _ => {
                let expected = "[inputs, outputs, kernel, kernel], no extent 0";
                return Err(OpError::shape(OP, "weight", expected, weight.shape()));
            }
        };
        let values = host::<f32>(OP, "weight", weight)?;
        if bias.shape() != [outputs] {
            return Err(OpError::shape(OP, "bias", format!("[{outputs}]"), bias.shape()));
        }
        let bias = host::<f32>(OP, "bias", bias)?;
        // Row (tap, output) of the product: one pixel in gives kernel x kernel pixels out.
        let taps = kernel * kernel;
        let mut rows = vec![0.0; values.len()];
        for i in 0..inputs {
            for o in 0..outputs {
                for t in 0..taps {
                    rows[(t * outputs + o) * inputs + i] = values[(i * outputs + o) * taps + t];
                }
            }
        }
        let product = LinearWeights::pack(
            &on_cpu(&[taps * outputs, inputs], rows),
            Some(&on_cpu(&[taps * outputs], bias.repeat(taps))),
        )?;
        Ok(Self { product, outputs, kernel })
    }
}

/// `y[k row + r, k col + c, o] = b[o] + Σ x[row, col, i] w[i, o, r, c]`.
///
/// # Shapes
/// - `x`: `[batch, height, width, inputs]`, f32
/// - returns: `[batch, k height, k width, outputs]`
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` does not fit the weights.
///
/// # Source
/// Written from the formula: a matrix product followed by a rearrangement.
pub fn conv_transpose2d(x: &Tensor, weights: &ConvTranspose2dWeights) -> Result<Tensor, OpError> {
    let inputs = weights.product.inputs();
    let (batch, height, width) = match *x.shape() {
        [batch, height, width, channels] if channels == inputs => (batch, height, width),
        _ => {
            let expected = format!("[batch, height, width, {inputs}]");
            return Err(OpError::shape(OP, "x", expected, x.shape()));
        }
    };
    host::<f32>(OP, "x", x)?;
    let taps = linear(x, &weights.product, Activation::Identity)?; // [batch, height, width, k k outputs]
    let (k, outputs) = (weights.kernel, weights.outputs);
    let shape = [batch, k * height, k * width, outputs];
    let source = host::<f32>(OP, "x", &taps)?;
    let mut y = vec![0.0; shape.iter().product()];
    let row_len = k * width * outputs;
    y.par_chunks_mut(row_len.max(1)).enumerate().for_each(|(row, y)| {
        let (source_row, r) = (row / k, row % k);
        for (col, y) in y.chunks_exact_mut(k * outputs).enumerate() {
            let pixel = &source[(source_row * width + col) * k * k * outputs..][..k * k * outputs];
            y.copy_from_slice(&pixel[r * k * outputs..][..k * outputs]);
        }
    });
    Ok(on_cpu(&shape, y))
}
