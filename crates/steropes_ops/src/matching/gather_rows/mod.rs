//! Rows of a tensor by their numbers.

pub(crate) mod bench;
mod gpu;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "matching::gather_rows";

/// The rows of `rows` with the numbers in `indices`, in that order; zeros for a number that no row has.
///
/// # Shapes
/// - `rows`: `[rows, width]`, f32, on a GPU also f16
/// - `indices`: `[count]`, u32
/// - returns: `[count, width]`, the dtype of `rows`
///
/// # Numerics
/// Exact: values are copied.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// Written from the definition.
pub fn gather_rows(rows: &Tensor, indices: &Tensor) -> Result<Tensor, OpError> {
    let &[count, width] = rows.shape() else {
        return Err(OpError::shape(OP, "rows", "[rows, width]", rows.shape()));
    };
    if width == 0 {
        return Err(OpError::shape(OP, "rows", "[rows, width] with a width above 0", rows.shape()));
    }
    let &[asked] = indices.shape() else {
        return Err(OpError::shape(OP, "indices", "[count]", indices.shape()));
    };
    match place(OP, &[("rows", rows, Holds::Float), ("indices", indices, Holds::U32)])? {
        Place::Cpu => {
            let (rows, indices) = (values::<f32>(rows), values::<u32>(indices));
            let mut gathered = vec![0.0; asked * width];
            for (row, &index) in gathered.chunks_exact_mut(width).zip(indices) {
                if (index as usize) < count {
                    row.copy_from_slice(&rows[index as usize * width..][..width]);
                }
            }
            Ok(on_cpu(&[asked, width], gathered))
        }
        Place::Gpu(gpu) => gpu::gather_rows(&gpu, rows, indices),
    }
}
