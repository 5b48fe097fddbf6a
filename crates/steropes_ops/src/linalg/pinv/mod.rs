//! What singular values say of a matrix: its pseudo-inverse and its rank.

mod backward;
pub(crate) mod bench;
mod cpu;
pub(super) mod gpu;
pub(crate) mod tests;

pub use backward::pinv_backward;

use super::stack::Stack;
use super::svd::{svd, svdvals};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

/// The pseudo-inverse of every matrix, `[.., n, m]`: `V diag(1 / S) U^T` over the singular values above `rtol` times the
/// largest, `max(m, n) * eps` times it for `None`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64; any extent may be 0
/// - returns: `[.., n, m]`
///
/// # Numerics
/// In the dtype of `a`, from [`svd`]: within `max(m, n) * eps` of the condition (of what is above the cut) times the largest entry.
///
/// # Errors
/// [`OpError::Value`] if `rtol` is negative or not finite; else as [`svd`].
pub fn pinv(a: &Tensor, rtol: Option<f64>) -> Result<Tensor, OpError> {
    const OP: &str = "linalg::pinv";
    let stack = Stack::of(OP, "a", a)?;
    let rtol = cut(OP, a, &stack, rtol)?;
    let place = place(OP, &[("a", a, Holds::Real)])?;
    let (u, s, vh) = svd(a, false).map_err(|error| error.of(OP))?;
    let shape = stack.with(&[stack.columns, stack.rows]);
    match place {
        Place::Cpu if a.dtype() == DType::F64 => {
            Ok(on_cpu(&shape, cpu::pinv::<f64>(&stack, [values(&u), values(&s), values(&vh)], rtol)))
        }
        Place::Cpu => {
            Ok(on_cpu(&shape, cpu::pinv::<f32>(&stack, [values(&u), values(&s), values(&vh)], rtol)))
        }
        Place::Gpu(gpu) => gpu::pinv(OP, &gpu, &shape, &stack, [&u, &s, &vh], rtol as f32),
    }
}

/// The number of singular values of every matrix above `rtol` times the largest, `max(m, n) * eps` times it for `None`: `[..]`, i64. A matrix
/// with NaN has rank 0 on a GPU.
///
/// # Errors
/// As [`pinv`].
pub fn matrix_rank(a: &Tensor, rtol: Option<f64>) -> Result<Tensor, OpError> {
    const OP: &str = "linalg::matrix_rank";
    let stack = Stack::of(OP, "a", a)?;
    let rtol = cut(OP, a, &stack, rtol)?;
    let place = place(OP, &[("a", a, Holds::Real)])?;
    let s = svdvals(a).map_err(|error| error.of(OP))?;
    match place {
        Place::Cpu if a.dtype() == DType::F64 => {
            Ok(on_cpu(&stack.batch, cpu::ranks::<f64>(&stack, values(&s), rtol)))
        }
        Place::Cpu => Ok(on_cpu(&stack.batch, cpu::ranks::<f32>(&stack, values(&s), rtol))),
        Place::Gpu(gpu) => gpu::matrix_rank(OP, &gpu, &stack, &s, rtol as f32),
    }
}

/// The cut relative to the largest singular value.
fn cut(op: &'static str, a: &Tensor, stack: &Stack, rtol: Option<f64>) -> Result<f64, OpError> {
    match rtol {
        Some(rtol) if rtol.is_finite() && rtol >= 0.0 => Ok(rtol),
        Some(rtol) => Err(OpError::value(op, "rtol", "a finite number from 0 on", rtol)),
        None => {
            let eps = if a.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
            Ok(eps * stack.rows.max(stack.columns) as f64)
        }
    }
}
