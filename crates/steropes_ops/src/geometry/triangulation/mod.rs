//! Points from the pixels at which several cameras see them.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "geometry::triangulation";
const MATCHES: &str = "geometry::triangulation::points_from_matches";

/// The smallest ratio of two diagonal elements of the triangular factor that still says where a point is; with less,
/// the rays are parallel within f32.
const MIN_DIAGONAL_RATIO: f32 = 1.0 / (1 << 18) as f32;

/// The point whose projections fit its pixels best in the linear sense, for many points at once.
///
/// Each camera with rows `P1, P2, P3` that sees the point at `(u, v)` gives two equations, `(P1 - u P3) X = 0` and `(P2 - v P3) X = 0`, with
/// `X = (x, y, z, 1)`; the point is their least-squares solution, rows not normalised. A camera whose pixel is not finite does
/// not see the point. A point is NaN, all three coordinates, if its rays do not meet in one place: fewer than two cameras see it, or the
/// rays are parallel or the same within f32. A point behind the cameras is found too.
///
/// # Shapes
/// - `pixels`: `[batch, cameras, points, 2]`, f32, (x, y)
/// - `projections`: `[batch, cameras, 3, 4]`, f32, from world points to homogeneous pixels
/// - returns: `[batch, points, 3]`, f32, in the world
///
/// # Units
/// Pixels; the points in those of the projections' shift.
///
/// # Numerics
/// Orthogonal (Givens) rotations, so that the error grows with the condition number of the equations, not with its square: within
/// `1e-6 condition max(1, |X|)`. The CPU rotates in f64, a GPU in f32. Rays count as parallel if a diagonal element of the triangular
/// factor is below 2^-18 of the largest.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Unsupported`] if a GPU
/// cannot bind the equations of a single point. Nothing is computed then.
///
/// # Source
/// Hartley and Sturm, Triangulation, 1997, section 5.1 (linear least squares, inhomogeneous); Golub and Van Loan, Matrix
/// Computations, 5.2.5 (Givens rotations). Written from the formulas.
pub fn triangulate(pixels: &Tensor, projections: &Tensor) -> Result<Tensor, OpError> {
    let &[batch, cameras, points, 2] = pixels.shape() else {
        return Err(OpError::shape(OP, "pixels", "[batch, cameras, points, 2]", pixels.shape()));
    };
    if projections.shape() != [batch, cameras, 3, 4] {
        let expected = format!("[{batch}, {cameras}, 3, 4]");
        return Err(OpError::shape(OP, "projections", expected, projections.shape()));
    }
    match place(OP, &[("pixels", pixels, Holds::F32), ("projections", projections, Holds::F32)])? {
        Place::Cpu => {
            let found = cpu::triangulate(values(pixels), values(projections), [batch, cameras, points]);
            Ok(on_cpu(&[batch, points, 3], found))
        }
        Place::Gpu(gpu) => gpu::triangulate(&gpu, pixels, projections),
    }
}

/// What [`points_from_matches`] finds for each pixel of the reference image.
#[derive(Clone, Debug)]
pub struct MatchedPoints {
    /// `[batch, height, width, 3]`: points in the world, NaN where too few views have one.
    pub points: Tensor,
    /// `[batch, height, width]`: their depth in the reference camera, NaN likewise.
    pub depth: Tensor,
    /// `[batch, height, width]`: the sum of the confidences of the views that have a point, 0 where none has.
    pub confidence: Tensor,
}

/// Points and depths of a reference image from its matches with other views.
///
/// Each match is triangulated on its own from the reference camera and that of its view, as [`triangulate`] does for two cameras. The point
/// of a pixel is the average over the views that have a finite point and a finite confidence, weighted by the confidences: `Σ c X / Σ c`.
/// It is NaN if at most `floor(min_valid_share views)` views have one. Where `Σ c` is at most 1e-5, the point is `Σ c X` undivided and means
/// nothing; the confidence says so.
///
/// # Shapes
/// - `intrinsics`: `[batch, 1 + views, 3, 3]`, f32; the reference camera comes first
/// - `camera_from_world`: `[batch, 1 + views, 3, 4]`, f32 (x right, y down, z forward)
/// - `matches`: `[batch, views, height, width, 5]`, f32: the pixel (x, y) in the reference image, that in the view, and the
///   confidence; not changed
/// - returns: as [`MatchedPoints`] says
///
/// # Units
/// Pixels; points and depths in those of the cameras' shifts.
///
/// # Numerics
/// As [`triangulate`]; averages in f64 on the CPU, in f32 on a GPU.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`], [`OpError::Device`] or [`OpError::Value`] if an argument is not as above, or
/// `min_valid_share` is not in [0, 1); [`OpError::Unsupported`] if a GPU cannot bind the cameras of one item at once. Nothing is
/// computed then.
///
/// # Source
/// MASt3R, arXiv:2406.09756 (released program, behaviour as described in the specification); written from the formulas.
pub fn points_from_matches(
    intrinsics: &Tensor,
    camera_from_world: &Tensor,
    matches: &Tensor,
    min_valid_share: f64,
) -> Result<MatchedPoints, OpError> {
    let &[batch, views, height, width, 5] = matches.shape() else {
        let expected = "[batch, views, height, width, 5]";
        return Err(OpError::shape(MATCHES, "matches", expected, matches.shape()));
    };
    for (name, t, columns) in [("intrinsics", intrinsics, 3), ("camera_from_world", camera_from_world, 4)] {
        if t.shape() != [batch, views + 1, 3, columns] {
            let expected = format!("[{batch}, {}, 3, {columns}]", views + 1);
            return Err(OpError::shape(MATCHES, name, expected, t.shape()));
        }
    }
    if !(0.0..1.0).contains(&min_valid_share) {
        return Err(OpError::value(MATCHES, "min_valid_share", "at least 0 and below 1", min_valid_share));
    }
    let too_few = (min_valid_share * views as f64).floor() as usize;
    let arguments = [
        ("intrinsics", intrinsics, Holds::F32),
        ("camera_from_world", camera_from_world, Holds::F32),
        ("matches", matches, Holds::F32),
    ];
    match place(MATCHES, &arguments)? {
        Place::Cpu => {
            let cameras =
                cpu::Cameras { intrinsics: values(intrinsics), camera_from_world: values(camera_from_world) };
            let shape = [batch, views, height * width];
            let [points, depth, confidence] =
                cpu::points_from_matches(&cameras, values(matches), shape, too_few);
            Ok(MatchedPoints {
                points: on_cpu(&[batch, height, width, 3], points),
                depth: on_cpu(&[batch, height, width], depth),
                confidence: on_cpu(&[batch, height, width], confidence),
            })
        }
        Place::Gpu(gpu) => gpu::points_from_matches(&gpu, [intrinsics, camera_from_world, matches], too_few),
    }
}
