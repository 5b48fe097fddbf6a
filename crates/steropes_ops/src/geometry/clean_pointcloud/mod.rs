//! Confidence of points that another camera sees through.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::dispatch;
use crate::error::OpError;
use steropes_tensor::Device;

const OP: &str = "geometry::clean_pointcloud";

/// One image's dense result and its camera.
#[derive(Clone, Debug)]
pub struct DenseView<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Focal length and principal point (x, y) in pixels.
    pub focal_center_px: [f64; 3],
    /// Rows of the 3x4 matrix that maps world points into the camera (x right, y down, z forward).
    pub camera_from_world: [[f64; 4]; 3],
    /// `[height, width]`: depth along the optical axis.
    pub depth: &'a [f32],
    /// `[height, width, 3]`: the points in the world.
    pub points: &'a [f32],
    /// `[height, width]`: confidence.
    pub confidence: &'a [f32],
}

/// Confidences after every point that lies in front of another image's surface was lowered to at most
/// `bad_confidence`.
///
/// A point of image `i` is bad if in some other image `j` it has a positive depth `z`, its rounded pixel (halves to
/// even) is inside, `z < (1 - tolerance) depth_j(pixel)` and its confidence is below that of the pixel. Images are
/// treated in order; confidences already lowered count for later images.
///
/// # Shapes
/// One entry per image in `views`; the result has one `[height, width]` list per image. A GPU gets the lists once and gives back the
/// confidences once.
///
/// # Numerics
/// On the CPU projection in f64 from the f32 points; comparisons are exact. On a GPU projection in f32, relative to the centre of
/// the image's own camera. With `D` the sum of the point's distances from both cameras, `z` is within `2^-20 D` and the pixel before
/// rounding within `2^-20 (focal D / z + larger side)`, so decisions nearer than that to their boundary may differ, and with them
/// those of later images that look at these points.
///
/// # Errors
/// [`OpError::Shape`] if a list does not fit its image, [`OpError::Value`] if `tolerance` is not in [0, 1),
/// [`OpError::Unsupported`] if all depths have more bytes than a GPU can bind at once.
///
/// # Source
/// DUSt3R, arXiv:2312.14132 (released program, behaviour as described in the specification); written from the
/// formula.
pub fn clean_pointcloud(
    views: &[DenseView<'_>],
    tolerance: f64,
    bad_confidence: f32,
    device: &Device,
) -> Result<Vec<Vec<f32>>, OpError> {
    for v in views {
        let pixels = v.width * v.height;
        for (name, found, expected) in [
            ("depth", v.depth.len(), pixels),
            ("points", v.points.len(), 3 * pixels),
            ("confidence", v.confidence.len(), pixels),
        ] {
            if found != expected {
                return Err(OpError::shape(OP, name, format!("[{expected}]"), &[found]));
            }
        }
    }
    if !(0.0..1.0).contains(&tolerance) {
        return Err(OpError::value(OP, "tolerance", "at least 0 and below 1", tolerance));
    }
    match device {
        // `min` with NaN lowers nothing.
        Device::Gpu(gpu) if !bad_confidence.is_nan() => {
            dispatch::on_gpu(OP);
            gpu::clean_pointcloud(gpu, views, tolerance, bad_confidence)
        }
        _ => {
            dispatch::on_cpu(OP);
            Ok(cpu::clean_pointcloud(views, tolerance, bad_confidence))
        }
    }
}
