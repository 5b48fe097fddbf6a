//! Gradients of factorisations as steps of a tape. The formulas are those of the backward ops, whose documentation has their sources.

use super::{batch_of, matrices};
use crate::{Tape, TapeError, Var};
use steropes_ops::linalg::matmul::Transposed;

/// Of `A` from the gradient of its lower factor.
pub(super) fn cholesky(tape: &Tape, factor: &Var, gradient: &Var) -> Result<Var, TapeError> {
    let gradient = tape.weighted(gradient, |i, j| f64::from(u8::from(j <= i)))?;
    let product = tape.matmul(factor, &gradient, Transposed::A)?;
    // Half of the lower triangle, whose diagonal is halved once more, and the same above it.
    let half =
        tape.weighted(&product, |i, j| if i == j { 0.25 } else { 0.5 * f64::from(u8::from(j < i)) })?;
    let inner = tape.add(&half, &tape.transpose(&half)?)?;
    let left = tape.solve_triangular(&tape.transpose(factor)?, &inner, true, true)?;
    tape.solve_triangular(factor, &left, false, false)
}

/// Of `A` from the gradients of `Q` and `R`, one at least.
pub(super) fn qr(tape: &Tape, (q, r): (Var, Var), gradients: [Option<&Var>; 2]) -> Result<Var, TapeError> {
    let [grad_q, grad_r] = gradients;
    let [k, n] = [0, 1].map(|i| r.shape()[r.shape().len() - 2 + i]);
    // The first columns, which decide Q, and those behind them, by products with ones in their places.
    let first = Columns { from: 0, count: k, of: n };
    let behind = Columns { from: k, count: n - k, of: n };
    let mut of_q = grad_q.cloned();
    if let Some(grad_r) = grad_r.filter(|_| n > k) {
        let inner = tape.matmul(&behind.of(tape, &r)?, &behind.of(tape, grad_r)?, Transposed::B)?;
        of_q = sum(tape, of_q, tape.matmul(&q, &inner, Transposed::NONE)?)?;
    }
    let mut square = None;
    if let Some(grad_r) = grad_r {
        square = Some(tape.matmul(&first.of(tape, grad_r)?, &first.of(tape, &r)?, Transposed::B)?);
    }
    if let Some(of_q) = &of_q {
        square = sum(tape, square, tape.scale(&tape.matmul(&q, of_q, Transposed::A)?, -1.0)?)?;
    }
    let square = square.expect("one gradient at least");
    let upper = tape.weighted(&square, |i, j| f64::from(u8::from(i <= j)))?;
    let lower = tape.transpose(&tape.weighted(&square, |i, j| f64::from(u8::from(i < j)))?)?;
    let of_q = sum(tape, of_q, tape.matmul(&q, &tape.add(&upper, &lower)?, Transposed::NONE)?)?;
    let triangle = tape.transpose(&first.of(tape, &r)?)?;
    let of_first = tape.solve_triangular(&triangle, &of_q.expect("it was added"), false, false)?;
    let of_a = first.back(tape, &of_first)?;
    match grad_r {
        Some(grad_r) if n > k => {
            let of_behind = tape.matmul(&q, &behind.of(tape, grad_r)?, Transposed::NONE)?;
            tape.add(&of_a, &behind.back(tape, &of_behind)?)
        }
        _ => Ok(of_a),
    }
}

/// Of symmetric `A` from the gradients of eigenvalues and vectors.
pub(super) fn eigh(
    tape: &Tape,
    (values, vectors): (Var, Var),
    [grad_values, grad_vectors]: [Option<&Var>; 2],
) -> Result<Var, TapeError> {
    let mut inner = grad_values.map(|gradient| diagonal(tape, gradient)).transpose()?;
    if let Some(gradient) = grad_vectors {
        let product = tape.matmul(&vectors, gradient, Transposed::A)?;
        let skew = tape.scale(&tape.sub(&product, &tape.transpose(&product)?)?, 0.5)?;
        inner = sum(tape, inner, tape.div(&skew, &distances(tape, &values)?)?)?;
    }
    let inner = inner.expect("one gradient at least");
    let left = tape.matmul(&vectors, &inner, Transposed::NONE)?;
    tape.matmul(&left, &vectors, Transposed::B)
}

/// Of `A` from the gradients of `U`, `S` and `Vh`.
pub(super) fn svd(
    tape: &Tape,
    [u, s, vh]: [Var; 3],
    [grad_u, grad_s, grad_vh]: [Option<&Var>; 3],
) -> Result<Var, TapeError> {
    let [m, k] = [0, 1].map(|i| u.shape()[u.shape().len() - 2 + i]);
    let n = *vh.shape().last().expect("a matrix");
    let skew = |product: &Var| tape.sub(product, &tape.transpose(product)?);
    let squares = tape.mul(&s, &s)?;
    let mut inner = grad_s.map(|gradient| diagonal(tape, gradient)).transpose()?;
    if let Some(gradient) = grad_u {
        let product = skew(&tape.matmul(&u, gradient, Transposed::A)?)?;
        let product = tape.div(&product, &distances(tape, &squares)?)?;
        inner = sum(tape, inner, tape.mul(&product, &beside(tape, &s, k)?)?)?;
    }
    if let Some(gradient) = grad_vh {
        let product = skew(&tape.matmul(&vh, gradient, Transposed::B)?)?;
        let product = tape.div(&product, &distances(tape, &squares)?)?;
        inner = sum(tape, inner, tape.mul(&product, &below(tape, &s, k)?)?)?;
    }
    let inner = tape.matmul(&u, &inner.expect("one gradient at least"), Transposed::NONE)?;
    let mut of_a = tape.matmul(&inner, &vh, Transposed::NONE)?;
    if let Some(gradient) = grad_u.filter(|_| m > k) {
        // What U does not reach.
        let inside = tape.matmul(&u, &tape.matmul(&u, gradient, Transposed::A)?, Transposed::NONE)?;
        let outside = tape.div(&tape.sub(gradient, &inside)?, &beside(tape, &s, m)?)?;
        of_a = tape.add(&of_a, &tape.matmul(&outside, &vh, Transposed::NONE)?)?;
    }
    if let Some(gradient) = grad_vh.filter(|_| n > k) {
        let inside = tape.matmul(&tape.matmul(gradient, &vh, Transposed::B)?, &vh, Transposed::NONE)?;
        let outside = tape.div(&tape.sub(gradient, &inside)?, &below(tape, &s, n)?)?;
        of_a = tape.add(&of_a, &tape.matmul(&u, &outside, Transposed::NONE)?)?;
    }
    Ok(of_a)
}

/// Transposed inverses times a number for each, `[..]`.
pub(super) fn of_inverse(tape: &Tape, matrix: &Var, factors: &Var) -> Result<Var, TapeError> {
    let n = matrix.shape()[matrix.shape().len() - 1];
    let column = [factors.shape(), &[1]].concat();
    let rows = beside(tape, &tape.reshape(factors, &column)?, n)?;
    let all = tape.matmul(
        &rows,
        &matrices(factors, &[factors.shape(), &[1, n]].concat(), |_, _| 1.0)?,
        Transposed::NONE,
    )?;
    tape.mul(&tape.transpose(&tape.inv(matrix)?)?, &all)
}

/// Of `A` from the gradient of its pseudo-inverse `p`.
pub(super) fn pinv(tape: &Tape, a: &Var, p: &Var, gradient: &Var) -> Result<Var, TapeError> {
    let times = |a: &Var, b: &Var, transposed| tape.matmul(a, b, transposed);
    let left = times(gradient, &times(p, p, Transposed::B)?, Transposed::A)?;
    let left = tape.sub(&left, &times(a, &times(p, &left, Transposed::NONE)?, Transposed::NONE)?)?;
    let right = times(p, &times(p, gradient, Transposed::B)?, Transposed::A)?;
    let right = tape.sub(&right, &times(&right, &times(p, a, Transposed::NONE)?, Transposed::NONE)?)?;
    let middle = times(p, &times(gradient, p, Transposed::B)?, Transposed::A)?;
    tape.sub(&tape.add(&left, &right)?, &middle)
}

fn sum(tape: &Tape, a: Option<Var>, b: Var) -> Result<Option<Var>, TapeError> {
    Ok(Some(match a {
        Some(a) => tape.add(&a, &b)?,
        None => b,
    }))
}

/// Some columns of matrices.
struct Columns {
    from: usize,
    count: usize,
    of: usize,
}

impl Columns {
    /// Ones in the places of the columns, `[of, count]`.
    fn ones(&self, like: &Var) -> Result<Var, TapeError> {
        let shape = [batch_of(like), &[self.of, self.count]].concat();
        matrices(like, &shape, |i, j| f64::from(u8::from(i == j + self.from)))
    }

    fn of(&self, tape: &Tape, a: &Var) -> Result<Var, TapeError> {
        if self.count == self.of { Ok(a.clone()) } else { tape.matmul(a, &self.ones(a)?, Transposed::NONE) }
    }

    /// Zeros but for the columns.
    fn back(&self, tape: &Tape, part: &Var) -> Result<Var, TapeError> {
        if self.count == self.of {
            Ok(part.clone())
        } else {
            tape.matmul(part, &self.ones(part)?, Transposed::B)
        }
    }
}

/// Vectors as rows, repeated: element `(i, j)` is `vector[j]`.
fn beside(tape: &Tape, vectors: &Var, rows: usize) -> Result<Var, TapeError> {
    let (&n, batch) = vectors.shape().split_last().expect("vectors");
    let row = tape.reshape(vectors, &[batch, &[1, n]].concat())?;
    let ones = matrices(vectors, &[batch, &[rows, 1]].concat(), |_, _| 1.0)?;
    tape.matmul(&ones, &row, Transposed::NONE)
}

/// Vectors as columns, repeated: element `(i, j)` is `vector[i]`.
fn below(tape: &Tape, vectors: &Var, columns: usize) -> Result<Var, TapeError> {
    tape.transpose(&beside(tape, vectors, columns)?)
}

/// Vectors as diagonals.
fn diagonal(tape: &Tape, vectors: &Var) -> Result<Var, TapeError> {
    let n = *vectors.shape().last().expect("vectors");
    tape.weighted(&beside(tape, vectors, n)?, |i, j| f64::from(u8::from(i == j)))
}

/// `vector[j] - vector[i]`, and ones on the diagonal.
fn distances(tape: &Tape, vectors: &Var) -> Result<Var, TapeError> {
    let n = *vectors.shape().last().expect("vectors");
    let rows = beside(tape, vectors, n)?;
    let apart = tape.sub(&rows, &tape.transpose(&rows)?)?;
    let ones = matrices(vectors, apart.shape(), |i, j| f64::from(u8::from(i == j)))?;
    tape.add(&apart, &ones)
}
