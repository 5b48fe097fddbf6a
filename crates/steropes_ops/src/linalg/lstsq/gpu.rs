//! Full rank on a GPU: R of `[A b]`, or QR of the transpose, then triangular systems. Nothing waits for the device.

use super::{Lstsq, OP, System};
use crate::error::OpError;
use crate::gpu::unsupported;
use crate::linalg::qr::Matrices;
use crate::linalg::qr::gpu::{
    BESIDE, COPY, Part, Vectors, arrange, factors, is_tall, multiply, new, reflectors, solve,
};
use steropes_tensor::{Device, Gpu, Tensor};

/// See [`super::lstsq`].
pub(super) fn gels(gpu: &Gpu, a: &Tensor, b: &Tensor, system: &System) -> Result<Lstsq, OpError> {
    let &System { m, n, k, .. } = system;
    let (a, b) = (expanded(gpu, a, system, 0)?, expanded(gpu, b, system, 1)?);
    let (solution, residuals) =
        if m < n { (wide(gpu, &a, &b, system)?, None) } else { along(gpu, &a, &b, system)? };
    let reshaped = |tensor: Tensor, shape: &[usize]| tensor.reshape(shape).expect("a value for each place");
    debug_assert_eq!(solution.len(), system.count() * n * k, "a solution for each column");
    Ok(Lstsq {
        solution: reshaped(solution, &system.solution_shape()),
        residuals: residuals.map(|residuals| reshaped(residuals, &system.residual_shape())),
        rank: None,
    })
}

/// The matrices of `a` (0) or `b` (1), repeated as the batch asks for.
fn expanded(gpu: &Gpu, tensor: &Tensor, system: &System, which: usize) -> Result<Tensor, OpError> {
    let count = system.count();
    if system.batch.is_plain() {
        return Ok(tensor.clone());
    }
    // Numbers of matrices go to the kernel as f32.
    if count > 1 << 24 {
        return Err(unsupported(OP, gpu, format!("a batch of {count} matrices that is repeated")));
    }
    let sources = (0..count).map(|i| system.batch.sources(i)[which] as f32).collect();
    let sources =
        Tensor::new::<f32>(&Device::Gpu(gpu.clone()), &[count], sources).expect("a number for each matrix");
    let extents = [system.m, [system.n, system.k][which]];
    let result = new(gpu, OP, count, extents[0] * extents[1])?;
    arrange(gpu, &result, extents, 0, &[tensor, &sources], REPEATED)?;
    Ok(result)
}

/// Matrix `a1[matrix]`.
const REPEATED: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return a0[(u32(a1[matrix]) * params.rows + i) * params.columns + j];
}
";

/// `b` is reduced with A.
fn along(gpu: &Gpu, a: &Tensor, b: &Tensor, system: &System) -> Result<(Tensor, Option<Tensor>), OpError> {
    let &System { m, n, k, .. } = system;
    let (count, width) = (system.count(), n + k);
    let both = new(gpu, OP, count, m * width)?;
    arrange(gpu, &both, [m, width], n as u32, &[a, b], BESIDE)?;
    let matrices = Matrices { count, m, n: width };
    // The rows behind the first n hold what A cannot explain, as a triangle or not.
    let (reduced, rows) = if is_tall(gpu, m, width) {
        let [r, _] = factors(gpu, OP, &both, &matrices, [width, 0])?;
        (r, width)
    } else {
        let [reduced, _] = reflectors(gpu, OP, &both, &matrices, n)?;
        (reduced, m)
    };
    let solution = new(gpu, OP, count, n * k)?;
    let text = |body: &str| {
        format!(
            "const WIDTH: u32 = {width}u;\nconst N: u32 = {n}u;\n\
             fn value_at(matrix: u32, i: u32, j: u32) -> f32 {{\n{body}}}\n"
        )
    };
    let right = "    return a0[(matrix * params.source + i) * WIDTH + N + j];\n";
    arrange(gpu, &solution, [n, k], rows as u32, &[&reduced], &text(right))?;
    let vectors = Vectors { each: k, step: k, vector: 1, matrix: n * k };
    solve(gpu, count, n, (&reduced, width, rows * width), (&solution, vectors), [false, true])?;
    if m == n {
        return Ok((solution, None));
    }
    let residuals = new(gpu, OP, count, k)?;
    let squares = "    var sum = 0.0;
    for (var row = N; row < params.source; row++) {
        let x = a0[(matrix * params.source + row) * WIDTH + N + j];
        sum += x * x;
    }
    return sum;
";
    arrange(gpu, &residuals, [1, k], rows as u32, &[&reduced], &text(squares))?;
    Ok((solution, Some(residuals)))
}

/// The solution of the smallest norm: `A^T = Q R`, `x = Q R^-T b`.
fn wide(gpu: &Gpu, a: &Tensor, b: &Tensor, system: &System) -> Result<Tensor, OpError> {
    let &System { m, n, k, .. } = system;
    let count = system.count();
    let transposed = new(gpu, OP, count, n * m)?;
    arrange(gpu, &transposed, [n, m], 0, &[a], TRANSPOSED)?;
    let [r, q] = factors(gpu, OP, &transposed, &Matrices { count, m: n, n: m }, [m, m])?;
    let y = new(gpu, OP, count, m * k)?;
    arrange(gpu, &y, [m, k], 0, &[b], COPY)?;
    let vectors = Vectors { each: k, step: k, vector: 1, matrix: m * k };
    solve(gpu, count, m, (&r, m, m * m), (&y, vectors), [true, true])?;
    let solution = new(gpu, OP, count, n * k)?;
    let [q, y, x] = [Part::whole(&q, [n, m]), Part::whole(&y, [m, k]), Part::whole(&solution, [n, k])];
    multiply(gpu, count, [n, m, k], q, y, x, (1.0, false))?;
    Ok(solution)
}

/// The transpose.
const TRANSPOSED: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return a0[(matrix * params.columns + j) * params.rows + i];
}
";
