//! Rotary position embedding of tokens in space and time, as V-JEPA 2 has it.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
mod tables;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::ops::Range;
use steropes_tensor::Tensor;

pub use tables::{Rope3dAngles, Rope3dRounding, Rope3dTables, rope3d_axis_width, rope3d_tables};

const OP: &str = "position::rope3d";

/// Turns query or key heads by the place of their token in time, height and width. [`rope3d_heads`] turns some heads of a tensor.
///
/// A head is `[time, height, width, rest]`: three slices of [`rope3d_axis_width`] values, and a rest that stays. Values `u` and
/// `v` at `2 j` and `2 j + 1` become
///
/// ```text
/// u' = u cos a - v sin a        v' = v cos b + u sin b
/// ```
///
/// with the angles of `tables`. Where `a` and `b` are one angle, the pair turns ([`Rope3dAngles::Pairs`]); in the published form of
/// V-JEPA 2.0 they differ, lengths change, and products depend on places and not only on their offset ([`Rope3dAngles::Tiled`]). At
/// position 0 of an axis its slice stays.
///
/// The memory of `x` is reused when nobody else holds it.
///
/// # Shapes
/// - `x`: `[batch, tokens, heads, head_dim]`, f32, on a GPU also f16
/// - `tables`: those of as many tokens and of `head_dim`, for one batch element, which stands for all, or for each
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// Two products and a sum in f32: within `Tolerance::OfLargest(3e-7)` for the tables given; f16 results are rounded once more, to
/// within 5e-4 of the largest.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above; [`OpError::Unsupported`] on a GPU if
/// the tables do not fit a binding. Nothing is computed then.
///
/// # Source
/// Rotary embeddings: RoFormer, arXiv:2104.09864. Three axes: V-JEPA 2, arXiv:2506.09985. Written from formulas.
pub fn rope3d(x: Tensor, tables: &Rope3dTables) -> Result<Tensor, OpError> {
    turn(x, None, tables)
}

/// [`rope3d`] for the heads `heads` of `x`; the others stay as they are.
///
/// # Shapes
/// As [`rope3d`].
///
/// # Numerics
/// As [`rope3d`].
///
/// # Errors
/// As [`rope3d`], and [`OpError::Shape`] if `x` has fewer heads.
///
/// # Source
/// As [`rope3d`].
pub fn rope3d_heads(x: Tensor, heads: Range<usize>, tables: &Rope3dTables) -> Result<Tensor, OpError> {
    turn(x, Some(heads), tables)
}

/// Turns the heads `some`, or all.
fn turn(x: Tensor, some: Option<Range<usize>>, tables: &Rope3dTables) -> Result<Tensor, OpError> {
    let &[batch, tokens, heads, head_dim] = x.shape() else {
        return Err(OpError::shape(OP, "x", "[batch, tokens, heads, head_dim]", x.shape()));
    };
    let some = some.unwrap_or(0..heads);
    if some.start > some.end || some.end > heads {
        return Err(OpError::shape(
            OP,
            "x",
            format!("[.., heads, head_dim] with the heads {some:?}"),
            x.shape(),
        ));
    }
    let fits =
        matches!(tables.cos.shape(), &[b, t, d] if (b == batch || b == 1) && (t, d) == (tokens, head_dim));
    if !fits {
        let expected = format!("[{batch} or 1, {tokens}, {head_dim}]");
        return Err(OpError::shape(OP, "tables", expected, tables.cos.shape()));
    }
    let arguments = [("x", &x, Holds::Float), ("tables", &tables.cos, Holds::F32)];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let shape = x.shape().to_vec();
            let mut turned = x.into_vec::<f32>().expect("the dtype was checked");
            let (cos, sin) = (values(&tables.cos), values(&tables.sin));
            cpu::rope3d(&mut turned, [heads, head_dim], &some, cos, sin);
            Ok(on_cpu(&shape, turned))
        }
        Place::Gpu(gpu) => gpu::rope3d(&gpu, OP, x, some, tables),
    }
}
