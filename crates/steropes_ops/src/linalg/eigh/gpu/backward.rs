//! The gradient: products of vectors with what stands between them.

use super::super::BACKWARD_OP as OP;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use crate::linalg::dense::arithmetic::{plain, product, transposed};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: usize = 256;

pub(in super::super) fn backward(
    gpu: &Gpu,
    stack: &Stack,
    values: &Tensor,
    vectors: &Tensor,
    grad_values: Option<&Tensor>,
    grad_vectors: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    if vectors.is_empty() {
        return Ok(Tensor::on_gpu(gpu, OP, DType::F32, vectors.shape())?);
    }
    let basis = grad_vectors.map(|grad| product(OP, transposed(vectors), plain(grad), 1.0)).transpose()?;
    let middle = middle(gpu, stack, values, grad_values, basis.as_ref())?;
    let left = product(OP, plain(vectors), plain(&middle), 1.0)?;
    product(OP, plain(&left), transposed(vectors), 1.0)
}

/// What stands between the vectors.
fn middle(
    gpu: &Gpu,
    stack: &Stack,
    values: &Tensor,
    grad_values: Option<&Tensor>,
    basis: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let n = stack.rows;
    let (row, matrix) = (4 * n, 4 * n * n);
    let kernel = kernel(n, grad_values.is_some(), basis.is_some());
    let to = Tensor::on_gpu(gpu, OP, DType::F32, &stack.with(&[n, n]))?;
    for range in row_ranges(OP, gpu, stack.count(), &[matrix])? {
        let mut windows = vec![window(values, row, &range), window(&to, matrix, &range)];
        let mut params = vec![range.len() as u32, windows[0].shift(4), windows[1].shift(4)];
        for (tensor, bytes) in [(grad_values, row), (basis, matrix)] {
            let window = tensor.map(|tensor| window(tensor, bytes, &range));
            params.push(window.as_ref().map_or(0, |window| window.shift(4)));
            windows.extend(window);
        }
        let bindings: Vec<_> = windows.into_iter().map(|window| window.binding).collect();
        let groups = spread((range.len() * n * n).div_ceil(THREADS) as u64);
        gpu.launch(&kernel, &bindings, &params, groups)?;
    }
    Ok(to)
}

fn kernel(n: usize, with_values: bool, with_vectors: bool) -> Kernel {
    let grad = match with_values {
        true => {
            "@group(0) @binding(2) var<storage, read> grad_values: array<u32>;\n\
             fn diagonal(i: u32) -> u32 { return grad_values[params.grad_shift + i]; }\n"
        }
        false => "fn diagonal(i: u32) -> u32 { return 0u; }\n",
    };
    let between = match with_vectors {
        true => format!(
            "@group(0) @binding({}) var<storage, read> basis: array<f32>;\n{}",
            if with_values { 3 } else { 2 },
            include_str!("../between.wgsl")
        ),
        false => "fn between(first: u32, i: u32, j: u32, distance: f32) -> u32 { return 0u; }\n".to_owned(),
    };
    let header =
        Header::new().count("N", n as u32).count("THREADS", THREADS as u32).text(grad).text(&between);
    Kernel::new("eigh_middle", &header, include_str!("../middle.wgsl"))
}
