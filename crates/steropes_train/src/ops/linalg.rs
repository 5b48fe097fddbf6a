//! Dense linear algebra. Gradients are ops of their own; gradients that are recorded are made of steps, so that they have gradients.

mod second;

use crate::{Tape, TapeError, Var};
use steropes_ops::linalg::cholesky::{cholesky, cholesky_backward};
use steropes_ops::linalg::det::{det, det_backward, slogdet, slogdet_backward};
use steropes_ops::linalg::eigh::{Uplo, eigh, eigh_backward};
use steropes_ops::linalg::lstsq::{LstsqDriver, lstsq, lstsq_backward};
use steropes_ops::linalg::lu::{lu, lu_backward};
use steropes_ops::linalg::matmul::{Transposed, matmul, matmul_backward};
use steropes_ops::linalg::pinv::{pinv, pinv_backward};
use steropes_ops::linalg::qr::{QrMode, qr, qr_backward};
use steropes_ops::linalg::solve::{inv, solve};
use steropes_ops::linalg::solve_triangular::solve_triangular;
use steropes_ops::linalg::svd::{svd, svd_backward};
use steropes_tensor::{DType, Tensor};

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

    /// `X` with `A X = B`, or `X A = B` unless `left`, of triangular `a` with the same batch as `b`, of which one triangle is read.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn solve_triangular(&self, a: &Var, b: &Var, upper: bool, left: bool) -> Result<Var, TapeError> {
        if batch_of(a) != batch_of(b) {
            return Err(TapeError::Shapes(a.shape().to_vec(), b.shape().to_vec()));
        }
        let value = solve_triangular(a.value(), b.value(), upper, left, false)?;
        let ([matrix, right], solution) = ([a, b].map(Var::clone), Var::constant(value.clone()));
        self.step(value, &[a, b], move |tape, gradient| {
            let of_b = tape.solve_triangular(&tape.transpose(&matrix)?, gradient, !upper, left)?;
            let of_a = || {
                // For a second derivative it needs a place on the tape.
                let x = match tape.is_recording() {
                    true => tape.solve_triangular(&matrix, &right, upper, left)?,
                    false => solution.clone(),
                };
                let product = match left {
                    true => tape.matmul(&of_b, &x, Transposed::B)?,
                    false => tape.matmul(&x, &of_b, Transposed::A)?,
                };
                let read = |i, j| if i == j || (i < j) == upper { -1.0 } else { 0.0 };
                tape.weighted(&product, read)
            };
            let of_a = matrix.is_recorded().then(of_a).transpose()?;
            Ok(vec![of_a, Some(of_b)])
        })
    }

    /// The lower Cholesky factors of positive definite matrices, of which the lower triangle is read.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn cholesky(&self, a: &Var) -> Result<Var, TapeError> {
        let value = cholesky(a.value(), false)?;
        let (matrix, factor) = (a.clone(), value.clone());
        self.step(value, &[a], move |tape, gradient| {
            let of_a = match tape.is_recording() {
                true => second::cholesky(tape, &tape.cholesky(&matrix)?, gradient)?,
                false => Var::constant(cholesky_backward(gradient.value(), &factor, false)?),
            };
            Ok(vec![Some(of_a)])
        })
    }

    /// `(Q, R)` with `A = Q R`, of reduced form.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn qr(&self, a: &Var) -> Result<(Var, Var), TapeError> {
        let (q, r) = qr(a.value(), QrMode::Reduced)?;
        let part = |which: usize| {
            let (matrix, factors) = (a.clone(), [q.clone(), r.clone()]);
            self.step(factors[which].clone(), &[a], move |tape, gradient| {
                let of = |place: usize| (place == which).then_some(gradient);
                let of_a = if tape.is_recording() {
                    second::qr(tape, tape.qr(&matrix)?, [of(0), of(1)])?
                } else {
                    let of = |place: usize| of(place).map(Var::value);
                    Var::constant(qr_backward(&factors[0], &factors[1], of(0), of(1))?)
                };
                Ok(vec![Some(of_a)])
            })
        };
        Ok((part(0)?, part(1)?))
    }

    /// Eigenvalues and eigenvectors of symmetric matrices, of which the lower triangle is read.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn eigh(&self, a: &Var) -> Result<(Var, Var), TapeError> {
        let (values, vectors) = eigh(a.value(), Uplo::Lower)?;
        let part = |which: usize| {
            let (matrix, parts) = (a.clone(), [values.clone(), vectors.clone()]);
            self.step(parts[which].clone(), &[a], move |tape, gradient| {
                let of = |place: usize| (place == which).then_some(gradient);
                let of_a = if tape.is_recording() {
                    second::eigh(tape, tape.eigh(&matrix)?, [of(0), of(1)])?
                } else {
                    let of = |place: usize| of(place).map(Var::value);
                    Var::constant(eigh_backward(&parts[0], &parts[1], of(0), of(1))?)
                };
                Ok(vec![Some(of_a)])
            })
        };
        Ok((part(0)?, part(1)?))
    }

    /// `(U, S, Vh)` with `A = U diag(S) Vh`, of reduced form.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn svd(&self, a: &Var) -> Result<[Var; 3], TapeError> {
        let (u, s, vh) = svd(a.value(), false)?;
        let parts = [u, s, vh];
        let part = |which: usize| {
            let (matrix, kept) = (a.clone(), parts.clone());
            self.step(parts[which].clone(), &[a], move |tape, gradient| {
                let of = |place: usize| (place == which).then_some(gradient);
                let of_a = if tape.is_recording() {
                    second::svd(tape, tape.svd(&matrix)?, [of(0), of(1), of(2)])?
                } else {
                    let [u, s, vh] = &kept;
                    let of = |place: usize| of(place).map(Var::value);
                    Var::constant(svd_backward(u, s, vh, of(0), of(1), of(2))?)
                };
                Ok(vec![Some(of_a)])
            })
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// Determinants, `[..]`. A second derivative needs inverses.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn det(&self, a: &Var) -> Result<Var, TapeError> {
        let value = det(a.value())?;
        let matrix = a.clone();
        self.step(value, &[a], move |tape, gradient| {
            let of_a = if tape.is_recording() {
                let factor = tape.mul(gradient, &tape.det(&matrix)?)?;
                second::of_inverse(tape, &matrix, &factor)?
            } else {
                Var::constant(det_backward(gradient.value(), matrix.value())?)
            };
            Ok(vec![Some(of_a)])
        })
    }

    /// Signs of determinants, which have no gradient, and logarithms of their magnitudes, `[..]` each.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn slogdet(&self, a: &Var) -> Result<(Tensor, Var), TapeError> {
        let (signs, value) = slogdet(a.value())?;
        let matrix = a.clone();
        let logarithms = self.step(value, &[a], move |tape, gradient| {
            let of_a = match tape.is_recording() {
                true => second::of_inverse(tape, &matrix, gradient)?,
                false => Var::constant(slogdet_backward(gradient.value(), matrix.value())?),
            };
            Ok(vec![Some(of_a)])
        })?;
        Ok((signs, logarithms))
    }

    /// `(P, L, U)` with `A = P L U`; `P` has no gradient.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn lu(&self, a: &Var) -> Result<(Tensor, Var, Var), TapeError> {
        let (p, l, u) = lu(a.value())?;
        let part = |which: usize| {
            let (p, parts) = (p.clone(), [l.clone(), u.clone()]);
            self.first_order_step("lu", parts[which].clone(), &[a], move |gradient| {
                let of = |place: usize| (place == which).then_some(gradient);
                Ok(vec![Some(lu_backward(of(0), of(1), &p, &parts[0], &parts[1])?)])
            })
        };
        let [l, u] = [part(0)?, part(1)?];
        Ok((p, l, u))
    }

    /// Pseudo-inverses, of singular values above `rtol` times the largest, as long as their number stays.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn pinv(&self, a: &Var, rtol: Option<f64>) -> Result<Var, TapeError> {
        let value = pinv(a.value(), rtol)?;
        let (matrix, inverse) = (a.clone(), value.clone());
        self.step(value, &[a], move |tape, gradient| {
            let of_a = match tape.is_recording() {
                true => second::pinv(tape, &matrix, &tape.pinv(&matrix, rtol)?, gradient)?,
                false => Var::constant(pinv_backward(gradient.value(), matrix.value(), &inverse)?),
            };
            Ok(vec![Some(of_a)])
        })
    }

    /// `X` of the smallest `|A X - B|` for matrices of full rank, of `a` `[.., m, n]` and `b` `[.., m, k]` with the same batch.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn lstsq(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        if a.shape().len() != b.shape().len() || batch_of(a) != batch_of(b) {
            return Err(TapeError::Shapes(a.shape().to_vec(), b.shape().to_vec()));
        }
        let value = lstsq(a.value(), b.value(), None, LstsqDriver::Gels)?.solution;
        let ([matrix, right], solution) = ([a, b].map(Var::clone), value.clone());
        self.step(value, &[a, b], move |tape, gradient| {
            let (of_a, of_b) = if tape.is_recording() {
                // As the product with the pseudo-inverse.
                let inverse = tape.pinv(&matrix, None)?;
                let of_inverse = tape.matmul(gradient, &right, Transposed::B)?;
                let of_a = second::pinv(tape, &matrix, &inverse, &of_inverse)?;
                (of_a, tape.matmul(&inverse, gradient, Transposed::A)?)
            } else {
                let (of_a, of_b) =
                    lstsq_backward(gradient.value(), None, matrix.value(), right.value(), &solution)?;
                (Var::constant(of_a), Var::constant(of_b))
            };
            Ok(vec![Some(of_a), Some(of_b)])
        })
    }

    /// Matrices whose element `(i, j)` is multiplied by `weight(i, j)`.
    fn weighted(&self, a: &Var, weight: impl Fn(usize, usize) -> f64) -> Result<Var, TapeError> {
        let weights = matrices(a, a.shape(), weight)?;
        self.mul(a, &weights)
    }
}

/// The extents in front of the last two.
fn batch_of(a: &Var) -> &[usize] {
    &a.shape()[..a.shape().len().saturating_sub(2)]
}

/// Matrices of `shape` with the elements `value(i, j)`, constant, in the dtype and on the device of `like`.
fn matrices(like: &Var, shape: &[usize], value: impl Fn(usize, usize) -> f64) -> Result<Var, TapeError> {
    let device = like.value().device();
    let columns = shape.last().copied().unwrap_or(1).max(1);
    let rows = shape.iter().rev().nth(1).copied().unwrap_or(1).max(1);
    let values = (0..shape.iter().product::<usize>()).map(|e| value(e / columns % rows, e % columns));
    Ok(Var::constant(match like.value().dtype() {
        DType::F64 => Tensor::new(&device, shape, values.collect())?,
        _ => Tensor::new(&device, shape, values.map(|x| x as f32).collect())?,
    }))
}
