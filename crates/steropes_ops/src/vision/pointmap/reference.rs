//! The formulas, pixel by pixel.

use super::{ConfidenceMode, DepthMode};

/// Points and confidences of pixels `(x, y, z, confidence)`.
pub(super) fn pointmap(raw: &[f32], depth: DepthMode, mode: ConfidenceMode) -> (Vec<f64>, Vec<f64>) {
    let (mut points, mut confidences) = (Vec::new(), Vec::new());
    for pixel in raw.chunks(4) {
        let [x, y, z, c] = std::array::from_fn(|i| f64::from(pixel[i]));
        let d = (x * x + y * y + z * z).sqrt();
        for v in [x, y, z] {
            points.push(match depth {
                DepthMode::Linear => v,
                DepthMode::Square => v * d,
                DepthMode::Exp => v / d.max(1e-8) * d.exp_m1(),
            });
        }
        confidences.push(match mode {
            ConfidenceMode::Exp { min, max } => f64::from(min) + c.exp().min(f64::from(max) - f64::from(min)),
            ConfidenceMode::Sigmoid { min, max } => {
                (f64::from(max) - f64::from(min)) / (1.0 + (-c).exp()) + f64::from(min)
            }
        });
    }
    (points, confidences)
}
