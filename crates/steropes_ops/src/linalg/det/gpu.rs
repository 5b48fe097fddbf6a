//! Launches.

use super::{LOGARITHM, OP, Of};
use crate::error::OpError;
use crate::gpu::bind;
use crate::linalg::dense::gpu::{F32, check_lengths, groups_of, over_elements};
use crate::linalg::stack::Stack;
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

pub(super) fn written_out(gpu: &Gpu, a: &Tensor, stack: &Stack) -> Result<Tensor, OpError> {
    let (n, count) = (stack.rows, stack.count());
    check_lengths(OP, gpu, &[a.len(), count])?;
    let out = Tensor::on_gpu(gpu, OP, F32, &stack.batch)?;
    if n == 0 && count > 0 {
        gpu.fill(out.gpu_memory().expect("it is on a GPU"), 1f32.to_bits())?;
    } else if count > 0 {
        let header = Header::new().count("N", n as u32);
        let kernel = over_elements("det", header, include_str!("det.wgsl"));
        gpu.launch(&kernel, &[bind(a), bind(&out)], &[count as u32], groups_of(count))?;
    }
    Ok(out)
}

pub(super) fn products(
    gpu: &Gpu,
    factors: &Tensor,
    pivots: &Tensor,
    stack: &Stack,
) -> Result<Tensor, OpError> {
    let out = Tensor::on_gpu(gpu, OP, F32, &stack.batch)?;
    launch(gpu, "det", include_str!("product.wgsl"), [factors, pivots], &[&out], stack)?;
    Ok(out)
}

pub(super) fn logarithms(
    gpu: &Gpu,
    factors: &Tensor,
    pivots: &Tensor,
    stack: &Stack,
) -> Result<(Tensor, Tensor), OpError> {
    let signs = Tensor::on_gpu(gpu, LOGARITHM, F32, &stack.batch)?;
    let logs = Tensor::on_gpu(gpu, LOGARITHM, F32, &stack.batch)?;
    if stack.rows == 0 && stack.count() > 0 {
        gpu.fill(signs.gpu_memory().expect("it is on a GPU"), 1f32.to_bits())?;
        gpu.fill(logs.gpu_memory().expect("it is on a GPU"), 0)?;
    } else {
        let body = include_str!("logarithm.wgsl");
        launch(gpu, "slogdet", body, [factors, pivots], &[&signs, &logs], stack)?;
    }
    Ok((signs, logs))
}

fn launch(
    gpu: &Gpu,
    name: &'static str,
    body: &str,
    [factors, pivots]: [&Tensor; 2],
    results: &[&Tensor],
    stack: &Stack,
) -> Result<(), OpError> {
    let count = stack.count();
    if count == 0 {
        return Ok(());
    }
    let kernel = Kernel::new(name, &Header::new(), &format!("{}{body}", include_str!("diagonal.wgsl")));
    let mut bindings = vec![bind(factors), bind(pivots)];
    bindings.extend(results.iter().map(|tensor| bind(tensor)));
    let params = [count as u32, stack.rows as u32, f32::NEG_INFINITY.to_bits()];
    Ok(gpu.launch(&kernel, &bindings, &params, spread(count as u64))?)
}

/// The right sides of the systems that give the gradient; replaces zero pivots if those matter.
pub(super) fn systems(
    op: &'static str,
    gpu: &Gpu,
    factors: &Tensor,
    pivots: &Tensor,
    grad: &Tensor,
    stack: &Stack,
    of: Of,
) -> Result<Tensor, OpError> {
    let right = Tensor::on_gpu(gpu, op, F32, factors.shape())?;
    if !right.is_empty() {
        let header = Header::new().flag("OF_VALUE", of == Of::Determinant);
        let kernel = Kernel::new("det_backward", &header, include_str!("backward.wgsl"));
        let bindings = [bind(factors), bind(pivots), bind(grad), bind(&right)];
        let params = [stack.count() as u32, stack.rows as u32];
        gpu.launch(&kernel, &bindings, &params, spread(stack.count() as u64))?;
    }
    Ok(right)
}
