//! The gradient of solutions of full rank.

use super::System;
use crate::elementwise::add::add;
use crate::elementwise::arithmetic::{mul, sub};
use crate::elementwise::transpose::transpose;
use crate::error::{Holds, OpError, place};
use crate::linalg::dense::arithmetic::check_shape;
use crate::linalg::dense::parts::{filled, repeated};
use crate::linalg::matmul::{Transposed, matmul, unrepeated};
use crate::linalg::qr::{QrMode, qr};
use crate::linalg::solve_triangular::{solve_triangular, solve_triangular_transposed};
use steropes_tensor::Tensor;

const OP: &str = "linalg::lstsq_backward";

/// The gradients of [`lstsq`](super::lstsq()) with respect to `a` and `b`, for matrices of full rank.
///
/// # Shapes
/// - `grad`: the gradient of the solution; `grad_residuals`: that of the residuals, only if `m > n`; `None` is 0
/// - `a`, `b`: as given to the forward pass; `solution`: its result; all f32, on the CPU also f64
/// - returns: gradients of the shapes of `a` and `b`, summed over the batch where one was repeated
///
/// # Numerics
/// QR of `a`, or of its transpose with `m < n`, and triangular systems in the dtype; never the normal equations. Infinities and NaN for
/// matrices that are not of full rank.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, also for residuals that do not exist;
/// [`OpError::Unsupported`] on a GPU if one does not fit one binding.
///
/// # Source
/// From the normal equations: with `A = Q R`, `r = B - A X`, `W = R^-1 R^-T grad` and `G = A W`, the gradient of `B` is `G`, that of `A`
/// `r W^T - G X^T`; those of the residuals are `2 r` and `-2 r X^T`. For `m < n` with `A^T = Q R`, `G = R^-1 Q^T grad` and `R^-1 Q^T X ((1 - Q Q^T)
/// grad)^T - G X^T`.
pub fn lstsq_backward(
    grad: &Tensor,
    grad_residuals: Option<&Tensor>,
    a: &Tensor,
    b: &Tensor,
    solution: &Tensor,
) -> Result<(Tensor, Tensor), OpError> {
    let system = System::of(a, b).map_err(|error| error.of(OP))?;
    check_shape(OP, "solution", solution, &system.solution_shape())?;
    check_shape(OP, "grad", grad, solution.shape())?;
    let real = Holds::Real;
    let mut arguments =
        vec![("a", a, real), ("b", b, real), ("solution", solution, real), ("grad", grad, real)];
    if let Some(of_residuals) = grad_residuals {
        if system.m <= system.n {
            return Err(OpError::value(OP, "grad_residuals", "none without more rows than columns", "one"));
        }
        check_shape(OP, "grad_residuals", of_residuals, &system.residual_shape())?;
        arguments.push(("grad_residuals", of_residuals, real));
    }
    place(OP, &arguments)?;
    if system.is_empty() {
        return Ok((filled(a, a.shape(), 0.0), filled(b, b.shape(), 0.0)));
    }
    let matrices = |tensor: &Tensor| {
        let shape = if system.vectors { [tensor.shape(), &[1]].concat() } else { tensor.shape().to_vec() };
        tensor.clone().reshape(&shape).expect("as many elements")
    };
    let given = Given { a, b: &matrices(b), x: &matrices(solution), grad: &matrices(grad) };
    let (of_a, of_b) = if system.m >= system.n { given.tall(&system, grad_residuals) } else { given.wide() }
        .map_err(|error| error.of(OP))?;
    let of_b = unrepeated(of_b, given.b.shape())?;
    Ok((unrepeated(of_a, a.shape())?, of_b.reshape(b.shape()).expect("as many elements")))
}

/// Matrices, right sides, solutions and their gradients.
struct Given<'a> {
    a: &'a Tensor,
    b: &'a Tensor,
    x: &'a Tensor,
    grad: &'a Tensor,
}

impl Given<'_> {
    fn tall(&self, system: &System, grad_residuals: Option<&Tensor>) -> Result<(Tensor, Tensor), OpError> {
        let (q, r) = qr(self.a, QrMode::Reduced)?;
        let y = solve_triangular_transposed(&r, self.grad, true, true, false)?;
        let w = solve_triangular(&r, &y, true, true, false)?;
        let rest =
            sub(repeated(OP, self.b, &system.batch.batch)?, &matmul(self.a, self.x, Transposed::NONE)?)?;
        let mut of_b = matmul(&q, &y, Transposed::NONE)?;
        if let Some(of_residuals) = grad_residuals {
            let row = [&system.batch.batch[..], &[1, system.k]].concat();
            let row = of_residuals.clone().reshape(&row).expect("as many elements");
            let factors = matmul(&filled(self.a, &[system.m, 1], 2.0), &row, Transposed::NONE)?;
            of_b = add(of_b, &mul(factors, &rest)?)?;
        }
        let of_a = sub(matmul(&rest, &w, Transposed::B)?, &matmul(&of_b, self.x, Transposed::B)?)?;
        Ok((of_a, of_b))
    }

    fn wide(&self) -> Result<(Tensor, Tensor), OpError> {
        let (q, r) = qr(&transpose(self.a)?, QrMode::Reduced)?;
        let along = matmul(&q, self.grad, Transposed::A)?;
        let of_b = solve_triangular(&r, &along, true, true, false)?;
        let z = solve_triangular(&r, &matmul(&q, self.x, Transposed::A)?, true, true, false)?;
        let across = sub(self.grad.clone(), &matmul(&q, &along, Transposed::NONE)?)?;
        let of_a = sub(matmul(&z, &across, Transposed::B)?, &matmul(&of_b, self.x, Transposed::B)?)?;
        Ok((of_a, of_b))
    }
}
