//! Launches.

use crate::elementwise::activation::Activation;
use crate::error::OpError;
use crate::gpu::{Packs, destination, destination_header, flat_header, launch_flat};
use steropes_tensor::{Gpu, Header, Kernel, Tensor};

pub(super) fn forward(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    gate: Tensor,
    up: &Tensor,
) -> Result<Tensor, OpError> {
    let packs = Packs::wide(gate.dtype());
    let count = gate.len().div_ceil(packs.lanes);
    let (y, source) = destination(gpu, op, gate)?;
    let header = activation.header(packs.header(Header::new()));
    let header = destination_header(flat_header(header), source.is_some().then_some(2));
    let kernel = Kernel::new("gated", &header, include_str!("gated.wgsl"));
    let mut arrays = vec![(&y, packs.bytes()), (up, packs.bytes())];
    arrays.extend(source.iter().map(|gate| (gate, packs.bytes())));
    launch_flat(gpu, &kernel, count, &arrays)?;
    Ok(y)
}

pub(super) fn backward(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    [gate, up, grad]: [&Tensor; 3],
) -> Result<(Tensor, Tensor), OpError> {
    let packs = Packs::wide(gate.dtype());
    let count = gate.len().div_ceil(packs.lanes);
    let result = || Tensor::on_gpu(gpu, op, gate.dtype(), gate.shape());
    let (grad_gate, grad_up) = (result()?, result()?);
    let header = flat_header(activation.header(packs.header(Header::new())));
    let kernel = Kernel::new("gated", &header, include_str!("gated_backward.wgsl"));
    let arrays = [gate, up, grad, &grad_gate, &grad_up].map(|tensor| (tensor, packs.bytes()));
    launch_flat(gpu, &kernel, count, &arrays)?;
    Ok((grad_gate, grad_up))
}
