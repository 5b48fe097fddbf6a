//! The gradient of pseudo-inverses.

use crate::elementwise::add::add;
use crate::elementwise::arithmetic::sub;
use crate::error::{Holds, OpError, place};
use crate::linalg::dense::arithmetic::{Factor, check_shape, plain, product, transposed};
use crate::linalg::stack::Stack;
use steropes_tensor::Tensor;

const OP: &str = "linalg::pinv_backward";

/// The gradient of [`pinv`](super::pinv()) with respect to `a`, where the rank (what is above the cut) is the same in a neighbourhood.
///
/// # Shapes
/// - `grad`: `[.., n, m]`, the gradient of the pseudo-inverse, f32, on the CPU also f64
/// - `a`: `[.., m, n]`, `inverse`: `[.., n, m]`, the result of the forward pass; all of one batch and dtype
/// - returns: the shape and dtype of `a`
///
/// # Numerics
/// Products in the dtype, with squares of the shorter side between: relative to the result, `max(m, n) eps` times the square of the
/// condition of what is above the cut.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Unsupported`] on a GPU if
/// one does not fit one binding.
///
/// # Source
/// Golub and Pereyra 1973 (doi:10.1137/0710036): with `P` the inverse,
/// `(1 - A P) grad^T P P^T + P^T P grad^T (1 - P A) - P^T grad P^T`.
pub fn pinv_backward(grad: &Tensor, a: &Tensor, inverse: &Tensor) -> Result<Tensor, OpError> {
    let stack = Stack::of(OP, "a", a)?;
    let (m, n) = (stack.rows, stack.columns);
    check_shape(OP, "inverse", inverse, &stack.with(&[n, m]))?;
    check_shape(OP, "grad", grad, inverse.shape())?;
    let real = Holds::Real;
    place(OP, &[("grad", grad, real), ("a", a, real), ("inverse", inverse, real)])?;
    let p = inverse;
    // Squares are those of the shorter side.
    let [left, right, middle] = if m >= n {
        let left = times(transposed(grad), plain(&times(plain(p), transposed(p))?))?;
        let left_taken = times(plain(a), plain(&times(plain(p), plain(&left))?))?;
        let right = times(transposed(p), plain(&times(plain(p), transposed(grad))?))?;
        let right_taken = times(plain(&right), plain(&times(plain(p), plain(a))?))?;
        let middle = times(transposed(p), plain(&times(plain(grad), transposed(p))?))?;
        [sub(left, &left_taken)?, sub(right, &right_taken)?, middle]
    } else {
        let left = times(plain(&times(transposed(grad), plain(p))?), transposed(p))?;
        let left_taken = times(plain(&times(plain(a), plain(p))?), plain(&left))?;
        let right = times(plain(&times(transposed(p), plain(p))?), transposed(grad))?;
        let right_taken = times(plain(&times(plain(&right), plain(p))?), plain(a))?;
        let middle = times(plain(&times(transposed(p), plain(grad))?), transposed(p))?;
        [sub(left, &left_taken)?, sub(right, &right_taken)?, middle]
    };
    sub(add(left, &right)?, &middle)
}

fn times(a: Factor<'_>, b: Factor<'_>) -> Result<Tensor, OpError> {
    product(OP, a, b, 1.0)
}
