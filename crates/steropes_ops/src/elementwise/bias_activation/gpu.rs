//! Launches.

use super::{BACKWARD, OP};
use crate::elementwise::activation::Activation;
use crate::error::OpError;
use crate::gpu::{
    Packs, bind, column_sums, destination, destination_header, flat_groups, flat_header, flat_ranges,
    largest_binding, partial_groups, row_ranges, unsupported, window,
};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Packs side by side of a workgroup of the backward pass at most.
const MOST_COLUMNS: usize = 64;

/// Invocations of a workgroup of the backward pass.
const THREADS: usize = 256;

pub(super) fn forward(
    gpu: &Gpu,
    activation: Activation,
    x: Tensor,
    bias: &Tensor,
) -> Result<Tensor, OpError> {
    let packs = Packs::of_rows(x.dtype(), bias.len());
    let width = bias.len() / packs.lanes;
    let count = x.len() / packs.lanes;
    if bias.len() * 4 > largest_binding(gpu) {
        return Err(unsupported(
            OP,
            gpu,
            format!("a bias of {} values does not fit one binding", bias.len()),
        ));
    }
    let (y, source) = destination(gpu, OP, x)?;
    let header = activation.header(packs.header(Header::new())).count("WIDTH", width as u32);
    let header = destination_header(flat_header(header), source.is_some().then_some(2));
    let kernel = Kernel::new("bias_activation", &header, include_str!("bias_activation.wgsl"));
    let mut arrays = vec![(&y, packs.bytes())];
    arrays.extend(source.iter().map(|x| (x, packs.bytes())));
    for range in flat_ranges(gpu, count, &arrays) {
        let mut bindings: Vec<_> =
            arrays.iter().map(|&(tensor, bytes)| window(tensor, bytes, &range).binding).collect();
        bindings.insert(1, bind(bias));
        let params = [range.len() as u32, (range.start % width) as u32];
        gpu.launch(&kernel, &bindings, &params, flat_groups(range.len()))?;
    }
    Ok(y)
}

pub(super) fn backward(
    gpu: &Gpu,
    activation: Activation,
    x: &Tensor,
    bias: &Tensor,
    grad: &Tensor,
) -> Result<(Tensor, Tensor), OpError> {
    let packs = Packs::of_rows(x.dtype(), bias.len());
    let width = bias.len() / packs.lanes;
    let most = THREADS.min(1 << gpu.capabilities().workgroup_threads.ilog2());
    let columns = width.next_power_of_two().min(MOST_COLUMNS).min(most);
    let slots = most / columns;
    let blocks = width.div_ceil(columns);
    let header = activation
        .header(packs.header(Header::new()))
        .count("WIDTH", width as u32)
        .count("COLUMNS", columns as u32)
        .count("SLOTS", slots as u32);
    let kernel = Kernel::new("bias_activation", &header, include_str!("bias_activation_backward.wgsl"));
    let grad_x = Tensor::on_gpu(gpu, BACKWARD, x.dtype(), x.shape())?;
    if x.is_empty() {
        return Ok((grad_x, Tensor::zeros::<f32>(&x.device(), &[bias.len()])));
    }
    let grad_bias = Tensor::on_gpu(gpu, BACKWARD, DType::F32, &[bias.len()])?;
    let row_bytes = bias.len() * x.dtype().size_bytes();
    // A workgroup writes a row of partial sums in f32 for each of its slots.
    let bytes = [row_bytes, slots * bias.len() * 4];
    for range in row_ranges(BACKWARD, gpu, x.len() / bias.len(), &bytes)? {
        let parts = range.len().div_ceil(slots);
        let parts = partial_groups(gpu, parts, (most * blocks) as u32, slots as u32, bias.len());
        let stride = parts * slots;
        let sums = Tensor::on_gpu(gpu, BACKWARD, DType::F32, &[stride, bias.len()])?;
        let at = |tensor| window(tensor, row_bytes, &range);
        let bindings = [at(x).binding, bind(bias), at(grad).binding, at(&grad_x).binding, bind(&sums)];
        let steps = range.len().div_ceil(stride);
        let shift = at(x).shift(packs.bytes());
        let params = [range.len() as u32, shift, steps as u32, stride as u32];
        gpu.launch(&kernel, &bindings, &params, spread((parts * blocks) as u64))?;
        column_sums(gpu, BACKWARD, sums, &grad_bias, range.start > 0)?;
    }
    Ok((grad_x, grad_bias))
}
