//! Three launches: what lies between the vectors, both sides of it, and their products.

use super::super::backward::Thin;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup of all three kernels.
const THREADS: usize = 64;

pub(in crate::linalg::svd) fn svd_backward(
    op: &'static str,
    gpu: &Gpu,
    shape: &[usize],
    thin: Thin,
    [u, s, vh]: [&Tensor; 3],
    gradients: [Option<&Tensor>; 3],
) -> Result<Tensor, OpError> {
    let grad_a = Tensor::on_gpu(gpu, op, DType::F32, shape)?;
    if grad_a.is_empty() {
        return Ok(grad_a);
    }
    let (rows, columns, k) = (thin.rows, thin.columns, thin.values());
    let mut given = Vec::new();
    for (gradient, like) in gradients.into_iter().zip([u, s, vh]) {
        given.push(match gradient {
            Some(gradient) => gradient.clone(),
            None => zeros(op, gpu, like)?,
        });
    }
    let header =
        Header::new().count("ROWS", rows as u32).count("COLUMNS", columns as u32).count("K", k as u32);
    let kernels = [
        Kernel::new("svd_backward_inner", &header, include_str!("backward_inner.wgsl")),
        Kernel::new("svd_backward_sides", &header, include_str!("backward_sides.wgsl")),
        Kernel::new("svd_backward_product", &header, include_str!("backward_product.wgsl")),
    ];
    let bytes = [rows * k * 4, k * 4, k * columns * 4, rows * columns * 4];
    for matrices in row_ranges(op, gpu, thin.count, &bytes)? {
        let count = matrices.len();
        let view = |tensor, size| {
            let window = window(tensor, size, &matrices);
            let shift = window.shift(4);
            (window.binding, shift)
        };
        let (u, s, vh) = (view(u, bytes[0]), view(s, bytes[1]), view(vh, bytes[2]));
        let (grad_u, grad_s) = (view(&given[0], bytes[0]), view(&given[1], bytes[1]));
        let (grad_vh, grad_a) = (view(&given[2], bytes[2]), view(&grad_a, bytes[3]));
        let memory = |values: usize| gpu.allocate(op, (count * values * 4) as u64);
        let [p, q, middle] = [memory(k * k)?, memory(k * k)?, memory(k * k)?];
        let [left, right] = [memory(rows * k)?, memory(k * columns)?];
        let groups = |values: usize| spread((count * values).div_ceil(THREADS) as u64);
        let params = [count as u32, u.1, s.1, vh.1, grad_u.1, grad_s.1, grad_vh.1];
        let bindings =
            [u.0, s.0, vh.0, grad_u.0, grad_s.0, grad_vh.0, (&p).into(), (&q).into(), (&middle).into()];
        gpu.launch(&kernels[0], &bindings, &params, groups(k * k))?;
        let bindings = [
            u.0,
            s.0,
            vh.0,
            grad_u.0,
            grad_vh.0,
            (&p).into(),
            (&q).into(),
            (&middle).into(),
            (&left).into(),
            (&right).into(),
        ];
        let params = [count as u32, u.1, s.1, vh.1, grad_u.1, grad_vh.1];
        gpu.launch(&kernels[1], &bindings, &params, groups((rows + columns) * k))?;
        let bindings = [u.0, vh.0, (&left).into(), (&right).into(), grad_a.0];
        let params = [count as u32, u.1, vh.1, grad_a.1];
        gpu.launch(&kernels[2], &bindings, &params, groups(rows * columns))?;
    }
    Ok(grad_a)
}

/// Zeros as large as `like`.
fn zeros(op: &'static str, gpu: &Gpu, like: &Tensor) -> Result<Tensor, OpError> {
    let tensor = Tensor::on_gpu(gpu, op, DType::F32, like.shape())?;
    if let Some(memory) = tensor.gpu_memory() {
        gpu.clear(memory)?;
    }
    Ok(tensor)
}
