//! Launches.

use super::{ConfMatchingOptions, ConfidenceMode, OP};
use crate::elementwise::add::add;
use crate::error::OpError;
use crate::gpu::{Finish, GROUP_VALUES, bind, finish_sums, group_header, mask_header, one_binding};
use crate::loss::conf_loss::gpu::mask_count;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

pub(super) fn forward(
    gpu: &Gpu,
    loss: &Tensor,
    [first, second]: [&Tensor; 2],
    valid: &Tensor,
    options: &ConfMatchingOptions,
) -> Result<Tensor, OpError> {
    one_binding(OP, gpu, &[loss, first, second, valid])?;
    let count = mask_count(gpu, OP, valid)?;
    let quantile = quantile(gpu, loss, valid, &count, options)?;
    let groups = loss.len().div_ceil(GROUP_VALUES).max(1);
    let mean = |negative: bool| -> Result<Tensor, OpError> {
        let pairs = Tensor::on_gpu(gpu, OP, DType::F32, &[groups, 2])?;
        let header = group_header(header(first, options)).flag("NEGATIVE", negative);
        let kernel = Kernel::new("conf_matching_loss", &header, include_str!("sum.wgsl"));
        let bindings = [bind(loss), bind(first), bind(second), bind(valid), bind(&quantile), bind(&pairs)];
        let params = [loss.len() as u32, options.alpha.to_bits()];
        gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?;
        finish_sums(gpu, OP, &pairs, Finish::Mean(0.0))
    };
    let matches = mean(false)?;
    match options.negative_quantile {
        None => Ok(matches),
        Some(_) => add(matches, &mean(true)?),
    }
}

pub(super) fn backward(
    gpu: &Gpu,
    grad: &Tensor,
    loss: &Tensor,
    [first, second]: [&Tensor; 2],
    valid: &Tensor,
    options: &ConfMatchingOptions,
) -> Result<[Tensor; 3], OpError> {
    one_binding(OP, gpu, &[loss, first, second, valid])?;
    let count = mask_count(gpu, OP, valid)?;
    let quantile = quantile(gpu, loss, valid, &count, options)?;
    let by_loss = Tensor::on_gpu(gpu, OP, DType::F32, loss.shape())?;
    // Both confidences' gradients in one array, because kernels have eight.
    let mut shape = vec![2];
    shape.extend(loss.shape());
    let by_both = Tensor::on_gpu(gpu, OP, first.dtype(), &shape)?;
    let header = header(first, options).flag("NEGATIVES", options.negative_quantile.is_some());
    let kernel = Kernel::new("conf_matching_loss_backward", &header, include_str!("backward.wgsl"));
    let scales = scales(gpu, grad, &count, &quantile, valid.len())?;
    let bindings =
        [bind(loss), bind(first), bind(second), bind(valid), bind(&scales), bind(&by_loss), bind(&by_both)];
    let params = [loss.len() as u32, options.alpha.to_bits()];
    gpu.launch(&kernel, &bindings, &params, spread(loss.len().div_ceil(256) as u64))?;
    let half = |k: usize| -> Result<Tensor, OpError> {
        let half = crate::elementwise::copy::copy_rows(&by_both, k..k + 1)?;
        Ok(half.reshape(loss.shape()).expect("a half has the shape of the loss"))
    };
    Ok([by_loss, half(0)?, half(1)?])
}

/// The quantile of the losses of matches, `[1]`; 0 if none is asked for. Each match counts those below it; those that stand on both
/// sides of the place of the quantile say so.
fn quantile(
    gpu: &Gpu,
    loss: &Tensor,
    valid: &Tensor,
    count: &Tensor,
    options: &ConfMatchingOptions,
) -> Result<Tensor, OpError> {
    let zeros = |len: usize| -> Result<Tensor, OpError> {
        let tensor = Tensor::on_gpu(gpu, OP, DType::F32, &[len])?;
        gpu.clear(tensor.gpu_memory().expect("it is on a GPU"))?;
        Ok(tensor)
    };
    let quantile = zeros(1)?;
    let Some(q) = options.negative_quantile else { return Ok(quantile) };
    let sides = zeros(2)?;
    let header = mask_header(Header::new(), "valid");
    let kernel = Kernel::new("conf_matching_ranks", &header, include_str!("ranks.wgsl"));
    let bindings = [bind(loss), bind(valid), bind(count), bind(&sides)];
    let params = [loss.len() as u32, q.to_bits()];
    gpu.launch(&kernel, &bindings, &params, spread(loss.len().div_ceil(64) as u64))?;
    let kernel = Kernel::new("conf_matching_quantile", &Header::new(), include_str!("quantile.wgsl"));
    gpu.launch(&kernel, &[bind(&sides), bind(count), bind(&quantile)], &[q.to_bits()], [1, 1, 1])?;
    Ok(quantile)
}

/// What gradients of matches and of others are multiplied by, and the quantile: `[4]`.
fn scales(
    gpu: &Gpu,
    grad: &Tensor,
    count: &Tensor,
    quantile: &Tensor,
    rows: usize,
) -> Result<Tensor, OpError> {
    let scales = Tensor::on_gpu(gpu, OP, DType::F32, &[4])?;
    let kernel = Kernel::new("conf_matching_scales", &Header::new(), include_str!("scales.wgsl"));
    let bindings = [bind(grad), bind(count), bind(quantile), bind(&scales)];
    gpu.launch(&kernel, &bindings, &[rows as u32], [1, 1, 1])?;
    Ok(scales)
}

fn header(confidence: &Tensor, options: &ConfMatchingOptions) -> Header {
    mask_header(Header::new().element(confidence.dtype()), "valid")
        .flag("PRODUCT", options.mode == ConfidenceMode::Product)
}
