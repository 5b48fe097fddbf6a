//! The gradient of the factors.

use super::{FACTOR_BACKWARD, LU_BACKWARD, check_numbers, unpacked};
use crate::elementwise::add::add;
use crate::error::{Holds, OpError, Place, common_place, place, values};
use crate::linalg::dense::Triangle;
use crate::linalg::dense::arithmetic::{Mask, check_shape, masked, plain, product, transposed};
use crate::linalg::dense::parts::{block, filled, joined};
use crate::linalg::solve_triangular::run as solve;
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Tensor};

/// The gradient by `a` of what depends on `(p, l, u)`, the results of [`lu`](super::lu()) of `a`; gradients that are `None` are 0, and `P` has none.
///
/// # Shapes
/// - `grad_l`, `grad_u`: as `l` and `u`
/// - `p`: `[.., m, m]`, `l`: `[.., m, k]`, `u`: `[.., k, n]` with `k = min(m, n)`: f32, on the CPU also f64, all of one batch
/// - returns: `[.., m, n]`
///
/// # Numerics
/// Products and two triangular systems in the dtype. Only entries that `L` (below its diagonal) and `U` have count. Infinities and NaN for
/// matrices whose first `k` columns are singular: rows that are exchanged there have no gradient.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if
/// one does not fit one binding.
///
/// # Source
/// From `P^T dA = dL U + L dU`: of square matrices `P L^-T (tril(L^T grad_l, -1) + triu(grad_u U^T)) U^-T`; what the rows of `L` or the columns of
/// `U` behind the first `k` depend on is taken off inside.
pub fn lu_backward(
    grad_l: Option<&Tensor>,
    grad_u: Option<&Tensor>,
    p: &Tensor,
    l: &Tensor,
    u: &Tensor,
) -> Result<Tensor, OpError> {
    factors(LU_BACKWARD, [grad_l, grad_u], [p, l, u])
}

/// The gradient of [`lu_factor`](super::lu_factor()) with respect to `a`.
///
/// # Shapes
/// - `grad`: the gradient of `factors`, f32, on the CPU also f64
/// - `factors`, `pivots`: the results of the forward pass
/// - returns: the shape and dtype of `grad`
///
/// # Numerics
/// As [`lu_backward`].
///
/// # Errors
/// As [`lu_backward`], and [`OpError::Value`] on the CPU if a pivot is not the number of a row.
///
/// # Source
/// As [`lu_backward`].
pub fn lu_factor_backward(grad: &Tensor, factors: &Tensor, pivots: &Tensor) -> Result<Tensor, OpError> {
    const OP: &str = FACTOR_BACKWARD;
    let stack = Stack::of(OP, "factors", factors)?;
    check_shape(OP, "grad", grad, factors.shape())?;
    let k = stack.rows.min(stack.columns);
    check_shape(OP, "pivots", pivots, &stack.with(&[k]))?;
    if pivots.dtype() != DType::I32 {
        return Err(OpError::DType { op: OP, argument: "pivots", expected: "i32", found: pivots.dtype() });
    }
    let arguments =
        [("grad", grad, Holds::Real), ("factors", factors, Holds::Real), ("pivots", pivots, Holds::Integer)];
    if let Place::Cpu = common_place(OP, &arguments)? {
        check_numbers(OP, values(pivots), stack.rows)?;
    }
    let [p, l, u] = unpacked(OP, factors, pivots, &stack)?;
    let of_l = block(OP, grad, 0..stack.rows, 0..k)?;
    let of_u = block(OP, grad, 0..k, 0..stack.columns)?;
    self::factors(OP, [Some(&of_l), Some(&of_u)], [&p, &l, &u])
}

fn factors(
    op: &'static str,
    [grad_l, grad_u]: [Option<&Tensor>; 2],
    [p, l, u]: [&Tensor; 3],
) -> Result<Tensor, OpError> {
    let stack = Stack::of(op, "l", l)?;
    let (m, k, n) = (stack.rows, stack.columns, Stack::of(op, "u", u)?.columns);
    check_shape(op, "u", u, &stack.with(&[k, n]))?;
    check_shape(op, "l", l, &stack.with(&[m, m.min(n)]))?;
    check_shape(op, "p", p, &stack.with(&[m, m]))?;
    let mut arguments = vec![("l", l, Holds::Real), ("u", u, Holds::Real), ("p", p, Holds::Real)];
    for (name, grad, like) in [("grad_l", grad_l, l), ("grad_u", grad_u, u)] {
        let Some(grad) = grad else { continue };
        check_shape(op, name, grad, like.shape())?;
        arguments.push((name, grad, Holds::Real));
    }
    place(op, &arguments)?;
    let one = Square { op, m, n, k, l: &block(op, l, 0..k, 0..k)?, u: &block(op, u, 0..k, 0..k)? };
    let inner = [one.lower(grad_l, grad_u, u)?, one.upper(grad_u, grad_l, l)?];
    let inner = match inner {
        [Some(lower), Some(upper)] => add(lower, &upper)?,
        [Some(one), None] | [None, Some(one)] => one,
        [None, None] => return Ok(filled(l, &stack.with(&[m, n]), 0.0)),
    };
    let square = one.divided_by_u(&one.divided_by_l(&inner)?)?;
    // The rows of L or the columns of U behind the first k.
    let all = if m > k {
        let rest = match grad_l {
            Some(grad) => one.divided_by_u(&block(op, grad, k..m, 0..k)?)?,
            None => filled(l, &stack.with(&[m - k, k]), 0.0),
        };
        joined(op, &square, &rest, true)?
    } else if n > k {
        let rest = match grad_u {
            Some(grad) => one.divided_by_l(&block(op, grad, 0..k, k..n)?)?,
            None => filled(l, &stack.with(&[k, n - k]), 0.0),
        };
        joined(op, &square, &rest, false)?
    } else {
        square
    };
    product(op, plain(p), plain(&all), 1.0)
}

/// The first `k` rows and columns.
struct Square<'a> {
    op: &'static str,
    m: usize,
    n: usize,
    k: usize,
    l: &'a Tensor,
    u: &'a Tensor,
}

impl Square<'_> {
    /// What is below the diagonal of `L^T grad_l`, less what the columns of `U` behind the first take.
    fn lower(
        &self,
        grad_l: Option<&Tensor>,
        grad_u: Option<&Tensor>,
        u: &Tensor,
    ) -> Result<Option<Tensor>, OpError> {
        let &Self { op, n, k, .. } = self;
        let own = match grad_l {
            Some(grad) => Some(product(op, transposed(self.l), plain(&block(op, grad, 0..k, 0..k)?), 1.0)?),
            None => None,
        };
        let taken = match grad_u {
            Some(grad) if n > k => {
                let [grad, u] = [block(op, grad, 0..k, k..n)?, block(op, u, 0..k, k..n)?];
                Some(product(op, plain(&grad), transposed(&u), -1.0)?)
            }
            _ => None,
        };
        self.together(own, taken, Mask::StrictlyLower)
    }

    /// The diagonal of `grad_u U^T` and what is above it, less what the rows of `L` behind the first take.
    fn upper(
        &self,
        grad_u: Option<&Tensor>,
        grad_l: Option<&Tensor>,
        l: &Tensor,
    ) -> Result<Option<Tensor>, OpError> {
        let &Self { op, m, k, .. } = self;
        let own = match grad_u {
            Some(grad) => Some(product(op, plain(&block(op, grad, 0..k, 0..k)?), transposed(self.u), 1.0)?),
            None => None,
        };
        let taken = match grad_l {
            Some(grad) if m > k => {
                let [grad, l] = [block(op, grad, k..m, 0..k)?, block(op, l, k..m, 0..k)?];
                Some(product(op, transposed(&l), plain(&grad), -1.0)?)
            }
            _ => None,
        };
        self.together(own, taken, Mask::Upper)
    }

    fn together(
        &self,
        own: Option<Tensor>,
        taken: Option<Tensor>,
        mask: Mask,
    ) -> Result<Option<Tensor>, OpError> {
        let sum = match (own, taken) {
            (Some(own), Some(taken)) => Some(add(own, &taken)?),
            (own, taken) => own.or(taken),
        };
        sum.map(|sum| masked(self.op, &sum, mask)).transpose()
    }

    /// `L^-T x`.
    fn divided_by_l(&self, x: &Tensor) -> Result<Tensor, OpError> {
        solve(self.op, self.l, x, true, Triangle { upper: false, transposed: true, unit: true })
    }

    /// `x U^-T`.
    fn divided_by_u(&self, x: &Tensor) -> Result<Tensor, OpError> {
        solve(self.op, self.u, x, false, Triangle { upper: true, transposed: true, unit: false })
    }
}
