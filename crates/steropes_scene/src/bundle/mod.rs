//! Bundle adjustment: from pairwise matches and rough cameras to refined cameras, points and how far to trust
//! them.
//!
//! The order of work is [`build_tracks`] (matches of pairs to points seen in several photos), then
//! [`refine`], which alternates [`triangulate`](triangulate::triangulate_track) and
//! [`adjust`] (robust Levenberg-Marquardt with Schur complement) while it drops what does not fit.
//! [`resect`] places one camera against fixed points.
//!
//! Everything is in one pixel frame per photo, the caller's choice (network or original pixels), in which whole
//! numbers are pixel samples, as in [`Intrinsics`](crate::Intrinsics).

mod adjust;
mod loss;
mod projection;
mod refine;
mod resect;
mod rotation_link;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod tracks;
pub mod triangulate;
mod uncertainty;

pub use adjust::{AdjustOptions, AdjustSummary, FreeIntrinsics, Problem, ProblemObservation, adjust};
pub use loss::Loss;
pub use projection::LensCamera;
pub use refine::{
    Bundle, BundleInput, BundlePoint, FocalPrior, PointObservation, RefineOptions, Registration, refine,
};
pub use resect::{ResectOptions, Resection, resect};
pub use rotation_link::RelativeRotation;
pub use tracks::{Observation, PairMatches, PixelMatch, TrackOptions, TrackStatistics, Tracks, build_tracks};
pub use uncertainty::CameraUncertainty;

/// Why an argument of bundle adjustment was refused. Nothing was computed then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A list has not one entry per photo, group or match.
    #[error("{op}: `{argument}` must have {expected} entries, got {got}")]
    Length {
        /// The refusing function.
        op: &'static str,
        /// The refused argument.
        argument: &'static str,
        /// Number of entries it should have.
        expected: usize,
        /// Number of entries it has.
        got: usize,
    },
    /// An index points past the end of what it indexes.
    #[error("{op}: `{argument}` must be below {limit}, got {got}")]
    Index {
        /// The refusing function.
        op: &'static str,
        /// The refused argument.
        argument: &'static str,
        /// First index that does not exist.
        limit: usize,
        /// The index given.
        got: usize,
    },
    /// A number is outside its range, infinite or NaN.
    #[error("{op}: `{argument}` must be {expected}, got {got}")]
    Value {
        /// The refusing function.
        op: &'static str,
        /// The refused argument.
        argument: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The number given.
        got: f64,
    },
    /// A pair names the same photo twice.
    #[error("{op}: `{argument}` must be two different photos, got {got} twice")]
    SamePhoto {
        /// The refusing function.
        op: &'static str,
        /// The refused argument.
        argument: &'static str,
        /// The photo.
        got: usize,
    },
    /// No two cameras are held together by enough points.
    #[error(
        "refine: `tracks` must hold at least two photos together, got none with {needed} points that fit"
    )]
    NothingHolds {
        /// Points a photo needs.
        needed: usize,
    },
}

/// `Err` unless `got` is finite and `accepted`.
fn require(
    op: &'static str,
    argument: &'static str,
    expected: &'static str,
    got: f64,
    accepted: bool,
) -> Result<(), BundleError> {
    if got.is_finite() && accepted { Ok(()) } else { Err(BundleError::Value { op, argument, expected, got }) }
}

/// `Err` unless `got` is `expected`.
fn require_length(
    op: &'static str,
    argument: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), BundleError> {
    if got == expected { Ok(()) } else { Err(BundleError::Length { op, argument, expected, got }) }
}

/// `Err` unless `got < limit`.
fn require_index(
    op: &'static str,
    argument: &'static str,
    limit: usize,
    got: usize,
) -> Result<(), BundleError> {
    if got < limit { Ok(()) } else { Err(BundleError::Index { op, argument, limit, got }) }
}
