//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Packs, destination, destination_header, flat_header, launch_flat};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor};

pub(super) fn gelu(gpu: &Gpu, x: Tensor) -> Result<Tensor, OpError> {
    let packs = Packs::wide(x.dtype());
    let count = x.len().div_ceil(packs.lanes);
    let (y, source) = destination(gpu, OP, x)?;
    let mut arrays = vec![(&y, packs.bytes())];
    arrays.extend(source.iter().map(|x| (x, packs.bytes())));
    launch_flat(gpu, &kernel(y.dtype(), source.is_some()), count, &arrays)?;
    Ok(y)
}

fn kernel(dtype: DType, has_source: bool) -> Kernel {
    let header = Packs::wide(dtype).header(Header::new());
    let header = destination_header(flat_header(header), has_source.then_some(1));
    Kernel::new("gelu", &header, include_str!("gelu.wgsl"))
}
