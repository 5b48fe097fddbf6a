//! From raw head outputs to 3D points and their confidence.

pub(crate) mod bench;
mod cpu;
mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
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
    /// The confidence of the raw value `x`; NaN for NaN.
    pub fn apply(self, x: f32) -> f32 {
        cpu::confidence(self, x)
    }

    fn check(self) -> Result<(), OpError> {
        let (min, max, infinite) = match self {
            Self::Exp { min, max } => (min, max, true),
            Self::Sigmoid { min, max } => (min, max, false),
        };
        if min.is_finite() && max > min && (infinite || max.is_finite()) {
            return Ok(());
        }
        let expected = if infinite { "min < max, min finite" } else { "min < max, both finite" };
        Err(OpError::value(OP, "confidence", expected, format!("min {min}, max {max}")))
    }
}

/// Points and confidences from the four raw channels x, y, z, confidence.
///
/// Every vector keeps its direction and gets the length that `depth` says; the fourth channel becomes a confidence
/// as `confidence` says.
///
/// # Shapes
/// - `raw`: `[batch, height, width, 4]`, f32
/// - returns: points `[batch, height, width, 3]` and confidences `[batch, height, width]`
///
/// # Units
/// Those that the network was trained in: metres for a metric model, otherwise up to scale.
///
/// # Numerics
/// f32; exponentials within 2 ulp, infinite above 88.72. An absolute error of the raw vector becomes a relative
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
    let values = host::<f32>(OP, "raw", raw)?;
    confidence.check()?;
    let (points, confidences) = cpu::pointmap(values, depth, confidence);
    Ok((on_cpu(&[batch, height, width, 3], points), on_cpu(&[batch, height, width], confidences)))
}
