//! An invocation for each matrix with singular values; with inverses as many as a matrix has columns, up to a workgroup.

use super::{CondNorm, OP};
use crate::error::OpError;
use crate::gpu::bind;
use crate::linalg::dense::gpu::check_lengths;
use crate::linalg::pinv::gpu::per_matrix;
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// The bits of infinity, which WGSL has no constant for.
const INFINITY: u32 = 0x7f80_0000;

/// Invocations of a workgroup.
const THREADS: usize = 256;

/// From singular values.
pub(super) fn of_values(gpu: &Gpu, stack: &Stack, s: &Tensor, p: CondNorm) -> Result<Tensor, OpError> {
    let header = Header::new()
        .count("K", stack.rows.min(stack.columns) as u32)
        .flag("INVERSE", p == CondNorm::MinusTwo)
        .flag("SUMS", p == CondNorm::Nuc);
    let kernel = Kernel::new("cond_singular", &header, include_str!("singular.wgsl"));
    per_matrix(OP, gpu, stack, s, (DType::F32, 4), &kernel, INFINITY)
}

/// From the matrices, their inverses and what is not 0 where there is none.
pub(super) fn of_inverses(
    gpu: &Gpu,
    stack: &Stack,
    [a, inverse, info]: [&Tensor; 3],
    p: CondNorm,
) -> Result<Tensor, OpError> {
    let (n, count) = (stack.rows, stack.count());
    let conditions = Tensor::on_gpu(gpu, OP, DType::F32, &stack.batch)?;
    if a.is_empty() {
        if let Some(memory) = conditions.gpu_memory() {
            gpu.clear(memory)?;
        }
        return Ok(conditions);
    }
    check_lengths(OP, gpu, &[a.len(), count])?;
    let lanes = n.next_power_of_two().min(THREADS);
    let by = match p {
        CondNorm::One | CondNorm::MinusOne => 0,
        CondNorm::Inf | CondNorm::MinusInf => 1,
        _ => 2,
    };
    let header = Header::new()
        .count("N", n as u32)
        .count("LANES", lanes as u32)
        .count("BY", by)
        .flag("SMALLEST", matches!(p, CondNorm::MinusOne | CondNorm::MinusInf));
    let kernel = Kernel::new("cond_norms", &header, include_str!("norms.wgsl"));
    let bindings = [a, inverse, info, &conditions].map(bind);
    let groups = count.div_ceil(THREADS / lanes);
    gpu.launch(&kernel, &bindings, &[count as u32, INFINITY], spread(groups as u64))?;
    Ok(conditions)
}
