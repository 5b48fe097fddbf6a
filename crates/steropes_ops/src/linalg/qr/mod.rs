//! QR factorisation, its reflectors, and its backward pass.

mod backward;
pub(crate) mod bench;
mod cpu;
pub(super) mod gpu;
mod lanes;
mod large;
pub(crate) mod reference;
mod tall;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Tensor};

pub(in crate::linalg) use cpu::factors;
pub(in crate::linalg) use large::{multiply, reduce_column, reflect_column, threads_for, view, view_mut};

const QR: &str = "linalg::qr";
const GEQRF: &str = "linalg::geqrf";
const PRODUCT: &str = "linalg::householder_product";
const BACKWARD: &str = "linalg::qr_backward";

/// How much of Q and R is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QrMode {
    /// Q `[.., m, k]` and R `[.., k, n]`, with `k = min(m, n)`.
    Reduced,
    /// Q `[.., m, m]` and R `[.., m, n]`.
    Complete,
    /// R `[.., k, n]` only; Q is an empty tensor `[0]`.
    R,
}

/// Matrices of a stack that are factored alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linalg) struct Matrices {
    /// How many there are.
    pub(in crate::linalg) count: usize,
    /// Rows of each.
    pub(in crate::linalg) m: usize,
    /// Columns of each.
    pub(in crate::linalg) n: usize,
}

impl Matrices {
    fn of(stack: &Stack) -> Self {
        Self { count: stack.count(), m: stack.rows, n: stack.columns }
    }

    fn is_empty(&self) -> bool {
        self.count * self.m * self.n == 0
    }
}

/// `a = Q R` with orthonormal columns of Q and an upper triangular R: `torch.linalg.qr`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64; any batch, any extent may be 0
/// - returns: Q and R as [`QrMode`] says, of the dtype of `a`
///
/// # Numerics
/// Householder reflections: `|A - QR|` and `|QᵀQ - I|` are a small multiple of `max(m, n) eps |A|` and `max(m, n) eps` for any
/// matrix, also of deficient rank. Nothing is compared with a fixed number, and columns of any scale neither overflow nor underflow.
/// What is below the diagonal of R is exactly 0. Signs are LAPACK's: a column that is reflected gets a diagonal of R with
/// the opposite sign of what the reflections before it left there (negative for a 0), so the diagonal may be negative; a column that is
/// already zero below the diagonal, like the last of a square matrix, keeps its sign. Where the diagonal is at the level of
/// rounding, so is its sign. A NaN or an infinity makes Q and R of its matrix NaN in part or whole, and of no other.
///
/// On a GPU a single matrix of at least 32768 rows and at most 64 columns that are far from depending on each other is factored by
/// the products of its columns, twice, with errors as above; the call waits for the device once, to know whether they are.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above, [`OpError::Unsupported`] if it is too long for the bindings of
/// a GPU. Nothing is computed then.
///
/// # Source
/// Golub and Van Loan, "Matrix Computations", 5.2; for large matrices Schreiber and Van Loan 1989 (compact WY), for tall ones
/// arXiv:0808.2664 (TSQR), with the signs of Ballard et al. 2015, and arXiv:1401.5171 (CholeskyQR2).
pub fn qr(a: &Tensor, mode: QrMode) -> Result<(Tensor, Tensor), OpError> {
    let stack = Stack::of(QR, "a", a)?;
    let place = place(QR, &[("a", a, Holds::Real)])?;
    let matrices = Matrices::of(&stack);
    let least = stack.rows.min(stack.columns);
    let [rows, columns] = match mode {
        QrMode::Reduced => [least, least],
        QrMode::Complete => [stack.rows, stack.rows],
        QrMode::R => [least, 0],
    };
    let q_shape = if mode == QrMode::R { vec![0] } else { stack.with(&[stack.rows, columns]) };
    let r_shape = stack.with(&[rows, stack.columns]);
    if matrices.is_empty() {
        return Ok((identities(a, &q_shape), zeros(a, &r_shape)));
    }
    if let Place::Gpu(gpu) = place {
        let [r, q] = gpu::qr(&gpu, QR, a, &matrices, [rows, columns])?;
        return Ok((reshaped(q, &q_shape), reshaped(r, &r_shape)));
    }
    Ok(match a.dtype() {
        DType::F64 => {
            let [r, q] = cpu::factors::<f64, 8>(values(a), &matrices, [rows, columns]);
            (on_cpu(&q_shape, q), on_cpu(&r_shape, r))
        }
        _ => {
            let [r, q] = cpu::factors::<f32, 16>(values(a), &matrices, [rows, columns]);
            (on_cpu(&q_shape, q), on_cpu(&r_shape, r))
        }
    })
}

/// The reflections that reduce `a` to R, as LAPACK's `geqrf` stores them: `torch.geqrf`.
///
/// `Q = H_1 .. H_k` with `H_i = I - tau_i v_i v_iᵀ`; `v_i` is 0 before entry `i`, 1 there, and stands below the diagonal of column `i`.
/// [`householder_product`] makes Q of them.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64
/// - returns: R and the reflectors below its diagonal, `[.., m, n]`, and tau, `[.., min(m, n)]`
///
/// # Numerics
/// As [`qr`]; tau is 0 for a column that is already zero below the diagonal.
///
/// # Errors
/// As [`qr`].
///
/// # Source
/// As [`qr`].
pub fn geqrf(a: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let stack = Stack::of(GEQRF, "a", a)?;
    let place = place(GEQRF, &[("a", a, Holds::Real)])?;
    let matrices = Matrices::of(&stack);
    let tau_shape = stack.with(&[stack.rows.min(stack.columns)]);
    if matrices.is_empty() {
        return Ok((zeros(a, a.shape()), zeros(a, &tau_shape)));
    }
    if let Place::Gpu(gpu) = place {
        let [all, tau] = gpu::reflectors(&gpu, GEQRF, a, &matrices, stack.rows.min(stack.columns))?;
        return Ok((reshaped(all, a.shape()), reshaped(tau, &tau_shape)));
    }
    Ok(match a.dtype() {
        DType::F64 => {
            let [all, tau] = cpu::reflectors::<f64, 8>(values(a), &matrices);
            (on_cpu(a.shape(), all), on_cpu(&tau_shape, tau))
        }
        _ => {
            let [all, tau] = cpu::reflectors::<f32, 16>(values(a), &matrices);
            (on_cpu(a.shape(), all), on_cpu(&tau_shape, tau))
        }
    })
}

/// The first `n` columns of `H_1 .. H_k`, with `H_i = I - tau_i v_i v_iᵀ`: `torch.linalg.householder_product`.
///
/// # Shapes
/// - `v`: `[.., m, n]` with `m >= n`, f32, on the CPU also f64; what is on and above its diagonal is not looked at
/// - `tau`: `[.., k]` with `n >= k`, the batch and dtype of `v`
/// - returns: the shape and dtype of `v`
///
/// # Numerics
/// Within a small multiple of `m eps` times the largest product of the norms of the reflections; these are 1 for those of [`geqrf`].
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Unsupported`] if it is too
/// long for the bindings of a GPU. Nothing is computed then.
///
/// # Source
/// Golub and Van Loan, "Matrix Computations", 5.1.6.
pub fn householder_product(v: &Tensor, tau: &Tensor) -> Result<Tensor, OpError> {
    let stack = Stack::of(PRODUCT, "v", v)?;
    let (m, n) = (stack.rows, stack.columns);
    if m < n {
        return Err(OpError::shape(PRODUCT, "v", "[.., m, n] with m >= n", v.shape()));
    }
    let steps = match tau.shape() {
        [batch @ .., k] if *batch == stack.batch[..] && *k <= n => *k,
        found => {
            let expected = format!("{:?} and an extent of at most {n}", stack.batch);
            return Err(OpError::shape(PRODUCT, "tau", expected, found));
        }
    };
    let place = place(PRODUCT, &[("v", v, Holds::Real), ("tau", tau, Holds::Real)])?;
    let matrices = Matrices::of(&stack);
    if matrices.is_empty() || steps == 0 {
        return Ok(identities(v, v.shape()));
    }
    Ok(match (place, v.dtype()) {
        (Place::Gpu(gpu), _) => reshaped(gpu::product(&gpu, PRODUCT, v, tau, &matrices, steps)?, v.shape()),
        (Place::Cpu, DType::F64) => {
            on_cpu(v.shape(), cpu::product::<f64, 8>(values(v), values(tau), &matrices, steps))
        }
        (Place::Cpu, _) => {
            on_cpu(v.shape(), cpu::product::<f32, 16>(values(v), values(tau), &matrices, steps))
        }
    })
}

/// The gradient of a loss with respect to `a` from those with respect to Q and R of [`qr`], as autograd of torch gives it.
///
/// # Shapes
/// - `q`: `[.., m, k]`, `r`: `[.., k, n]` with `k = min(m, n)`, f32, on the CPU also f64
/// - `grad_q`, `grad_r`: the shapes and dtype of `q` and `r`; `None` stands for zeros
/// - returns: `[.., m, n]`
///
/// # Numerics
/// With `M = gR Rᵀ - Qᵀ gQ` and `sym(M)` its upper triangle made symmetric, `gA = (gQ + Q sym(M)) R⁻ᵀ` for `m >= n`; for `m < n` the
/// columns behind the first `m` depend on Q, which is put into `gQ` first. The first `k` columns of `a` must be of
/// full rank: errors grow with the condition of their part of R, and a zero on its diagonal makes the gradient NaN or infinite.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above. [`OpError::Value`] for what torch
/// refuses too: the empty Q of [`QrMode::R`], and the factors of [`QrMode::Complete`] with `m > n`, whose Q is not determined by `a`.
/// Nothing is computed then.
///
/// # Source
/// arXiv:2009.10071.
pub fn qr_backward(
    q: &Tensor,
    r: &Tensor,
    grad_q: Option<&Tensor>,
    grad_r: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    if q.shape() == [0] && r.shape().len() >= 2 {
        let expected = "that of mode `Reduced`: the gradient depends on Q, which mode `R` does not compute";
        return Err(OpError::value(BACKWARD, "q", expected, "an empty tensor"));
    }
    let (q_stack, r_stack) = (Stack::of(BACKWARD, "q", q)?, Stack::of(BACKWARD, "r", r)?);
    let (m, k, n) = (q_stack.rows, q_stack.columns, r_stack.columns);
    if q_stack.batch != r_stack.batch || r_stack.rows != k {
        let expected = format!("{:?}", q_stack.with(&[k, n]));
        return Err(OpError::shape(BACKWARD, "r", expected, r.shape()));
    }
    if k == m && m > n {
        let expected = "that of mode `Reduced`: Q of mode `Complete` is not a function of a matrix with more rows than columns";
        return Err(OpError::value(BACKWARD, "q", expected, format!("{:?}", q.shape())));
    }
    if k != m.min(n) {
        let expected = format!("{:?}", q_stack.with(&[m, m.min(n)]));
        return Err(OpError::shape(BACKWARD, "q", expected, q.shape()));
    }
    let mut arguments = vec![("q", q, Holds::Real), ("r", r, Holds::Real)];
    for (name, gradient, of) in [("grad_q", grad_q, q), ("grad_r", grad_r, r)] {
        if let Some(gradient) = gradient {
            if gradient.shape() != of.shape() {
                return Err(OpError::shape(BACKWARD, name, format!("{:?}", of.shape()), gradient.shape()));
            }
            arguments.push((name, gradient, Holds::Real));
        }
    }
    let place = place(BACKWARD, &arguments)?;
    let shape = q_stack.with(&[m, n]);
    let matrices = Matrices { count: q_stack.count(), m, n };
    if matrices.is_empty() || (grad_q.is_none() && grad_r.is_none()) {
        return Ok(zeros(q, &shape));
    }
    Ok(match (place, q.dtype()) {
        (Place::Gpu(gpu), _) => {
            reshaped(gpu::backward(&gpu, BACKWARD, [q, r], [grad_q, grad_r], &matrices)?, &shape)
        }
        (Place::Cpu, DType::F64) => on_cpu(
            &shape,
            backward::backward::<f64>([q, r].map(values), [grad_q, grad_r].map(|g| g.map(values)), &matrices),
        ),
        (Place::Cpu, _) => on_cpu(
            &shape,
            backward::backward::<f32>([q, r].map(values), [grad_q, grad_r].map(|g| g.map(values)), &matrices),
        ),
    })
}

/// Zeros where `like` is, of its dtype.
fn zeros(like: &Tensor, shape: &[usize]) -> Tensor {
    match like.dtype() {
        DType::F64 => Tensor::zeros::<f64>(&like.device(), shape),
        _ => Tensor::zeros::<f32>(&like.device(), shape),
    }
}

/// A stack of matrices with ones on the diagonal where `like` is, of its dtype.
fn identities(like: &Tensor, shape: &[usize]) -> Tensor {
    let &[.., m, n] = shape else { return zeros(like, shape) };
    let len = shape.iter().product();
    let ones = (0..len).filter(|i| i % (m * n) / n == i % n);
    match like.dtype() {
        DType::F64 => {
            let mut data = vec![0.0; len];
            ones.for_each(|i| data[i] = 1.0);
            on_cpu::<f64>(shape, data)
        }
        _ => {
            let mut data = vec![0.0; len];
            ones.for_each(|i| data[i] = 1.0);
            Tensor::new::<f32>(&like.device(), shape, data).expect("a value for each place")
        }
    }
}

/// `tensor` with another shape of as many elements.
fn reshaped(tensor: Tensor, shape: &[usize]) -> Tensor {
    tensor.reshape(shape).expect("a kernel fills the shape it was given")
}
