//! Robust test of the matches between two photos: do they fit one rigid scene, with which relative pose, and could
//! that be chance?

mod correspondences;
mod decision;
mod minimal;
mod pose;
mod refine;
mod residuals;
mod search;
mod settled;
mod significance;
#[cfg(test)]
mod tests;

use crate::geometry::{GeometryError, check_finite, check_length, check_weights};
use correspondences::{Correspondences, Sample};
use decision::Decision;
use nalgebra::{Matrix3, Unit, UnitQuaternion, Vector3};
use refine::{FocalPrior, Model, PoseModel, refined};
use residuals::{Relation, score};
use search::{Budget, FivePoint, FourPoint, SevenPoint, pose_of_fundamental, search};
use settled::Settled;

/// Matched pixels of two photos: row `i` of both is one match.
#[derive(Clone, Copy, Debug)]
pub struct MatchedPixels<'a> {
    /// (x, y) in photo 1.
    pub pixels_1: &'a [[f64; 2]],
    /// (x, y) in photo 2.
    pub pixels_2: &'a [[f64; 2]],
    /// How much each match is trusted, at least 0, on any scale: only the order matters.
    pub confidence: &'a [f64],
}

/// What is believed about a photo's camera before its matches are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhotoGuess {
    /// Width and height in pixels; the pixels of the matches lie in `0..width`, `0..height`, up to half a pixel.
    pub size_px: [f64; 2],
    /// Principal point in the same pixels as the matches.
    pub center_px: [f64; 2],
    /// Focal length in pixels.
    pub focal_px: f64,
    /// Standard deviation of the logarithm of the focal length, about its relative error: 0 if it is known, 0.1 for
    /// a good network, 0.5 for a mere guess.
    pub focal_sigma: f64,
}

/// How [`verify`] judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoViewOptions {
    /// Seed of the samples; the same seed gives the same bits.
    pub seed: u64,
    /// Error beyond which a match is never an inlier; the threshold in use follows the noise of the matches and is
    /// mostly smaller. About two and a half pixels of the image that was matched, in pixels of the photo.
    pub max_error_px: f64,
    /// Both photos were taken with one focal length.
    pub shared_focal: bool,
    /// Pairs whose decimal logarithm of the number of false alarms is above this are taken for chance.
    pub max_log10_false_alarms: f64,
    /// Most samples of five matches.
    pub max_iterations: usize,
}

impl Default for TwoViewOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            max_error_px: 4.0,
            shared_focal: false,
            max_log10_false_alarms: -6.0,
            max_iterations: 2000,
        }
    }
}

/// What the matches of two photos show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwoViewKind {
    /// A scene with depth seen from two places.
    General,
    /// One plane explains all matches; the pose has a twin ([`TwoView::alternative`]) and the focal lengths are the
    /// guesses.
    Planar,
    /// The camera turned in place, or the photos are the same, or the parallax is below the noise: a rotation without
    /// a direction of translation.
    PureRotation,
    /// Nothing can be said.
    Failed(Failure),
}

/// Why a pair failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Fewer than eight matches.
    TooFewMatches,
    /// No model agrees with more matches than define it.
    NoModel,
    /// The best model may be chance.
    NotSignificant,
}

/// The pose of camera 2 relative to camera 1, up to the length of the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativePose {
    /// Turns directions in camera 1 into directions in camera 2.
    pub camera2_from_camera1: UnitQuaternion<f64>,
    /// Direction of the translation `t` in `p2 = R p1 + t`: camera 1 seen from camera 2. `None` for
    /// [`TwoViewKind::PureRotation`].
    pub translation: Option<Unit<Vector3<f64>>>,
}

/// The outcome of [`verify`].
#[derive(Clone, Debug, PartialEq)]
pub struct TwoView {
    /// What the matches show.
    pub kind: TwoViewKind,
    /// Relative pose; `None` if the pair failed.
    pub pose: Option<RelativePose>,
    /// The other pose that explains a plane equally well, where there is one.
    pub alternative: Option<RelativePose>,
    /// Focal lengths in pixels after looking at the matches.
    pub focal_px: [f64; 2],
    /// Standard deviation of their logarithms: near the guess's where the matches say nothing about them.
    pub focal_sigma: [f64; 2],
    /// Fundamental matrix in pixels, `[x2 y2 1] F [x1 y1 1]^T = 0`; `None` if failed or without translation.
    pub fundamental: Option<Matrix3<f64>>,
    /// The homography in pixels that most matches agree with, whatever the kind; for a general scene its strongest
    /// plane.
    pub homography: Option<Matrix3<f64>>,
    /// Per match: agrees with the model of `kind` and lies in front of both cameras.
    pub inliers: Vec<bool>,
    /// How many matches are inliers.
    pub inlier_count: usize,
    /// Number of independent matches: those that share a small cell of a photo count together as one.
    pub independent_matches: f64,
    /// The same for the inliers.
    pub independent_inliers: f64,
    /// Distance within which a match is an inlier (Sampson's distance, see [`verify`]).
    pub threshold_px: f64,
    /// Root mean square distance of the inliers.
    pub rms_px: f64,
    /// Median angle between the viewing rays of the inliers.
    pub median_angle_rad: f64,
    /// Decimal logarithm of the expected number of models as good as this one among photos that have nothing in
    /// common; 0 is chance, -100 is certain.
    pub log10_false_alarms: f64,
}

/// Fewest matches that are looked at.
const MIN_MATCHES: usize = 8;

/// The relative pose that the matches of two photos agree on, the kind of scene they show, and how likely it is that
/// they agree by chance.
///
/// Homographies (four matches) and essential matrices (five matches, focal lengths drawn from what is believed about
/// them) are searched for by locally optimised RANSAC over a sample of at most 768 matches spread over the photos;
/// where the essential matrix explains little, fundamental matrices (seven matches) give further starts. The best
/// pose is refined with the focal lengths over all matches: least Geman-McClure loss of Sampson's distance, whose
/// scale follows the spread of the inliers, plus the belief about the focal lengths. Distances in pixels are
/// Sampson's, which are about `1 / sqrt 2` of the distance to the epipolar line.
///
/// The scene is general if the residuals of the best homography point along the epipolar lines (with significance and
/// in a size that the noise does not have); otherwise planar, or a pure rotation if `K2 R K1^-1` explains what the
/// homography explains. The number of false alarms is that of Moisan and Stival with two changes: matches in the same
/// small cell (a 32nd of the longer side) count as one, and distances below half a pixel as half a pixel.
///
/// One call runs on one thread and depends on nothing but its arguments.
///
/// # Shapes
/// All three slices of `matches` have the same length.
///
/// # Errors
/// [`GeometryError::Argument`] for unequal lengths, values that are not finite, negative confidences, sizes, focal
/// lengths or `max_error_px` that are not positive, a negative `focal_sigma`. Too few or meaningless matches are no
/// error but [`TwoViewKind::Failed`].
///
/// # Source
/// Chum, Matas, Kittler, "Locally optimized RANSAC", DAGM 2003; Nistér, PAMI 2004 (five points); Hartley and Zisserman,
/// "Multiple View Geometry" (seven points, Sampson distance); Moisan and Stival, IJCV 2004 (false alarms). Written from
/// the papers.
pub fn verify(
    matches: &MatchedPixels<'_>,
    photos: &[PhotoGuess; 2],
    options: &TwoViewOptions,
) -> Result<TwoView, GeometryError> {
    check(matches, photos, options)?;
    if matches.pixels_1.len() < MIN_MATCHES {
        return Ok(failed(matches, photos, Failure::TooFewMatches, 0.0));
    }
    let all = Correspondences::new(matches, photos);
    let sample = Sample::new(&all, matches, photos);
    let limit = options.max_error_px / all.scale_px;
    let prior = focal_prior(photos, all.scale_px, options.shared_focal);
    let budget = |iterations| Budget { seed: options.seed, iterations, limit };
    let plane = search(FourPoint::default(), &sample, budget(options.max_iterations / 4))
        .map(|found| Settled::new(&found.model, &all, &sample, limit));
    let space = best_pose(&sample, prior, budget(options.max_iterations))
        .map(|model| Settled::new(&model, &all, &sample, limit));
    let worst_allowed = options.max_log10_false_alarms;
    Ok(match (Decision { all: &all, plane, space, prior, worst_allowed }).outcome() {
        Ok(explained) => explained.in_pixels(&all, photos),
        Err((failure, log10)) => failed(matches, photos, failure, log10),
    })
}

fn check(
    matches: &MatchedPixels<'_>,
    photos: &[PhotoGuess; 2],
    options: &TwoViewOptions,
) -> Result<(), GeometryError> {
    const OP: &str = "two_view";
    let n = matches.pixels_1.len();
    check_length(OP, "pixels_2", matches.pixels_2.len(), n)?;
    check_length(OP, "confidence", matches.confidence.len(), n)?;
    check_finite(OP, "pixels_1", matches.pixels_1)?;
    check_finite(OP, "pixels_2", matches.pixels_2)?;
    check_weights(OP, "confidence", matches.confidence)?;
    let positive = |argument, value: f64| {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(GeometryError::argument(OP, argument, "positive", value))
    };
    for photo in photos {
        positive("size_px", photo.size_px[0].min(photo.size_px[1]))?;
        positive("size_px", photo.size_px[0].max(photo.size_px[1]))?;
        positive("focal_px", photo.focal_px)?;
        check_finite(OP, "center_px", [&photo.center_px])?;
        check_weights(OP, "focal_sigma", &[photo.focal_sigma])?;
    }
    positive("max_error_px", options.max_error_px)
}

fn focal_prior(photos: &[PhotoGuess; 2], scale_px: f64, shared: bool) -> FocalPrior {
    let log_mean = photos.map(|p| (p.focal_px / scale_px).ln());
    let sigma = photos.map(|p| p.focal_sigma);
    if !shared {
        return FocalPrior { log_mean, sigma, shared };
    }
    // One focal length with two guesses: their errors come from one source, so they are averaged by precision but the
    // average is not taken to be surer than the guesses.
    let precision = sigma.map(|s| 1.0 / (s * s).max(1e-12));
    let total = precision[0] + precision[1];
    let mean = (log_mean[0] * precision[0] + log_mean[1] * precision[1]) / total;
    let known = sigma.contains(&0.0);
    FocalPrior { log_mean: [mean; 2], sigma: [if known { 0.0 } else { (2.0 / total).sqrt() }; 2], shared }
}

/// The pose that most of the sample agrees with.
fn best_pose(sample: &Sample, prior: FocalPrior, budget: Budget) -> Option<PoseModel> {
    let space = search(FivePoint::new(prior), sample, budget);
    // A fundamental matrix needs no focal length: where it explains clearly more, the guess was far off.
    let free = search(SevenPoint::default(), sample, Budget { iterations: budget.iterations / 5, ..budget });
    let Some(free) = free else { return space.map(|s| s.model) };
    if space.as_ref().is_some_and(|s| free.score <= 1.05 * s.score) {
        return space.map(|s| s.model);
    }
    let start = pose_of_fundamental(&free.model.matrix(), prior);
    let other = start.map(|s| refined(&s, &sample.points, budget.limit, budget.limit / 3.0, 20).model);
    let score = |m: &PoseModel| score(Relation::Epipolar, &m.matrix(), sample, budget.limit, 0.0);
    match (space, other) {
        (Some(s), Some(o)) => Some(if score(&o) > s.score { o } else { s.model }),
        (s, o) => s.map(|s| s.model).or(o),
    }
}

/// The outcome of a pair that shows nothing.
fn failed(
    matches: &MatchedPixels<'_>,
    photos: &[PhotoGuess; 2],
    failure: Failure,
    log10_false_alarms: f64,
) -> TwoView {
    TwoView {
        kind: TwoViewKind::Failed(failure),
        pose: None,
        alternative: None,
        focal_px: photos.map(|p| p.focal_px),
        focal_sigma: photos.map(|p| p.focal_sigma),
        fundamental: None,
        homography: None,
        inliers: vec![false; matches.pixels_1.len()],
        inlier_count: 0,
        independent_matches: Correspondences::new(matches, photos).effective_count(),
        independent_inliers: 0.0,
        threshold_px: 0.0,
        rms_px: 0.0,
        median_angle_rad: 0.0,
        log10_false_alarms,
    }
}
