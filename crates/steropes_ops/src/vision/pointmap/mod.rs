//! From raw head outputs to 3D points and their confidence.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "vision::pointmap";
const CONFIDENCE: &str = "vision::confidence";

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
    /// The confidence of the raw value `x`; NaN for NaN.
    pub fn apply(self, x: f32) -> f32 {
        cpu::confidence(self, x)
    }

    fn check(self, op: &'static str) -> Result<(), OpError> {
        let (min, max, infinite) = match self {
            Self::Exp { min, max } => (min, max, true),
            Self::Sigmoid { min, max } => (min, max, false),
        };
        if min.is_finite() && max > min && (infinite || max.is_finite()) {
            return Ok(());
        }
        let expected = if infinite { "min < max, min finite" } else { "min < max, both finite" };
        Err(OpError::value(op, "confidence", expected, format!("min {min}, max {max}")))
    }
}

/// Points and confidences from the four raw channels x, y, z, confidence.
///
/// Every vector keeps its direction and gets the length that `depth` says; the fourth channel becomes a confidence
/// as `confidence` says.
///
/// # Shapes
/// - `raw`: `[batch, height, width, 4]`, f32, on a GPU also f16
/// - returns: points `[batch, height, width, 3]` and confidences `[batch, height, width]`, always f32
///
/// # Units
/// Those that the network was trained in: metres for a metric model, otherwise up to scale.
///
/// # Numerics
/// f32; exponentials within 2 ulp, on a GPU 3, infinite above 88.72. An absolute error of the raw vector becomes a relative
/// one of the point. `Tolerance::Ulps(8 + |xyz|)` holds for points, `Tolerance::Ulps(4)` for confidences with `min >= 0`. NaN comes
/// through.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `raw` is not as above, [`OpError::Value`] if the bounds of
/// `confidence` are not increasing or not as finite as its mode says.
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
    let place = place(OP, &[("raw", raw, Holds::Float)])?;
    confidence.check(OP)?;
    let shapes = [&[batch, height, width, 3][..], &[batch, height, width]];
    match place {
        Place::Cpu => {
            let (points, confidences) = cpu::pointmap(values(raw), depth, confidence);
            Ok((on_cpu(shapes[0], points), on_cpu(shapes[1], confidences)))
        }
        Place::Gpu(gpu) => gpu::pointmap(&gpu, raw, shapes, depth, confidence),
    }
}

/// The confidence of every raw value.
///
/// # Shapes
/// - `raw`: any, f32, on a GPU also f16
/// - returns: the shape of `raw`, always f32
///
/// # Numerics
/// As the confidences of [`pointmap`].
///
/// # Errors
/// [`OpError::DType`] if `raw` is not as above, [`OpError::Value`] if the bounds of `mode` are not increasing or not as finite
/// as it says.
///
/// # Source
/// DUSt3R, arXiv:2312.14132, section 3; written from the formulas.
pub fn confidence(raw: &Tensor, mode: ConfidenceMode) -> Result<Tensor, OpError> {
    let place = place(CONFIDENCE, &[("raw", raw, Holds::Float)])?;
    mode.check(CONFIDENCE)?;
    match place {
        Place::Cpu => {
            let confidences = values(raw).iter().map(|&x| mode.apply(x)).collect();
            Ok(on_cpu::<f32>(raw.shape(), confidences))
        }
        Place::Gpu(gpu) => gpu::confidence(&gpu, raw, mode),
    }
}
