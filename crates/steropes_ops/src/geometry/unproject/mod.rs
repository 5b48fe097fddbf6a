//! From depth maps to points.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "geometry::unproject";

/// The point of every pixel in its camera: `((x - cx) z / fx, (y - cy) z / fy, z)` at the whole-number pixel `(x, y)` with depth `z`.
///
/// The inverse of [`project`](super::project::project) where the depth is positive.
///
/// # Shapes
/// - `depth`: `[batch, height, width]`, f32, along the optical axis
/// - `intrinsics`: `[batch, 4]`, f32: `fx, fy, cx, cy`
/// - returns: `[batch, height, width, 3]` (x right, y down, z forward)
///
/// # Units
/// Intrinsics in pixels, points in those of the depth.
///
/// # Numerics
/// f32: within `Tolerance::Ulps(4)` of the point's size; the difference to the principal point is exact up to its own rounding.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above. Nothing is computed then.
///
/// # Source
/// Hartley and Zisserman, Multiple View Geometry, 6.1. Written from the formula.
pub fn unproject(depth: &Tensor, intrinsics: &Tensor) -> Result<Tensor, OpError> {
    let &[batch, height, width] = depth.shape() else {
        return Err(OpError::shape(OP, "depth", "[batch, height, width]", depth.shape()));
    };
    if intrinsics.shape() != [batch, 4] {
        return Err(OpError::shape(OP, "intrinsics", format!("[{batch}, 4]"), intrinsics.shape()));
    }
    match place(OP, &[("depth", depth, Holds::F32), ("intrinsics", intrinsics, Holds::F32)])? {
        Place::Cpu => {
            let points = cpu::unproject(values(depth), values(intrinsics), [height, width]);
            Ok(on_cpu(&[batch, height, width, 3], points))
        }
        Place::Gpu(gpu) => gpu::unproject(&gpu, depth, intrinsics),
    }
}
