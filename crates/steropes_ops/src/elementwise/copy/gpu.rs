//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{flat_header, launch_flat};
use steropes_tensor::{Gpu, Header, Kernel, Tensor};

/// Bytes of a vector of four words.
const VECTOR: usize = 16;

pub(super) fn copy(gpu: &Gpu, x: &Tensor) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), x.shape())?;
    let count = (x.len() * x.dtype().size_bytes()).div_ceil(VECTOR);
    launch_flat(gpu, &kernel(), count, &[(x, VECTOR), (&y, VECTOR)])?;
    Ok(y)
}

fn kernel() -> Kernel {
    Kernel::new("copy", &flat_header(Header::new()), include_str!("copy.wgsl"))
}
