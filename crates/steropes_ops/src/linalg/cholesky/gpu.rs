//! Choice of the form by the size of the matrices; launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::bind;
use crate::linalg::dense::gpu::{F32, Matrices, Writes, check_lengths, groups_of, over_elements, product};
use crate::linalg::dense::{Triangle, View};
use crate::linalg::solve_triangular::gpu::solve_block;
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Rows of the largest matrices that one invocation factors.
const PRIVATE: usize = 8;

/// Rows of the largest matrices that one workgroup factors in its memory of 16 KB.
const BLOCK: usize = 64;

pub(super) fn cholesky(
    gpu: &Gpu,
    a: &Tensor,
    stack: &Stack,
    upper: bool,
) -> Result<(Tensor, Tensor), OpError> {
    let (n, count) = (stack.rows, stack.count());
    check_lengths(OP, gpu, &[a.len(), count])?;
    let factor = Tensor::on_gpu(gpu, OP, F32, a.shape())?;
    let info = Tensor::on_gpu(gpu, OP, DType::I32, &stack.batch)?;
    if n == 0 && count > 0 {
        gpu.fill(info.gpu_memory().expect("it is on a GPU"), 0)?;
    }
    if a.is_empty() {
        return Ok((factor, info));
    }
    let view = View::of_columns(n).transposed_if(upper);
    let source = Matrices { tensor: a, view, step: n * n };
    let target = Matrices { tensor: &factor, ..source };
    if n <= PRIVATE {
        private(gpu, source, target, &info, count, n)?;
    } else if n <= BLOCK {
        block(gpu, Some(source), target, &info, count, [0, n])?;
    } else {
        blocks(gpu, source, target, &info, count, n)?;
    }
    Ok((factor, info))
}

fn private(
    gpu: &Gpu,
    source: Matrices<'_>,
    target: Matrices<'_>,
    info: &Tensor,
    count: usize,
    n: usize,
) -> Result<(), OpError> {
    let header = Header::new()
        .count("N", n as u32)
        .count("ROW", source.view.row as u32)
        .count("COLUMN", source.view.column as u32)
        .text(POSITIVE);
    let kernel = over_elements("cholesky", header, include_str!("cholesky_private.wgsl"));
    let bindings = [bind(source.tensor), bind(target.tensor), bind(info)];
    Ok(gpu.launch(&kernel, &bindings, &[count as u32], groups_of(count))?)
}

/// Factors the `n` rows and columns from `first` on; without a source in place, and then the other triangle is not touched.
fn block(
    gpu: &Gpu,
    source: Option<Matrices<'_>>,
    target: Matrices<'_>,
    info: &Tensor,
    count: usize,
    [first, n]: [usize; 2],
) -> Result<(), OpError> {
    let mut bindings = vec![bind(target.tensor), bind(info)];
    let mut header = Header::new().count("N", n as u32).flag("IN_PLACE", source.is_none()).text(POSITIVE);
    header = match source {
        Some(source) => {
            bindings.push(bind(source.tensor));
            header
                .text("@group(0) @binding(2) var<storage, read> a: array<f32>;\n")
                .text("fn a_at(i: u32) -> f32 { return a[i]; }\n")
        }
        None => header.text("fn a_at(i: u32) -> f32 { return l[i]; }\n"),
    };
    let kernel = Kernel::new("cholesky", &header, include_str!("cholesky_block.wgsl"));
    let [start, row, column, step] = target.seen(target.view.from(first, first)).words();
    let params = [count as u32, first as u32, start, row, column, step];
    Ok(gpu.launch(&kernel, &bindings, &params, spread(count as u64))?)
}

/// Blocks of columns from left to right: the factor of the block on the diagonal, the rows below it, and what is right of
/// them.
fn blocks(
    gpu: &Gpu,
    source: Matrices<'_>,
    target: Matrices<'_>,
    info: &Tensor,
    count: usize,
    n: usize,
) -> Result<(), OpError> {
    let header =
        Header::new().count("ROW", source.view.row as u32).count("COLUMN", source.view.column as u32);
    let kernel = over_elements("cholesky_triangle", header, include_str!("cholesky_triangle.wgsl"));
    let elements = count * n * n;
    let bindings = [bind(source.tensor), bind(target.tensor)];
    gpu.launch(&kernel, &bindings, &[elements as u32, n as u32], groups_of(elements))?;
    let part = |i, j| target.seen(target.view.from(i, j));
    for first in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - first);
        block(gpu, None, target, info, count, [first, width])?;
        let next = first + width;
        if next < n {
            let below = part(next, first);
            let triangle = Triangle { upper: false, transposed: false, unit: false };
            solve_block(gpu, triangle, part(first, first), below.transposed(), count, [width, n - next])?;
            let writes = Writes { lower: true, ..Writes::MINUS };
            let factors = (below, below.transposed());
            product(gpu, part(next, next), factors, writes, count, [n - next, n - next, width])?;
        }
    }
    Ok(())
}

/// Whether a pivot is above zero, by its bits, because compilers may take a comparison with what is not a number as they like.
const POSITIVE: &str = "fn positive(x: f32) -> bool {\n    let bits = bitcast<u32>(x);\n    \
    return bits >= 0x00800000u && bits <= 0x7f800000u;\n}\n";
