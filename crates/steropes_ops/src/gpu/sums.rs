//! Sums over a whole tensor, always in the same order.

use super::{bind, one_binding};
use crate::error::OpError;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup that sums.
const THREADS: u32 = 256;

/// Values that a workgroup sums.
pub(crate) const GROUP_VALUES: usize = 4096;

/// What becomes of a sum of pairs (value, weight).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Finish {
    /// The values' sum times this.
    Sum(f32),
    /// The values' sum divided by the weights' sum, or this where that is not above 0.
    Mean(f32),
}

/// The header with `GROUP_THREADS`, `GROUP_EACH` (values of an invocation, `GROUP_THREADS` apart) and
/// `group_sum(x: vec2<f32>, thread: u32) -> vec2<f32>`, the sum over a workgroup, which all invocations must call.
pub(crate) fn group_header(header: Header) -> Header {
    header
        .count("GROUP_THREADS", THREADS)
        .count("GROUP_EACH", GROUP_VALUES as u32 / THREADS)
        .text(include_str!("group_sum.wgsl"))
}

/// The sum of the pairs `[count, 2]` as one value, a tensor without axes.
///
/// # Errors
/// [`OpError`] if the device failed or the pairs do not fit one binding.
pub(crate) fn finish_sums(
    gpu: &Gpu,
    op: &'static str,
    pairs: &Tensor,
    finish: Finish,
) -> Result<Tensor, OpError> {
    one_binding(op, gpu, &[pairs])?;
    let mut pairs = pairs.clone();
    let kernel = |last: bool| {
        let (result, finished) = match (last, finish) {
            (false, _) => ("vec2<f32>", "sum"),
            (true, Finish::Sum(_)) => ("f32", "sum.x * number"),
            // Not a number must not come from arithmetic, which a device may assume away.
            (true, Finish::Mean(_)) => ("f32", "select(number, sum.x / max(sum.y, 1e-30), sum.y > 0.0)"),
        };
        let header = group_header(Header::new())
            .alias("Result", result)
            .text(&format!("fn finished(sum: vec2<f32>, number: f32) -> Result {{ return {finished}; }}\n"));
        Kernel::new("sum_pairs", &header, include_str!("sums.wgsl"))
    };
    let (Finish::Sum(number) | Finish::Mean(number)) = finish;
    loop {
        let count = pairs.len() / 2;
        let groups = count.div_ceil(GROUP_VALUES).max(1);
        let last = groups == 1;
        let shape: &[usize] = if last { &[] } else { &[groups, 2] };
        let sums = Tensor::on_gpu(gpu, op, DType::F32, shape)?;
        let params = [count as u32, number.to_bits()];
        gpu.launch(&kernel(last), &[bind(&pairs), bind(&sums)], &params, spread(groups as u64))?;
        if last {
            return Ok(sums);
        }
        pairs = sums;
    }
}
