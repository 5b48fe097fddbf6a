//! Launches.

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
    let packs = Packs::wide(x.dtype());
    let count = x.len().div_ceil(packs.lanes);
    let (y, source) = destination(gpu, op, x)?;
    let header = activation.header(packs.header(Header::new()));
    let header = destination_header(flat_header(header), source.is_some().then_some(1));
    let kernel = Kernel::new("activation", &header, include_str!("activation.wgsl"));
    let mut arrays = vec![(&y, packs.bytes())];
    arrays.extend(source.iter().map(|x| (x, packs.bytes())));
    launch_flat(gpu, &kernel, count, &arrays)?;
    Ok(y)
}

pub(super) fn backward(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    x: &Tensor,
    grad: Tensor,
) -> Result<Tensor, OpError> {
    let packs = Packs::wide(x.dtype());
    let count = x.len().div_ceil(packs.lanes);
    let (y, source) = destination(gpu, op, grad)?;
    let header = activation.header(packs.header(Header::new()));
    let header = destination_header(flat_header(header), source.is_some().then_some(2));
    let kernel = Kernel::new("activation", &header, include_str!("activation_backward.wgsl"));
    let mut arrays = vec![(&y, packs.bytes()), (x, packs.bytes())];
    arrays.extend(source.iter().map(|grad| (grad, packs.bytes())));
    launch_flat(gpu, &kernel, count, &arrays)?;
    Ok(y)
}
