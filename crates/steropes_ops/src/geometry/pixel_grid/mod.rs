//! The coordinates of the pixels of an image.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{OpError, on_cpu};
use steropes_tensor::{Device, Tensor};

const OP: &str = "geometry::pixel_grid";

/// Whole numbers up to this one are exact in f32.
const LARGEST: u64 = 1 << 24;

/// The coordinates `(origin_x + x, origin_y + y)` of every pixel, as whole numbers in f32.
///
/// # Shapes
/// - returns: `[height, width, 2]`, f32, (x, y), on `device`
///
/// # Units
/// Pixels.
///
/// # Numerics
/// Exact.
///
/// # Errors
/// [`OpError::Value`] if a coordinate would be above 2^24 in magnitude, where f32 has no odd numbers; [`OpError::Failed`] if the device
/// has no memory for it.
///
/// # Source
/// Written from the formula.
pub fn pixel_grid(device: &Device, width: usize, height: usize, origin: [i32; 2]) -> Result<Tensor, OpError> {
    for (name, side, first) in [("width", width, origin[0]), ("height", height, origin[1])] {
        let end = side as u64 + u64::from(first.unsigned_abs());
        if end > LARGEST {
            let expected = format!("at most 2^24 together with the origin {first}");
            return Err(OpError::value(OP, name, expected, side));
        }
    }
    match device {
        Device::Cpu => Ok(on_cpu(&[height, width, 2], cpu::pixel_grid(width, height, origin))),
        Device::Gpu(gpu) => gpu::pixel_grid(gpu, width, height, origin),
    }
}
