//! One product, then a rearrangement.

use crate::error::{OpError, on_cpu, values};
use crate::linalg::linear::{Activation, LinearWeights, linear};
use rayon::prelude::*;
use steropes_tensor::Tensor;

/// Rows (tap, output) of a product: one pixel in gives kernel x kernel pixels out.
pub(super) fn pack(
    weight: &[f32],
    bias: &[f32],
    [inputs, outputs, kernel]: [usize; 3],
) -> Result<LinearWeights, OpError> {
    let taps = kernel * kernel;
    let mut rows = vec![0.0; weight.len()];
    for i in 0..inputs {
        for o in 0..outputs {
            for t in 0..taps {
                rows[(t * outputs + o) * inputs + i] = weight[(i * outputs + o) * taps + t];
            }
        }
    }
    LinearWeights::pack(
        &on_cpu(&[taps * outputs, inputs], rows),
        Some(&on_cpu(&[taps * outputs], bias.repeat(taps))),
    )
}

/// The result, of shape `shape`.
pub(super) fn conv_transpose2d(
    x: &Tensor,
    weights: &LinearWeights,
    shape: [usize; 4],
    k: usize,
) -> Result<Vec<f32>, OpError> {
    let taps = linear(x, weights, Activation::Identity)?; // [batch, height, width, k k outputs]
    let source = values::<f32>(&taps);
    let (width, outputs) = (shape[2] / k, shape[3]);
    let mut y = vec![0.0; shape.iter().product()];
    let row_len = k * width * outputs;
    y.par_chunks_mut(row_len.max(1)).enumerate().for_each(|(row, y)| {
        let (source_row, r) = (row / k, row % k);
        for (col, y) in y.chunks_exact_mut(k * outputs).enumerate() {
            let pixel = &source[(source_row * width + col) * k * k * outputs..][..k * k * outputs];
            y.copy_from_slice(&pixel[r * k * outputs..][..k * outputs]);
        }
    });
    Ok(y)
}
