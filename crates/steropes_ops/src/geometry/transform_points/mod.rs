//! Points under rigid, similarity and affine transforms.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "geometry::transform_points";

/// `A p + t` for every point `p`, with the transform `[A t]` of its batch item.
///
/// # Shapes
/// - `points`: `[batch, .., 3]`, f32
/// - `transforms`: `[batch, 3, 4]`, f32, for example world-from-camera
/// - returns: the shape of `points`
///
/// # Numerics
/// f32: within `Tolerance::Sum { depth: 4 }` of the size of the summands. NaN and infinity stay in their point.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above. Nothing is computed then.
///
/// # Source
/// Hartley and Zisserman, Multiple View Geometry, 2.4. Written from the formula.
pub fn transform_points(points: &Tensor, transforms: &Tensor) -> Result<Tensor, OpError> {
    let &[batch, .., 3] = points.shape() else {
        return Err(OpError::shape(OP, "points", "[batch, .., 3]", points.shape()));
    };
    if transforms.shape() != [batch, 3, 4] {
        return Err(OpError::shape(OP, "transforms", format!("[{batch}, 3, 4]"), transforms.shape()));
    }
    match place(OP, &[("points", points, Holds::F32), ("transforms", transforms, Holds::F32)])? {
        Place::Cpu => Ok(on_cpu(points.shape(), cpu::transform_points(values(points), values(transforms)))),
        Place::Gpu(gpu) => gpu::transform_points(&gpu, points, transforms),
    }
}
