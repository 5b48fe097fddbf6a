//! Dense linear algebra.

use crate::{Tape, TapeError, Var};
use steropes_ops::linalg::cholesky::{cholesky, cholesky_backward};
use steropes_ops::linalg::eigh::{Uplo, eigh, eigh_backward};
use steropes_ops::linalg::matmul::{Transposed, matmul, matmul_backward};
use steropes_ops::linalg::qr::{QrMode, qr, qr_backward};
use steropes_ops::linalg::solve::{inv, solve};
use steropes_ops::linalg::svd::{svd, svd_backward};

impl Tape {
    /// `A B` of stacks, or of their transposes. Second derivatives exist for operands of equal batches.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn matmul(&self, a: &Var, b: &Var, transposed: Transposed) -> Result<Var, TapeError> {
        let value = matmul(a.value(), b.value(), transposed)?;
        let [left, right] = [a, b].map(Var::clone);
        let batch = |var: &Var| var.shape()[..var.shape().len() - 2].to_vec();
        if batch(a) != batch(b) {
            let [left, right] = [a, b].map(|var| var.value().clone());
            return self.first_order_step(
                "a product of repeated matrices",
                value,
                &[a, b],
                move |gradient| {
                    let (of_a, of_b) = matmul_backward(gradient, &left, &right, transposed)?;
                    Ok(vec![Some(of_a), Some(of_b)])
                },
            );
        }
        self.step(value, &[a, b], move |tape, gradient| {
            let product = |a: &Var, b: &Var, of_a, of_b| tape.matmul(a, b, Transposed { a: of_a, b: of_b });
            let of_left = || match transposed.a {
                false => product(gradient, &right, false, !transposed.b),
                true => product(&right, gradient, transposed.b, true),
            };
            let of_right = || match transposed.b {
                false => product(&left, gradient, !transposed.a, false),
                true => product(gradient, &left, true, transposed.a),
            };
            Ok(vec![
                left.is_recorded().then(of_left).transpose()?,
                right.is_recorded().then(of_right).transpose()?,
            ])
        })
    }

    /// `X` with `A X = B`, of `a` `[.., n, n]` and `b` `[.., n, k]` with the same batch.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn solve(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        if a.shape().len() != b.shape().len()
            || a.shape()[..a.shape().len() - 1] != b.shape()[..b.shape().len() - 1]
        {
            return Err(TapeError::Shapes(a.shape().to_vec(), b.shape().to_vec()));
        }
        let value = solve(a.value(), b.value())?;
        let [matrix, right] = [a, b].map(Var::clone);
        let solution = Var::constant(value.clone());
        self.step(value, &[a, b], move |tape, gradient| {
            let of_b = tape.solve(&tape.transpose(&matrix)?, gradient)?;
            let of_a = || {
                // For a second derivative it needs a place on the tape.
                let x = if tape.is_recording() { tape.solve(&matrix, &right)? } else { solution.clone() };
                tape.scale(&tape.matmul(&of_b, &x, Transposed::B)?, -1.0)
            };
            let of_a = matrix.is_recorded().then(of_a).transpose()?;
            Ok(vec![of_a, Some(of_b)])
        })
    }

    /// The inverses of matrices.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn inv(&self, a: &Var) -> Result<Var, TapeError> {
        let value = inv(a.value())?;
        let (matrix, known) = (a.clone(), Var::constant(value.clone()));
        self.step(value, &[a], move |tape, gradient| {
            let inverse = if tape.is_recording() { tape.inv(&matrix)? } else { known.clone() };
            let product = tape.matmul(&inverse, gradient, Transposed::A)?;
            let product = tape.matmul(&product, &inverse, Transposed::B)?;
            Ok(vec![Some(tape.scale(&product, -1.0)?)])
        })
    }

    /// The lower Cholesky factors of positive definite matrices, of which the lower triangle is read.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn cholesky(&self, a: &Var) -> Result<Var, TapeError> {
        let value = cholesky(a.value(), false)?;
        let factor = value.clone();
        self.first_order_step("cholesky", value, &[a], move |gradient| {
            Ok(vec![Some(cholesky_backward(gradient, &factor, false)?)])
        })
    }

    /// `(Q, R)` with `A = Q R`, of reduced form.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn qr(&self, a: &Var) -> Result<(Var, Var), TapeError> {
        let (q, r) = qr(a.value(), QrMode::Reduced)?;
        let factors = (q.clone(), r.clone());
        let of_q = {
            let (q, r) = factors.clone();
            self.first_order_step("qr", q.clone(), &[a], move |gradient| {
                Ok(vec![Some(qr_backward(&q, &r, Some(gradient), None)?)])
            })?
        };
        let (q, r) = factors;
        let of_r = self.first_order_step("qr", r.clone(), &[a], move |gradient| {
            Ok(vec![Some(qr_backward(&q, &r, None, Some(gradient))?)])
        })?;
        Ok((of_q, of_r))
    }

    /// Eigenvalues and eigenvectors of symmetric matrices, of which the lower triangle is read.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn eigh(&self, a: &Var) -> Result<(Var, Var), TapeError> {
        let (values, vectors) = eigh(a.value(), Uplo::Lower)?;
        let parts = (values.clone(), vectors.clone());
        let of_values = self.first_order_step("eigh", values, &[a], move |gradient| {
            let (values, vectors) = &parts;
            Ok(vec![Some(eigh_backward(values, vectors, Some(gradient), None)?)])
        })?;
        let parts = (of_values.value().clone(), vectors.clone());
        let of_vectors = self.first_order_step("eigh", vectors, &[a], move |gradient| {
            let (values, vectors) = &parts;
            Ok(vec![Some(eigh_backward(values, vectors, None, Some(gradient))?)])
        })?;
        Ok((of_values, of_vectors))
    }

    /// `(U, S, Vh)` with `A = U diag(S) Vh`, of reduced form.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn svd(&self, a: &Var) -> Result<[Var; 3], TapeError> {
        let (u, s, vh) = svd(a.value(), false)?;
        let parts = [u, s, vh];
        let part = |which: usize| {
            let kept = parts.clone();
            self.first_order_step("svd", parts[which].clone(), &[a], move |gradient| {
                let [u, s, vh] = &kept;
                let of = |place: usize| (place == which).then_some(gradient);
                Ok(vec![Some(svd_backward(u, s, vh, of(0), of(1), of(2))?)])
            })
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }
}
