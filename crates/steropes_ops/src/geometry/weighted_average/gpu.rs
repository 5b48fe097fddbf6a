//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::parts;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;

pub(super) fn weighted_average(
    gpu: &Gpu,
    x: &Tensor,
    weights: &Tensor,
    fill: f32,
) -> Result<(Tensor, Tensor), OpError> {
    let header = Header::new().count("THREADS", THREADS);
    let kernel = Kernel::new("weighted_average", &header, include_str!("weighted_average.wgsl"));
    let (views, shape) = (x.shape()[0], &x.shape()[1..]);
    let (rows, channels) = (shape[..shape.len() - 1].iter().product::<usize>(), shape[shape.len() - 1]);
    let mean = Tensor::on_gpu(gpu, OP, DType::F32, shape)?;
    let sum = Tensor::on_gpu(gpu, OP, DType::F32, &shape[..shape.len() - 1])?;
    let row_bytes = 4 * channels;
    let parts = parts(OP, gpu, [1, views, rows], &[views.max(1) * rows * row_bytes], &[row_bytes, 4])?;
    // All invocations of a row read its sum so far and one of them writes the next one, so that there are two places for it, which views
    // write to in turn. With one part nothing reads the other place.
    let other = match parts.as_slice() {
        [_] => weights.clone(),
        _ => Tensor::on_gpu(gpu, OP, DType::F32, sum.shape())?,
    };
    for part in &parts {
        let (new, old) = if part.views_left().is_multiple_of(2) { (&sum, &other) } else { (&other, &sum) };
        let (from, weight) = (part.of_views(x, row_bytes), part.of_views(weights, 4));
        let to = part.of_results(&mean, row_bytes);
        let [new, old] = [new, old].map(|sums| part.of_results(sums, 4));
        let count = part.results() * channels;
        let params = [count, channels, part.views(), part.is_first().into(), part.is_last().into()];
        let shifts = [from.shift(4), weight.shift(4), to.shift(4), new.shift(4), fill.to_bits()];
        let bindings = [from.binding, weight.binding, to.binding, new.binding, old.binding];
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &bindings, &[params.map(|n: usize| n as u32), shifts].concat(), groups)?;
    }
    Ok((mean, sum))
}
