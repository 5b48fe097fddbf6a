//! A chunk of rows at a time: three products and the two kernels of the cross entropy, all recorded without a wait.

use super::{LinearCrossEntropy, OP};
use crate::cpu::Activation;
use crate::elementwise::cast::cast;
use crate::elementwise::copy::copy_rows;
use crate::error::OpError;
use crate::gpu::{Finish, bind, finish_sums, one_binding};
use crate::linalg::linear::{LinearWeights, linear, linear_add};
use crate::loss::Reduction;
use crate::loss::cross_entropy::{
    CrossEntropyOptions, Scale, logits_gradient, loss_pairs, scalar, valid_rows,
};
use steropes_tensor::{DType, Device, Gpu, Header, Kernel, Tensor};

/// Values on a side of the square that a workgroup turns over.
const SIDE: u32 = 16;

pub(super) fn linear_cross_entropy(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    chunk: usize,
) -> Result<LinearCrossEntropy, OpError> {
    let dtype = x.dtype();
    let device = Device::Gpu(gpu.clone());
    let [x, weight] = [cast(x, DType::F32)?, cast(weight, DType::F32)?];
    let [rows, width] = [x.shape()[0], x.shape()[1]];
    let forward = LinearWeights::pack(&weight, None)?;
    let backward = LinearWeights::pack(&turned(gpu, &weight)?, None)?;
    let one = scalar(&device, 1.0)?;
    let count = match options.reduction {
        Reduction::Mean => Some(valid_rows(gpu, targets, options)?),
        _ => None,
    };
    let scale = count.as_ref().map_or(Scale::One(&one), |count| Scale::Share(&one, count));
    let pairs = Tensor::on_gpu(gpu, OP, DType::F32, &[rows, 2])?;
    let x_gradient = Tensor::on_gpu(gpu, OP, DType::F32, &[rows, width])?;
    let mut weight_gradient = Tensor::on_gpu(gpu, OP, DType::F32, weight.shape())?;
    gpu.clear(weight_gradient.gpu_memory().expect("it is on a GPU"))?;
    for first in (0..rows).step_by(chunk) {
        let part = copy_rows(&x, first..(first + chunk).min(rows))?;
        let logits = linear(&part, &forward, Activation::Identity)?;
        loss_pairs(gpu, &logits, targets, options, first, &pairs)?;
        let gradient = logits_gradient(gpu, &logits, targets, options, first, scale)?;
        drop(logits);
        put_rows(gpu, &linear(&gradient, &backward, Activation::Identity)?, &x_gradient, first)?;
        let rows = LinearWeights::pack(&turned(gpu, &part)?, None)?;
        weight_gradient = linear_add(weight_gradient, &turned(gpu, &gradient)?, &rows)?;
    }
    let finish = if count.is_some() { Finish::Mean(f32::NAN) } else { Finish::Sum(1.0) };
    Ok(LinearCrossEntropy {
        loss: finish_sums(gpu, OP, &pairs, finish)?,
        x_gradient: cast(&x_gradient, dtype)?,
        weight_gradient: cast(&weight_gradient, dtype)?,
    })
}

/// The matrix with rows and columns exchanged.
fn turned(gpu: &Gpu, matrix: &Tensor) -> Result<Tensor, OpError> {
    let [rows, columns] = [matrix.shape()[0], matrix.shape()[1]];
    let out = Tensor::on_gpu(gpu, OP, DType::F32, &[columns, rows])?;
    one_binding(OP, gpu, &[matrix])?;
    let kernel = Kernel::new("turn", &Header::new().count("SIDE", SIDE), include_str!("turn.wgsl"));
    let tiles = |n: usize| n.div_ceil(SIDE as usize) as u32;
    // The squares of a column are so many groups along x, whichever is longer.
    let count = u64::from(tiles(rows)) * u64::from(tiles(columns));
    let params = [rows as u32, columns as u32, tiles(columns)];
    gpu.launch(&kernel, &[bind(matrix), bind(&out)], &params, steropes_tensor::spread(count))?;
    Ok(out)
}

/// Copies `rows` to `out`, from row `first` on.
fn put_rows(gpu: &Gpu, rows: &Tensor, out: &Tensor, first: usize) -> Result<(), OpError> {
    one_binding(OP, gpu, &[rows, out])?;
    let kernel = Kernel::new("put_rows", &Header::new(), include_str!("put_rows.wgsl"));
    let params = [rows.len() as u32, (first * rows.shape()[1]) as u32];
    let groups = steropes_tensor::spread(rows.len().div_ceil(256) as u64);
    Ok(gpu.launch(&kernel, &[bind(rows), bind(out)], &params, groups)?)
}
