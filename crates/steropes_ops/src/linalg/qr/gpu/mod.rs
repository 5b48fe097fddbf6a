//! Choice of the form by size, and launches.

mod block;
pub(super) mod blocked;
mod cholesky_qr;
mod panel;
mod parts;
mod tall;

use super::Matrices;
use crate::error::OpError;
use crate::gpu::{largest_binding, unsupported};
use steropes_tensor::{DType, Gpu, Tensor};

pub(in crate::linalg) use parts::{Part, Vectors, arrange, multiply, solve};

/// Refuses `count` matrices of `size` values that are too long for a binding.
fn check_length(gpu: &Gpu, op: &'static str, count: usize, size: usize) -> Result<(), OpError> {
    let bytes = count * size * 4;
    if bytes <= largest_binding(gpu) {
        return Ok(());
    }
    let why = format!("{count} matrices of {size} values, {bytes} bytes, do not fit one binding");
    Err(unsupported(op, gpu, why))
}

/// An f32 tensor of `count` matrices of `size` values.
pub(in crate::linalg) fn new(
    gpu: &Gpu,
    op: &'static str,
    count: usize,
    size: usize,
) -> Result<Tensor, OpError> {
    check_length(gpu, op, count, size)?;
    Ok(Tensor::on_gpu(gpu, op, DType::F32, &[count, size])?)
}

/// As [`factors`], but a tall matrix by the products of its columns where they allow it.
pub(super) fn qr(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    matrices: &Matrices,
    [rows, columns]: [usize; 2],
) -> Result<[Tensor; 2], OpError> {
    let &Matrices { count, m, n } = matrices;
    if count == 1
        && columns <= n
        && let Some(factors) = cholesky_qr::factors(gpu, op, a, [m, n], columns > 0)?
    {
        return Ok(factors);
    }
    factors(gpu, op, a, matrices, [rows, columns])
}

/// `rows` rows of R and `columns` columns of Q of every matrix, by reflections; without columns an empty tensor. Nothing waits for the
/// device.
pub(in crate::linalg) fn factors(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    matrices: &Matrices,
    [rows, columns]: [usize; 2],
) -> Result<[Tensor; 2], OpError> {
    let &Matrices { count, m, n } = matrices;
    check_length(gpu, op, count, m * n)?;
    let steps = m.min(n);
    let block = block::Block::choose(gpu, [m, n], steps, columns);
    if block.is_none()
        && columns <= n
        && let Some(block) = tall::block_for(gpu, m, n)
    {
        return tall::factors(gpu, op, a, matrices, &block, columns > 0);
    }
    let r = new(gpu, op, count, rows * n)?;
    let q =
        if columns > 0 { new(gpu, op, count, m * columns)? } else { Tensor::zeros::<f32>(&r.device(), &[0]) };
    if m.max(columns) <= block::TINY && n <= block::TINY {
        block::tiny(gpu, a, matrices, &r, &q, [rows, columns])?;
    } else if let Some(block) = block {
        block.qr(gpu, [a, &r, &q], None, [count, m], [rows, columns])?;
    } else {
        let reduced = blocked::reduce(gpu, op, a, matrices, steps)?;
        arrange(gpu, &r, [rows, n], m as u32, &[&reduced.a], TRIANGLE)?;
        if columns > 0 {
            reduced.form(gpu, op, &q, columns)?;
        }
    }
    Ok([r, q])
}

/// What is on and above the diagonal of matrices of `source` rows.
const TRIANGLE: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return select(0.0, a0[(matrix * params.source + i) * params.columns + j], i <= j);
}
";

/// Every matrix with its first `steps` columns reduced, as LAPACK leaves it, and the factors of the reflectors.
pub(in crate::linalg) fn reflectors(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    matrices: &Matrices,
    steps: usize,
) -> Result<[Tensor; 2], OpError> {
    let &Matrices { count, m, n } = matrices;
    if let Some(block) = block::Block::choose(gpu, [m, n], steps, 0) {
        let [all, tau] = [new(gpu, op, count, m * n)?, new(gpu, op, count, steps)?];
        block.geqrf(gpu, [a, &all, &tau], [count, m])?;
        return Ok([all, tau]);
    }
    let reduced = blocked::reduce(gpu, op, a, matrices, steps)?;
    Ok([reduced.a, reduced.tau])
}

/// The first `n` columns of the product of `steps` reflectors of every matrix.
pub(super) fn product(
    gpu: &Gpu,
    op: &'static str,
    v: &Tensor,
    tau: &Tensor,
    matrices: &Matrices,
    steps: usize,
) -> Result<Tensor, OpError> {
    let &Matrices { count, m, n } = matrices;
    let q = new(gpu, op, count, m * n)?;
    match block::Block::choose(gpu, [m, n], steps, n) {
        Some(block) => block.product(gpu, [v, tau, &q], [count, m])?,
        None => blocked::of_reflectors(gpu, op, v, tau, matrices, steps)?.form(gpu, op, &q, n)?,
    }
    Ok(q)
}

/// Whether R of a matrix comes from blocks of its rows, faster than its reflectors would.
pub(in crate::linalg) fn is_tall(gpu: &Gpu, m: usize, n: usize) -> bool {
    block::Block::choose(gpu, [m, n], m.min(n), 0).is_none() && tall::block_for(gpu, m, n).is_some()
}

/// See [`super::qr_backward`].
pub(super) fn backward(
    gpu: &Gpu,
    op: &'static str,
    [q, r]: [&Tensor; 2],
    [grad_q, grad_r]: [Option<&Tensor>; 2],
    &Matrices { count, m, n }: &Matrices,
) -> Result<Tensor, OpError> {
    let k = m.min(n);
    let q = Part::whole(q, [m, k]);
    let [r_first, r_behind] = [Part::of_columns(r, [k, n], 0), Part::of_columns(r, [k, n], k)];
    let first = new(gpu, op, count, m * k)?;
    match grad_q {
        Some(grad_q) => arrange(gpu, &first, [m, k], 0, &[grad_q], COPY)?,
        None => arrange(gpu, &first, [m, k], 0, &[], ZERO)?,
    }
    let first = Part::whole(&first, [m, k]);
    let square = new(gpu, op, count, k * k)?;
    let square = Part::whole(&square, [k, k]);
    let mut behind = None;
    if let Some(grad_r) = grad_r.filter(|_| n > k) {
        // R Qᵀ: what the columns behind the first ones are made of.
        let grad_behind = Part::of_columns(grad_r, [k, n], k);
        let made = new(gpu, op, count, m * (n - k))?;
        multiply(gpu, count, [k, n - k, k], r_behind, grad_behind.transposed(), square, (1.0, false))?;
        multiply(gpu, count, [m, k, k], q, square, first, (1.0, true))?;
        multiply(gpu, count, [m, k, n - k], q, grad_behind, Part::whole(&made, [m, n - k]), (1.0, false))?;
        behind = Some(made);
    }
    multiply(gpu, count, [k, m, k], q.transposed(), first, square, (-1.0, false))?;
    if let Some(grad_r) = grad_r {
        let grad_first = Part::of_columns(grad_r, [k, n], 0);
        multiply(gpu, count, [k, k, k], grad_first, r_first.transposed(), square, (1.0, true))?;
    }
    let symmetric = new(gpu, op, count, k * k)?;
    arrange(gpu, &symmetric, [k, k], 0, &[square.tensor], MIRROR)?;
    multiply(gpu, count, [m, k, k], q, Part::whole(&symmetric, [k, k]), first, (1.0, true))?;
    // X Rᵀ = Y is R Xᵀ = Yᵀ: a system for every row.
    let vectors = Vectors { each: m, step: 1, vector: k, matrix: m * k };
    solve(gpu, count, k, (r, n, k * n), (first.tensor, vectors), [false, false])?;
    if n == k {
        return Ok(first.tensor.clone());
    }
    let result = new(gpu, op, count, m * n)?;
    match &behind {
        Some(behind) => arrange(gpu, &result, [m, n], k as u32, &[first.tensor, behind], BESIDE)?,
        None => arrange(gpu, &result, [m, n], k as u32, &[first.tensor], BESIDE_ZERO)?,
    }
    Ok(result)
}

/// The matrix itself.
pub(in crate::linalg) const COPY: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return a0[(matrix * params.rows + i) * params.columns + j];
}
";

/// Zeros.
const ZERO: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 { return 0.0; }\n";

/// The upper triangle, and below the diagonal the same again.
const MIRROR: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return a0[(matrix * params.rows + min(i, j)) * params.columns + max(i, j)];
}
";

/// Two matrices side by side, the first of `source` columns.
pub(in crate::linalg) const BESIDE: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    let row = matrix * params.rows + i;
    if (j < params.source) {
        return a0[row * params.source + j];
    }
    return a1[row * (params.columns - params.source) + j - params.source];
}
";

/// A matrix of `source` columns with zeros behind it.
const BESIDE_ZERO: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    if (j < params.source) {
        return a0[(matrix * params.rows + i) * params.source + j];
    }
    return 0.0;
}
";
