//! The launch.

use super::OP;
use crate::error::OpError;
use crate::indexing::places::{IndexLayout, Places};
use steropes_tensor::{Gpu, Tensor};

pub(super) fn gather(gpu: &Gpu, x: &Tensor, places: &Places, index: &Tensor) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), index.shape())?;
    places.launch_gather(OP, gpu, x, (index, IndexLayout::Elements), &y)?;
    Ok(y)
}
