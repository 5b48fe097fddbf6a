//! Concatenation along the last axis.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "elementwise::concat";

/// `x` and `y` side by side: row `i` of the result is row `i` of `x` followed by row `i` of `y`.
///
/// # Shapes
/// - `x`: `[.., m]`, `y`: `[.., n]` with the same leading extents, f32
/// - returns: `[.., m + n]`
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above. Nothing is computed then.
///
/// # Source
/// Written from the definition.
pub fn concat(x: &Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    let Some((&m, rows)) = x.shape().split_last() else {
        return Err(OpError::shape(OP, "x", "[.., columns]", x.shape()));
    };
    let n = match y.shape().split_last() {
        Some((&n, others)) if others == rows => n,
        _ => return Err(OpError::shape(OP, "y", expected(rows), y.shape())),
    };
    let (xs, ys) = (host::<f32>(OP, "x", x)?, host::<f32>(OP, "y", y)?);
    let shape = [rows, &[m + n]].concat();
    Ok(on_cpu(&shape, cpu::concat(xs, ys, rows.iter().product(), [m, n])))
}

/// The shape of a tensor that has these rows, in words.
fn expected(rows: &[usize]) -> String {
    let rows: Vec<String> = rows.iter().map(|extent| format!("{extent}, ")).collect();
    format!("[{}columns]", rows.concat())
}
