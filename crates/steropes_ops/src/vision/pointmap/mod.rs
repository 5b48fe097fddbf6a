//! From raw head outputs to 3D points and their confidence.

pub(crate) mod bench;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use rayon::prelude::*;
use steropes_tensor::Tensor;

const OP: &str = "vision::pointmap";

/// How a raw vector becomes a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthMode {
    /// `xyz`.
    Linear,
    /// `xyz / |xyz| |xyz|²`.
    Square,
    /// `xyz / max(|xyz|, 1e-8) (e^|xyz| - 1)`.
    Exp,
}

/// How a raw number becomes a confidence between `min` and `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfidenceMode {
    /// `min + min(e^x, max - min)`.
    Exp {
        /// Lower bound.
        min: f32,
        /// Upper bound, possibly infinite.
        max: f32,
    },
    /// `(max - min) / (1 + e^-x) + min`.
    Sigmoid {
        /// Lower bound.
        min: f32,
        /// Upper bound, finite.
        max: f32,
    },
}

impl ConfidenceMode {
    /// The confidence of the raw value `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Exp { min, max } => min + x.exp().min(max - min),
            Self::Sigmoid { min, max } => (max - min) / (1.0 + (-x).exp()) + min,
        }
    }
}

/// Points and confidences from the four raw channels x, y, z, confidence.
///
/// # Shapes
/// - `raw`: `[batch, height, width, 4]`, f32
/// - returns: points `[batch, height, width, 3]` and confidences `[batch, height, width]`
///
/// # Numerics
/// f32; the exponential makes an error of the raw vector relative to the point.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `raw` is not as above.
///
/// # Source
/// DUSt3R, arXiv:2312.14132, section 3; written from the formulas.
pub fn pointmap(
    raw: &Tensor,
    depth: DepthMode,
    confidence: ConfidenceMode,
) -> Result<(Tensor, Tensor), OpError> {
    let &[batch, height, width, 4] = raw.shape() else {
        return Err(OpError::shape(OP, "raw", "[batch, height, width, 4]", raw.shape()));
    };
    let values = host::<f32>(OP, "raw", raw)?;
    let pixels = batch * height * width;
    let mut points = vec![0.0f32; 3 * pixels];
    let mut confidences = vec![0.0f32; pixels];
    points
        .par_chunks_mut(3 * 1024)
        .zip(confidences.par_chunks_mut(1024))
        .zip(values.par_chunks(4 * 1024))
        .for_each(|((points, confidences), raw)| {
            for ((p, c), raw) in points.chunks_exact_mut(3).zip(confidences).zip(raw.chunks_exact(4)) {
                let d = (raw[0] * raw[0] + raw[1] * raw[1] + raw[2] * raw[2]).sqrt();
                let scale = match depth {
                    DepthMode::Linear => 1.0,
                    DepthMode::Square => d,
                    DepthMode::Exp => d.exp_m1() / d.max(1e-8),
                };
                (p[0], p[1], p[2]) = (raw[0] * scale, raw[1] * scale, raw[2] * scale);
                *c = confidence.apply(raw[3]);
            }
        });
    Ok((on_cpu(&[batch, height, width, 3], points), on_cpu(&[batch, height, width], confidences)))
}
