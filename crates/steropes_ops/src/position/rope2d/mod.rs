//! Rotary position embedding on a grid.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "position::rope2d";

/// Rotates query or key heads by the grid position of their token.
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
/// - `x`: `[batch, tokens, heads, head_dim]`, f32, `head_dim` a multiple of 4
/// - `positions`: `[batch, tokens, 2]`, u32, (row, column)
/// - returns: the shape of `x`
///
/// # Units
/// Positions count patches, not pixels. Angles are radians.
///
/// # Numerics
/// Angles, sines and cosines in f64, rounded once; products and sums in f32. Within
/// `Tolerance::OfLargest(3e-7)` for any position.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above or `base` is not a finite
/// number above 0. Nothing is computed then.
///
/// # Source
/// RoFormer, arXiv:2104.09864; two axes as in CroCo v2, arXiv:2211.10408. Written from the papers.
pub fn rope2d(x: Tensor, positions: &Tensor, base: f32) -> Result<Tensor, OpError> {
    let &[batch, tokens, heads, head_dim] = x.shape() else {
        return Err(OpError::shape(OP, "x", "[batch, tokens, heads, head_dim]", x.shape()));
    };
    if head_dim % 4 != 0 {
        return Err(OpError::shape(OP, "x", "[.., head_dim] with head_dim a multiple of 4", x.shape()));
    }
    if positions.shape() != [batch, tokens, 2] {
        return Err(OpError::shape(OP, "positions", format!("[{batch}, {tokens}, 2]"), positions.shape()));
    }
    if !(base.is_finite() && base > 0.0) {
        return Err(OpError::value(OP, "base", "a finite number above 0", base));
    }
    host::<f32>(OP, "x", &x)?;
    let positions = host::<u32>(OP, "positions", positions)?;
    let shape = x.shape().to_vec();
    let mut values = x.into_vec::<f32>().expect("the dtype was checked");
    cpu::rope2d(&mut values, positions, heads, head_dim, base);
    Ok(on_cpu(&shape, values))
}
