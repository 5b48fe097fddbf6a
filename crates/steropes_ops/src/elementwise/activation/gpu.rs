//! Launches, also those of gated activations.

use super::Activation;
use crate::error::OpError;
use crate::gpu::{Packs, destination, destination_header, flat_header, launch_flat};
use steropes_tensor::{Gpu, Header, Kernel, Tensor};

pub(super) fn forward(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    x: Tensor,
) -> Result<Tensor, OpError> {
    over(gpu, op, activation, ("activation", include_str!("activation.wgsl")), x, &[])
}

pub(super) fn backward(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    x: &Tensor,
    grad: Tensor,
) -> Result<Tensor, OpError> {
    over(gpu, op, activation, ("activation", include_str!("activation_backward.wgsl")), grad, &[x])
}

/// Runs a kernel over `x` and tensors of its shape, in the memory of `x` when nobody else holds it. Its bindings are the result, the `others`, and
/// the source if that is not the result.
pub(in crate::elementwise) fn over(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    (name, text): (&'static str, &'static str),
    x: Tensor,
    others: &[&Tensor],
) -> Result<Tensor, OpError> {
    let packs = Packs::wide(x.dtype());
    let count = x.len().div_ceil(packs.lanes);
    let (y, source) = destination(gpu, op, x)?;
    let header = activation.header(packs.header(Header::new()));
    let binding = 1 + others.len() as u32;
    let header = destination_header(flat_header(header), source.is_some().then_some(binding));
    let arrays = [&y].into_iter().chain(others.iter().copied()).chain(source.as_ref());
    let arrays: Vec<_> = arrays.map(|tensor| (tensor, packs.bytes())).collect();
    launch_flat(gpu, &Kernel::new(name, &header, text), count, &arrays)?;
    Ok(y)
}
