//! Eigenvalues and eigenvectors of symmetric matrices.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::stack::Stack;
use crate::cpu::lanes::Real;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::eigh";
const VALUES_OP: &str = "linalg::eigvalsh";
const BACKWARD_OP: &str = "linalg::eigh_backward";

/// Which triangle of a symmetric matrix is read, with the diagonal; what the other holds does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Uplo {
    /// On and below the diagonal.
    #[default]
    Lower,
    /// On and above the diagonal.
    Upper,
}

/// Eigenvalues in ascending order and eigenvectors of symmetric matrices: `a = v diag(l) v^T`.
///
/// # Shapes
/// - `a`: `[.., n, n]`, f32, on the CPU also f64; only the triangle `uplo` is read
/// - returns: values `[.., n]` and vectors `[.., n, n]`, one in each column, of the dtype of `a`
///
/// Batches and matrices may be empty.
///
/// # Numerics
/// In the dtype of `a`, of matrices scaled by a power of two, so that neither very large nor very small ones overflow. Values
/// are within `(n + 8) eps ||a||` of the exact ones, and `||a v - v diag(l)||` and `||v^T v - 1||` within the same (without the
/// norm). The vectors of equal values are some basis of their space.
///
/// In each vector, the first entry of at least 7/8 of the largest magnitude is positive. So the sign is the same on every
/// device, and entries that are equal but for rounding do not decide about it.
///
/// A matrix with a NaN or an infinity in its triangle, or one that did not converge (none is known), has only NaN
/// as values and vectors; others of the batch are as they would be without it. `torch` raises an error, for which it must
/// wait; this op never waits for a device.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above, [`OpError::Unsupported`] on a GPU for `n` above 4096.
///
/// # Source
/// On the CPU, up to 16 x 16: cyclic Jacobi (Golub and Van Loan, Matrix Computations, 8.5), else divide and conquer of
/// `faer`. On a GPU parallel and block Jacobi (the same, 8.5.6), two-sided, so that pairs of values of opposite sign are
/// ordinary.
pub fn eigh(a: &Tensor, uplo: Uplo) -> Result<(Tensor, Tensor), OpError> {
    let (values, vectors) = run(OP, a, uplo, true)?;
    Ok((values, vectors.expect("vectors were asked for")))
}

/// The values of [`eigh`] alone, `[.., n]`, at less cost. The contract is otherwise the same.
///
/// # Errors
/// As [`eigh`].
pub fn eigvalsh(a: &Tensor, uplo: Uplo) -> Result<Tensor, OpError> {
    Ok(run(VALUES_OP, a, uplo, false)?.0)
}

fn run(op: &'static str, a: &Tensor, uplo: Uplo, vectors: bool) -> Result<(Tensor, Option<Tensor>), OpError> {
    let stack = Stack::square(op, "a", a)?;
    match place(op, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => Ok(run_on_cpu::<f64>(a, &stack, uplo, vectors)),
        Place::Cpu => Ok(run_on_cpu::<f32>(a, &stack, uplo, vectors)),
        Place::Gpu(gpu) => gpu::eigh(&gpu, op, a, &stack, uplo, vectors),
    }
}

fn run_on_cpu<T: Real>(a: &Tensor, stack: &Stack, uplo: Uplo, vectors: bool) -> (Tensor, Option<Tensor>) {
    let n = stack.rows;
    let (l, v) = cpu::eigh::<T>(values(a), n, uplo, vectors);
    (on_cpu(&stack.with(&[n]), l), vectors.then(|| on_cpu(a.shape(), v)))
}

/// The gradient of a loss with respect to `a` of [`eigh`], from those with respect to its results.
///
/// `v (diag(grad_values) + (m - m^T) / (2 e)) v^T` with `m = v^T grad_vectors` and `e[i, j] = l[j] - l[i]`; a missing gradient
/// counts as zero. The result is symmetric: `sum(result * da)` is the change of the loss for a symmetric change `da`.
///
/// # Shapes
/// - `values`, `grad_values`: `[.., n]`; `vectors`, `grad_vectors`: `[.., n, n]`; f32, on the CPU also f64, all of one dtype
/// - returns: `[.., n, n]`
///
/// # Numerics
/// In the dtype of the arguments. Vectors of close values are ill-conditioned: rounding is divided by their distance. With
/// `grad_vectors`, a matrix with two equal values has a gradient of NaN, as no derivative exists; without, it is exact.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// M. Giles, An extended collection of matrix derivative results, 3.1; as `torch.linalg.eigh`, symmetrised.
pub fn eigh_backward(
    values: &Tensor,
    vectors: &Tensor,
    grad_values: Option<&Tensor>,
    grad_vectors: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let stack = Stack::square(BACKWARD_OP, "vectors", vectors)?;
    let shape = stack.with(&[stack.rows]);
    let shapes = [("values", Some(values), &shape[..]), ("grad_values", grad_values, &shape)];
    for (name, tensor, shape) in shapes.into_iter().chain([("grad_vectors", grad_vectors, vectors.shape())]) {
        if let Some(tensor) = tensor.filter(|tensor| tensor.shape() != shape) {
            return Err(OpError::shape(BACKWARD_OP, name, format!("{shape:?}"), tensor.shape()));
        }
    }
    let mut arguments = vec![("values", values, Holds::Real), ("vectors", vectors, Holds::Real)];
    arguments.extend(grad_values.map(|tensor| ("grad_values", tensor, Holds::Real)));
    arguments.extend(grad_vectors.map(|tensor| ("grad_vectors", tensor, Holds::Real)));
    match place(BACKWARD_OP, &arguments)? {
        Place::Cpu if values.dtype() == DType::F64 => {
            Ok(backward_on_cpu::<f64>(values, vectors, grad_values, grad_vectors))
        }
        Place::Cpu => Ok(backward_on_cpu::<f32>(values, vectors, grad_values, grad_vectors)),
        Place::Gpu(gpu) => gpu::backward(&gpu, &stack, values, vectors, grad_values, grad_vectors),
    }
}

fn backward_on_cpu<T: Real>(
    l: &Tensor,
    v: &Tensor,
    grad_l: Option<&Tensor>,
    grad_v: Option<&Tensor>,
) -> Tensor {
    let n = l.shape().last().copied().unwrap_or(0);
    let grads = [grad_l.map(values::<T>), grad_v.map(values::<T>)];
    on_cpu(v.shape(), cpu::backward::<T>(values(l), values(v), grads, n))
}
