//! The gradient of a thin decomposition.

use super::{cpu, gpu};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::svd_backward";

/// The extents of a stack of thin decompositions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thin {
    /// Matrices.
    pub(super) count: usize,
    /// Rows of a matrix.
    pub(super) rows: usize,
    /// Columns of a matrix.
    pub(super) columns: usize,
}

impl Thin {
    /// Singular values of a matrix.
    pub(super) fn values(self) -> usize {
        self.rows.min(self.columns)
    }
}

/// The gradient by `a` of what depends on `(u, s, vh)`, the thin results of [`svd`](super::svd()) of `a`; gradients that
/// are `None` are 0.
///
/// With `P = u^T grad_u`, `Q = vh grad_vh^T` and `E[i][j] = s[j]^2 - s[i]^2`, off the diagonal
/// `M = ((P - P^T) / E) diag(s) + diag(s) ((Q - Q^T) / E)`, on it `M = diag(grad_s)`, and
/// `grad_a = u M vh + (1 - u u^T) grad_u diag(1 / s) vh + u diag(1 / s) grad_vh (1 - vh^T vh)`.
///
/// # Shapes
/// - `u`: `[.., m, k]` with `k = min(m, n)`, f32, on the CPU also f64; `s`: `[.., k]`; `vh`: `[.., k, n]`; all of one dtype
/// - `grad_u`, `grad_s`, `grad_vh`: as `u`, `s` and `vh`
/// - returns: `[.., m, n]`
///
/// # Numerics
/// In the dtype of `u`. Exact only for what does not depend on the free signs of vectors, as in every such formula. It divides by the
/// differences of squared singular values, and for matrices that are not square by the values: equal values and 0
/// give infinities or NaN if vectors have gradients. Differences are taken as `(s[j] - s[i]) (s[j] + s[i])`, so that close values lose no digits.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// arXiv:2302.13095; Townsend 2016, Differentiating the singular value decomposition.
pub fn svd_backward(
    u: &Tensor,
    s: &Tensor,
    vh: &Tensor,
    grad_u: Option<&Tensor>,
    grad_s: Option<&Tensor>,
    grad_vh: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let (left, right) = (Stack::of(OP, "u", u)?, Stack::of(OP, "vh", vh)?);
    let thin = Thin { count: left.count(), rows: left.rows, columns: right.columns };
    let k = thin.values();
    let (expected_s, expected_vh) = (left.with(&[k]), left.with(&[k, thin.columns]));
    if left.columns != k {
        return Err(OpError::shape(OP, "u", format!("[.., {}, {k}]", thin.rows), u.shape()));
    }
    let all = [
        ("s", Some(s), &expected_s[..]),
        ("vh", Some(vh), &expected_vh[..]),
        ("grad_u", grad_u, u.shape()),
        ("grad_s", grad_s, &expected_s[..]),
        ("grad_vh", grad_vh, &expected_vh[..]),
    ];
    let mut arguments = vec![("u", u, Holds::Real)];
    for (name, tensor, expected) in all {
        let Some(tensor) = tensor else { continue };
        if tensor.shape() != expected {
            return Err(OpError::shape(OP, name, format!("{expected:?}"), tensor.shape()));
        }
        arguments.push((name, tensor, Holds::Real));
    }
    let shape = left.with(&[thin.rows, thin.columns]);
    let gradients = [grad_u, grad_s, grad_vh];
    match place(OP, &arguments)? {
        Place::Cpu if u.dtype() == DType::F64 => on_host::<f64>(&shape, thin, [u, s, vh], gradients),
        Place::Cpu => on_host::<f32>(&shape, thin, [u, s, vh], gradients),
        Place::Gpu(gpu) => gpu::svd_backward(OP, &gpu, &shape, thin, [u, s, vh], gradients),
    }
}

fn on_host<T: crate::cpu::lanes::Real>(
    shape: &[usize],
    thin: Thin,
    factors: [&Tensor; 3],
    gradients: [Option<&Tensor>; 3],
) -> Result<Tensor, OpError> {
    let factors = factors.map(|tensor| values::<T>(tensor));
    let gradients = gradients.map(|tensor| tensor.map(|tensor| values::<T>(tensor)));
    Ok(on_cpu(shape, cpu::svd_backward(thin, factors, gradients)))
}
