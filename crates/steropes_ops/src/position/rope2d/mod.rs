//! Rotary position embedding on a grid.

pub(crate) mod bench;
mod cpu;
pub(crate) mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::ops::Range;
use steropes_tensor::{DType, Tensor};

const OP: &str = "position::rope2d";
const BACKWARD: &str = "position::rope2d_backward";

/// Rotates query or key heads by the grid position of their token. [`rope2d_heads`] rotates some heads of a tensor.
///
/// A head of `4q` values is `[u_row, v_row, u_col, v_col]`, `q` values each. Pair `i` of an axis turns
/// by `position / base^(i/q)`:
///
/// ```text
/// u' = u cos a - v sin a        v' = v cos a + u sin a
/// ```
///
/// The memory of `x` is reused when nobody else holds it.
///
/// # Shapes
/// - `x`: `[batch, tokens, heads, head_dim]`, f32, on a GPU also f16, `head_dim` a multiple of 4
/// - `positions`: `[batch, tokens, 2]`, u8, i32, u32 or i64, (row, column); negative ones turn backwards
/// - returns: the shape and dtype of `x`
///
/// # Units
/// Positions count patches, not pixels. Angles are radians.
///
/// # Numerics
/// Inverse frequencies in f64. On the CPU angles, sines and cosines in f64, rounded once; on a GPU turns as fractions of 64
/// bits, so that the reduction is exact, and f32 from there. Products and sums in f32. Within `Tolerance::OfLargest(3e-7)` for
/// positions up to 2^32 in magnitude, beyond which the rounding of the inverse frequencies shows. f16 results are rounded once
/// more, to within 5e-4 of the largest.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above or `base` is not a finite
/// number above 0. Nothing is computed then.
///
/// # Source
/// RoFormer, arXiv:2104.09864; two axes as in CroCo v2, arXiv:2211.10408. Written from the papers.
pub fn rope2d(x: Tensor, positions: &Tensor, base: f32) -> Result<Tensor, OpError> {
    rotate(OP, ["x", "positions"], x, None, positions, Turn { base, backwards: false })
}

/// [`rope2d`] for the heads `heads` of `x`; the others stay as they are.
///
/// # Shapes
/// As [`rope2d`].
///
/// # Numerics
/// As [`rope2d`].
///
/// # Errors
/// As [`rope2d`], and [`OpError::Shape`] if `x` has fewer heads.
///
/// # Source
/// As [`rope2d`].
pub fn rope2d_heads(
    x: Tensor,
    heads: Range<usize>,
    positions: &Tensor,
    base: f32,
) -> Result<Tensor, OpError> {
    rotate(OP, ["x", "positions"], x, Some(heads), positions, Turn { base, backwards: false })
}

/// The gradient of [`rope2d`] with respect to `x`, from the gradient of its result: the turn by the negative angles.
///
/// The memory of `gradient` is reused when nobody else holds it.
///
/// # Shapes
/// - `gradient`: `[batch, tokens, heads, head_dim]`, f32, on a GPU also f16, `head_dim` a multiple of 4
/// - `positions`: `[batch, tokens, 2]`, u8, i32, u32 or i64, (row, column), those of the forward pass
/// - returns: the shape and dtype of `gradient`
///
/// # Numerics
/// As [`rope2d`].
///
/// # Errors
/// As [`rope2d`].
///
/// # Source
/// Written from the formula: the transposed rotation.
pub fn rope2d_backward(gradient: Tensor, positions: &Tensor, base: f32) -> Result<Tensor, OpError> {
    rotate(BACKWARD, ["gradient", "positions"], gradient, None, positions, Turn { base, backwards: true })
}

/// How far, and which way.
#[derive(Clone, Copy, Debug)]
struct Turn {
    base: f32,
    backwards: bool,
}

impl Turn {
    /// The angle of pair `i` of `quarter` at position 1, without its sign.
    fn frequency(self, i: usize, quarter: usize) -> f64 {
        f64::from(self.base).powf(-(i as f64) / quarter as f64)
    }
}

/// Turns the heads `some`, or all.
fn rotate(
    op: &'static str,
    [name, positions_name]: [&'static str; 2],
    x: Tensor,
    some: Option<Range<usize>>,
    positions: &Tensor,
    turn: Turn,
) -> Result<Tensor, OpError> {
    let &[batch, tokens, heads, head_dim] = x.shape() else {
        return Err(OpError::shape(op, name, "[batch, tokens, heads, head_dim]", x.shape()));
    };
    if head_dim % 4 != 0 {
        return Err(OpError::shape(op, name, "[.., head_dim] with head_dim a multiple of 4", x.shape()));
    }
    let some = some.unwrap_or(0..heads);
    if some.start > some.end || some.end > heads {
        return Err(OpError::shape(
            op,
            name,
            format!("[.., heads, head_dim] with the heads {some:?}"),
            x.shape(),
        ));
    }
    if positions.shape() != [batch, tokens, 2] {
        return Err(OpError::shape(op, positions_name, format!("[{batch}, {tokens}, 2]"), positions.shape()));
    }
    if !(turn.base.is_finite() && turn.base > 0.0) {
        return Err(OpError::value(op, "base", "a finite number above 0", turn.base));
    }
    match place(op, &[(name, &x, Holds::Float), (positions_name, positions, Holds::Integer)])? {
        Place::Cpu => {
            let shape = x.shape().to_vec();
            let mut turned = x.into_vec::<f32>().expect("the dtype was checked");
            cpu::rope2d(&mut turned, &whole_numbers(positions), heads, &some, turn);
            Ok(on_cpu(&shape, turned))
        }
        Place::Gpu(gpu) => gpu::rope2d(&gpu, op, x, some, positions, turn),
    }
}

/// Positions of any integer type.
fn whole_numbers(positions: &Tensor) -> Vec<i64> {
    match positions.dtype() {
        DType::U8 => values::<u8>(positions).iter().map(|&p| p.into()).collect(),
        DType::I32 => values::<i32>(positions).iter().map(|&p| p.into()).collect(),
        DType::U32 => values::<u32>(positions).iter().map(|&p| p.into()).collect(),
        _ => values::<i64>(positions).to_vec(),
    }
}
