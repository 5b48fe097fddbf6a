//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Finish, GROUP_VALUES, bind, finish_sums, group_header, mask_header, one_binding};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

pub(super) fn conf_loss(
    gpu: &Gpu,
    loss: &Tensor,
    confidence: &Tensor,
    mask: &Tensor,
    alpha: f32,
) -> Result<Tensor, OpError> {
    one_binding(OP, gpu, &[loss, confidence, mask])?;
    let pairs = Tensor::on_gpu(gpu, OP, DType::F32, &[groups(loss), 2])?;
    let header = header(Header::new().element(confidence.dtype()));
    let kernel = Kernel::new("conf_loss", &header, include_str!("conf_loss.wgsl"));
    let bindings = [bind(loss), bind(confidence), bind(mask), bind(&pairs)];
    gpu.launch(&kernel, &bindings, &[loss.len() as u32, alpha.to_bits()], spread(groups(loss) as u64))?;
    finish_sums(gpu, OP, &pairs, Finish::Mean(0.0))
}

pub(super) fn backward(
    gpu: &Gpu,
    grad: &Tensor,
    loss: &Tensor,
    confidence: &Tensor,
    mask: &Tensor,
    alpha: f32,
) -> Result<[Tensor; 2], OpError> {
    one_binding(OP, gpu, &[loss, confidence, mask])?;
    let count = mask_count(gpu, OP, mask)?;
    let by_loss = Tensor::on_gpu(gpu, OP, DType::F32, loss.shape())?;
    let by_confidence = Tensor::on_gpu(gpu, OP, confidence.dtype(), loss.shape())?;
    let header = mask_header(Header::new().element(confidence.dtype()), "mask");
    let kernel = Kernel::new("conf_loss_backward", &header, include_str!("backward.wgsl"));
    let bindings = [
        bind(grad),
        bind(&count),
        bind(loss),
        bind(confidence),
        bind(mask),
        bind(&by_loss),
        bind(&by_confidence),
    ];
    let params = [loss.len() as u32, alpha.to_bits()];
    gpu.launch(&kernel, &bindings, &params, spread(loss.len().div_ceil(256) as u64))?;
    Ok([by_loss, by_confidence])
}

/// How many places a mask has, as one f32.
pub(in crate::loss) fn mask_count(gpu: &Gpu, op: &'static str, mask: &Tensor) -> Result<Tensor, OpError> {
    let pairs = Tensor::on_gpu(gpu, op, DType::F32, &[groups(mask), 2])?;
    let kernel = Kernel::new("mask_count", &header(Header::new()), include_str!("mask_count.wgsl"));
    gpu.launch(&kernel, &[bind(mask), bind(&pairs)], &[mask.len() as u32], spread(groups(mask) as u64))?;
    finish_sums(gpu, op, &pairs, Finish::Sum(1.0))
}

/// Workgroups that sum over a tensor, also over one without elements.
fn groups(tensor: &Tensor) -> usize {
    tensor.len().div_ceil(GROUP_VALUES).max(1)
}

fn header(header: Header) -> Header {
    mask_header(group_header(header), "mask")
}
