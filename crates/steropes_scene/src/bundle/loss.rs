//! Robust losses of squared, whitened residuals.

/// How a residual counts. `s` is the squared residual in units of its standard deviation; all losses behave as
/// `s` near 0. `scale` says, in standard deviations, where a residual stops counting fully.
///
/// # Source
/// Holland and Welsch 1977 (iteratively reweighted least squares); Barron, "A general and adaptive robust loss
/// function", arXiv:1701.03077, for the family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// `s`: every residual counts fully.
    Squared,
    /// `s` up to `scale^2`, then `2 scale sqrt(s) - scale^2`.
    Huber {
        /// Standard deviations.
        scale: f64,
    },
    /// `2 scale^2 (sqrt(1 + s / scale^2) - 1)`.
    SoftL1 {
        /// Standard deviations.
        scale: f64,
    },
    /// `scale^2 ln(1 + s / scale^2)`.
    Cauchy {
        /// Standard deviations.
        scale: f64,
    },
    /// `s / (1 + s / scale^2)`: far outliers do not pull at all.
    GemanMcClure {
        /// Standard deviations.
        scale: f64,
    },
}

impl Loss {
    /// The loss at squared residual `s` and its derivative, which is the weight of the residual in a
    /// reweighted least-squares step.
    pub fn value_and_weight(self, s: f64) -> (f64, f64) {
        match self {
            Self::Squared => (s, 1.0),
            Self::Huber { scale } => {
                let c2 = scale * scale;
                if s <= c2 { (s, 1.0) } else { (2.0 * scale * s.sqrt() - c2, scale / s.sqrt()) }
            }
            Self::SoftL1 { scale } => {
                let c2 = scale * scale;
                let root = (1.0 + s / c2).sqrt();
                (2.0 * c2 * (root - 1.0), 1.0 / root)
            }
            Self::Cauchy { scale } => {
                let c2 = scale * scale;
                (c2 * (s / c2).ln_1p(), 1.0 / (1.0 + s / c2))
            }
            Self::GemanMcClure { scale } => {
                let share = 1.0 / (1.0 + s / (scale * scale));
                (s * share, share * share)
            }
        }
    }

    /// The `scale` of the loss; `None` for [`Loss::Squared`].
    pub fn scale(self) -> Option<f64> {
        match self {
            Self::Squared => None,
            Self::Huber { scale }
            | Self::SoftL1 { scale }
            | Self::Cauchy { scale }
            | Self::GemanMcClure { scale } => Some(scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Loss;

    #[test]
    fn weight_is_the_derivative_and_starts_at_one() {
        let losses = [
            Loss::Squared,
            Loss::Huber { scale: 1.3 },
            Loss::SoftL1 { scale: 0.7 },
            Loss::Cauchy { scale: 2.0 },
            Loss::GemanMcClure { scale: 1.5 },
        ];
        for loss in losses {
            assert!((loss.value_and_weight(1e-12).1 - 1.0).abs() < 1e-9, "{loss:?}");
            for s in [0.01, 0.4, 1.0, 3.0, 50.0] {
                let h = 1e-6 * s;
                let slope = (loss.value_and_weight(s + h).0 - loss.value_and_weight(s - h).0) / (2.0 * h);
                assert!((slope - loss.value_and_weight(s).1).abs() < 1e-7, "{loss:?} at {s}");
            }
        }
    }
}
