//! Places, sorted with their elements; then the first element of each place adds up all of its place.

use super::OP;
use crate::elementwise::copy::copy;
use crate::error::OpError;
use crate::gpu::{Sorted, bind, one_binding, sorted_by_key};
use crate::indexing::places::Places;
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

pub(super) fn scatter_add(
    gpu: &Gpu,
    x: &Tensor,
    places: &Places,
    index: &Tensor,
    src: &Tensor,
) -> Result<Tensor, OpError> {
    one_binding(OP, gpu, &[x, index, src])?;
    let y = copy(x)?;
    if index.is_empty() || x.is_empty() {
        return Ok(y);
    }
    let none = x.len() as u32;
    let at = places.launch_places(OP, gpu, index, none)?;
    let Sorted { keys, order } = sorted_by_key(gpu, OP, at, none)?;
    let kernel =
        Kernel::new("scatter_add", &Header::new().element(x.dtype()), include_str!("scatter_add.wgsl"));
    let bindings = [bind(&keys), bind(&order), bind(src), bind(&y)];
    gpu.launch(&kernel, &bindings, &[src.len() as u32, none], spread(src.len().div_ceil(256) as u64))?;
    Ok(y)
}
