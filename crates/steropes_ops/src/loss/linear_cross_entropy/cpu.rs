//! A chunk of rows at a time: logits by one product, their gradient row by row, then two products, one for each argument. All
//! three are shared among threads by the product; the chunk's gradient is turned over in squares that fit L1.

use super::LinearCrossEntropy;
use crate::cpu::Activation;
use crate::error::{OpError, on_cpu, values};
use crate::linalg::linear::{LinearWeights, linear, linear_add};
use crate::loss::cross_entropy::{CrossEntropyOptions, rows_on_cpu, share_on_cpu};
use rayon::prelude::*;
use steropes_tensor::{Device, Tensor};

pub(super) fn linear_cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    targets: &[i64],
    options: &CrossEntropyOptions,
    chunk: usize,
) -> Result<LinearCrossEntropy, OpError> {
    let [classes, width] = [weight.shape()[0], weight.shape()[1]];
    let forward = LinearWeights::pack(weight, None)?;
    let backward = LinearWeights::pack(&turned(values(weight), width), None)?;
    let share = share_on_cpu(targets, options);
    let mut loss = 0.0;
    let mut x_gradient: Vec<f32> = Vec::with_capacity(x.len());
    let mut weight_gradient = Tensor::zeros::<f32>(&Device::Cpu, &[classes, width]);
    for (x, targets) in values::<f32>(x).chunks(chunk * width).zip(targets.chunks(chunk)) {
        let rows = on_cpu(&[targets.len(), width], x.to_vec());
        let logits = linear(&rows, &forward, Activation::Identity)?;
        let (losses, gradient) = rows_on_cpu(values(&logits), targets, classes, options, share as f32);
        drop(logits);
        loss += losses;
        x_gradient.extend_from_slice(values(&linear(&gradient, &backward, Activation::Identity)?));
        let rows = LinearWeights::pack(&turned(x, width), None)?;
        weight_gradient = linear_add(weight_gradient, &turned(values(&gradient), classes), &rows)?;
    }
    Ok(LinearCrossEntropy {
        loss: on_cpu(&[], vec![(loss * share) as f32]),
        x_gradient: on_cpu(x.shape(), x_gradient),
        weight_gradient,
    })
}

/// Values on a side of a square.
const SIDE: usize = 32;

/// The matrix of rows of `columns` values with rows and columns exchanged.
fn turned(matrix: &[f32], columns: usize) -> Tensor {
    let rows = matrix.len() / columns;
    let mut out = vec![0.0; matrix.len()];
    out.par_chunks_mut((SIDE * rows).max(1)).enumerate().for_each(|(band, out)| {
        for first in (0..rows).step_by(SIDE) {
            for (c, out) in out.chunks_exact_mut(rows).enumerate() {
                for row in first..(first + SIDE).min(rows) {
                    out[row] = matrix[row * columns + band * SIDE + c];
                }
            }
        }
    });
    on_cpu(&[columns, rows], out)
}
