//! An invocation for each entry of the pseudo-inverse, or for each matrix.

use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: usize = 64;

pub(super) fn pinv(
    op: &'static str,
    gpu: &Gpu,
    shape: &[usize],
    stack: &Stack,
    [u, s, vh]: [&Tensor; 3],
    rtol: f32,
) -> Result<Tensor, OpError> {
    let inverse = Tensor::on_gpu(gpu, op, DType::F32, shape)?;
    if inverse.is_empty() {
        return Ok(inverse);
    }
    let (m, n, k) = (stack.rows, stack.columns, stack.rows.min(stack.columns));
    let header = Header::new().count("M", m as u32).count("N", n as u32).count("K", k as u32);
    let kernel = Kernel::new("pinv", &header, include_str!("pinv.wgsl"));
    let bytes = [m * k * 4, k * 4, k * n * 4, n * m * 4];
    for matrices in row_ranges(op, gpu, stack.count(), &bytes)? {
        let views = [(u, bytes[0]), (s, bytes[1]), (vh, bytes[2]), (&inverse, bytes[3])]
            .map(|(tensor, bytes)| window(tensor, bytes, &matrices));
        let mut params = vec![matrices.len() as u32];
        params.extend(views.iter().map(|view| view.shift(4)));
        params.push(rtol.to_bits());
        let groups = spread((matrices.len() * n * m).div_ceil(THREADS) as u64);
        gpu.launch(&kernel, &views.map(|view| view.binding), &params, groups)?;
    }
    Ok(inverse)
}

pub(super) fn matrix_rank(
    op: &'static str,
    gpu: &Gpu,
    stack: &Stack,
    s: &Tensor,
    rtol: f32,
) -> Result<Tensor, OpError> {
    let kernel = Kernel::new("matrix_rank", &header(stack), include_str!("matrix_rank.wgsl"));
    per_matrix(op, gpu, stack, s, (DType::I64, 8), &kernel, rtol.to_bits())
}

fn header(stack: &Stack) -> Header {
    Header::new().count("K", stack.rows.min(stack.columns) as u32)
}

/// One number for each matrix from its singular values; 0 where there are none.
pub(in crate::linalg) fn per_matrix(
    op: &'static str,
    gpu: &Gpu,
    stack: &Stack,
    s: &Tensor,
    (dtype, size): (DType, usize),
    kernel: &Kernel,
    word: u32,
) -> Result<Tensor, OpError> {
    let numbers = Tensor::on_gpu(gpu, op, dtype, &stack.batch)?;
    if s.is_empty() {
        if let Some(memory) = numbers.gpu_memory() {
            gpu.clear(memory)?;
        }
        return Ok(numbers);
    }
    let bytes = s.len() / stack.count() * 4;
    for matrices in row_ranges(op, gpu, stack.count(), &[bytes, size])? {
        let (s, to) = (window(s, bytes, &matrices), window(&numbers, size, &matrices));
        let params = [matrices.len() as u32, s.shift(4), to.shift(size), word];
        let groups = spread(matrices.len().div_ceil(THREADS) as u64);
        gpu.launch(kernel, &[s.binding, to.binding], &params, groups)?;
    }
    Ok(numbers)
}
