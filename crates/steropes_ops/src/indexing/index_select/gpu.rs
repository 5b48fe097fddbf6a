//! The launch.

use super::OP;
use crate::error::OpError;
use crate::indexing::places::{IndexLayout, Places};
use steropes_tensor::{Gpu, Tensor};

pub(super) fn index_select(
    gpu: &Gpu,
    x: &Tensor,
    axis: usize,
    index: &Tensor,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), shape)?;
    let inner = shape[axis + 1..].iter().product();
    let layout = IndexLayout::Axis(index.len(), inner);
    Places::new(x.shape(), shape, axis).launch_gather(OP, gpu, x, (index, layout), &y)?;
    Ok(y)
}
