//! Launches.

use crate::elementwise::activation::{Activation, gpu::over};
use crate::error::OpError;
use crate::gpu::{Packs, flat_header, launch_flat};
use steropes_tensor::{Gpu, Header, Kernel, Tensor};

pub(super) fn forward(
    gpu: &Gpu,
    op: &'static str,
    activation: Activation,
    gate: Tensor,
    up: &Tensor,
) -> Result<Tensor, OpError> {
    over(gpu, op, activation, ("gated", include_str!("gated.wgsl")), gate, &[up])
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
