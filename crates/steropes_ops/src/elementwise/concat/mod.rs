//! Concatenation along the last axis.

pub(crate) mod bench;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "elementwise::concat";

/// `x` and `y` side by side: row `i` of the result is row `i` of `x` followed by row `i` of `y`.
///
/// # Shapes
/// - `x`: `[.., m]`, `y`: `[.., n]` with the same leading extents, f32
/// - returns: `[.., m + n]`
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above.
///
/// # Source
/// Written from the definition.
pub fn concat(x: &Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    let (Some((&m, rows)), Some((&n, others))) = (x.shape().split_last(), y.shape().split_last()) else {
        return Err(OpError::shape(OP, "x", "[.., columns]", x.shape()));
    };
    if rows != others {
        return Err(OpError::shape(OP, "y", format!("{rows:?} and columns"), y.shape()));
    }
    let (xs, ys) = (host::<f32>(OP, "x", x)?, host::<f32>(OP, "y", y)?);
    let shape = [rows, &[m + n]].concat();
    let mut out = vec![0.0f32; shape.iter().product()];
    out.par_chunks_mut((m + n).max(1)).enumerate().for_each(|(i, row)| {
        row[..m].copy_from_slice(&xs[i * m..][..m]);
        row[m..].copy_from_slice(&ys[i * n..][..n]);
    });
    Ok(on_cpu(&shape, out))
}
