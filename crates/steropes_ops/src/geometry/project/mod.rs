//! From points to pixels.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "geometry::project";

/// The pixel of every point of a camera: `(fx x / z + cx, fy y / z + cy)`.
///
/// A point whose depth `z` is not positive and finite is not seen: its pixel is NaN, both coordinates. The inverse of
/// [`unproject`](super::unproject::unproject).
///
/// # Shapes
/// - `points`: `[batch, .., 3]`, f32, in the camera (x right, y down, z forward)
/// - `intrinsics`: `[batch, 4]`, f32: `fx, fy, cx, cy`
/// - returns: `[batch, .., 2]`, (x, y); a pixel's own place is its whole-number index
///
/// # Units
/// Pixels.
///
/// # Numerics
/// f32: within `Tolerance::Ulps(4)` of the sum of the magnitudes of both summands.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above. Nothing is computed then.
///
/// # Source
/// Hartley and Zisserman, Multiple View Geometry, 6.1. Written from the formula.
pub fn project(points: &Tensor, intrinsics: &Tensor) -> Result<Tensor, OpError> {
    let &[batch, ref middle @ .., 3] = points.shape() else {
        return Err(OpError::shape(OP, "points", "[batch, .., 3]", points.shape()));
    };
    if intrinsics.shape() != [batch, 4] {
        return Err(OpError::shape(OP, "intrinsics", format!("[{batch}, 4]"), intrinsics.shape()));
    }
    let shape = [&[batch], middle, &[2]].concat();
    match place(OP, &[("points", points, Holds::F32), ("intrinsics", intrinsics, Holds::F32)])? {
        Place::Cpu => Ok(on_cpu(&shape, cpu::project(values(points), values(intrinsics)))),
        Place::Gpu(gpu) => gpu::project(&gpu, points, intrinsics, &shape),
    }
}
