//! Concatenation along the last axis.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "elementwise::concat";

/// `x` and `y` side by side: row `i` of the result is row `i` of `x` followed by row `i` of `y`.
///
/// # Shapes
/// - `x`: `[.., m]`, `y`: `[.., n]` with the same leading extents and dtype: f32, on a GPU also f16
/// - returns: `[.., m + n]`, the dtype of `x`
///
/// # Numerics
/// Values are copied to the bit.
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
    let shape = [rows, &[m + n]].concat();
    match place(OP, &[("x", x, Holds::Float), ("y", y, Holds::Float)])? {
        Place::Cpu => {
            let side_by_side = cpu::concat(values(x), values(y), rows.iter().product(), [m, n]);
            Ok(on_cpu(&shape, side_by_side))
        }
        Place::Gpu(gpu) => gpu::concat(&gpu, x, y, &shape, [m, n]),
    }
}

/// The shape of a tensor that has these rows, in words.
fn expected(rows: &[usize]) -> String {
    let rows: Vec<String> = rows.iter().map(|extent| format!("{extent}, ")).collect();
    format!("[{}columns]", rows.concat())
}
