//! Launches.

use super::{Pointwise, Reduction};
use crate::error::OpError;
use crate::gpu::{Finish, GROUP_VALUES, bind, finish_sums, flat_ranges, group_header, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

pub(super) fn forward(
    pairs: &Pointwise,
    gpu: &Gpu,
    a: &Tensor,
    b: &Tensor,
    reduction: Reduction,
) -> Result<Tensor, OpError> {
    let summed = reduction != Reduction::None;
    let ranges = ranges(gpu, a);
    let groups: usize = ranges.iter().map(|range| range.len().div_ceil(GROUP_VALUES)).sum();
    let shape = if summed { vec![groups, 2] } else { a.shape().to_vec() };
    let out = Tensor::on_gpu(gpu, pairs.op, DType::F32, &shape)?;
    let header = group_header(Header::new().element(a.dtype())).text(pairs.kernel);
    let body = if summed { include_str!("sum.wgsl") } else { include_str!("each.wgsl") };
    let kernel = Kernel::new(if summed { "pointwise_sum" } else { "pointwise_loss" }, &header, body);
    let size = a.dtype().size_bytes();
    let mut first_group = 0;
    for range in ranges {
        let groups = range.len().div_ceil(GROUP_VALUES);
        let [own_a, own_b] = [a, b].map(|t| window(t, size, &range).binding);
        let to = if summed { bind(&out) } else { window(&out, size_of::<f32>(), &range).binding };
        let params = [range.len() as u32, first_group as u32];
        gpu.launch(&kernel, &[own_a, own_b, to], &params[..1 + usize::from(summed)], spread(groups as u64))?;
        first_group += groups;
    }
    if !summed {
        return Ok(out);
    }
    finish_sums(gpu, pairs.op, &out, Finish::Sum(reduction.factor(a.shape()) as f32))
}

pub(super) fn backward(
    pairs: &Pointwise,
    gpu: &Gpu,
    grad: &Tensor,
    a: &Tensor,
    b: &Tensor,
    reduction: Reduction,
) -> Result<[Tensor; 2], OpError> {
    let each = reduction == Reduction::None;
    let header = group_header(Header::new().element(a.dtype())).text(pairs.kernel).flag("EACH", each);
    let kernel = Kernel::new("pointwise_backward", &header, include_str!("backward.wgsl"));
    let new = || Tensor::on_gpu(gpu, pairs.op, a.dtype(), a.shape());
    let gradients = [new()?, new()?];
    let size = a.dtype().size_bytes();
    for range in ranges(gpu, a) {
        let [own_a, own_b, da, db] =
            [a, b, &gradients[0], &gradients[1]].map(|t| window(t, size, &range).binding);
        let scale = if each { window(grad, size_of::<f32>(), &range).binding } else { bind(grad) };
        let params = [range.len() as u32, (reduction.factor(a.shape()) as f32).to_bits()];
        let groups = spread(range.len().div_ceil(GROUP_VALUES) as u64);
        gpu.launch(&kernel, &[own_a, own_b, scale, da, db], &params, groups)?;
    }
    Ok(gradients)
}

/// Ranges of elements whose windows begin with their first element, in f32 and in f16.
fn ranges(gpu: &Gpu, a: &Tensor) -> Vec<std::ops::Range<usize>> {
    flat_ranges(gpu, a.len(), &[(a, size_of::<f32>())]).collect()
}
