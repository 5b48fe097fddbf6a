//! Pairs of photos: network, matches, two-view test.

use super::{Monitor, Options, PairReport, ReconstructError};
use crate::Intrinsics;
use crate::geometry::focal::{FocalRange, weiszfeld};
use crate::matching::{
    FinePixels, FrameMaps, Matches, extract_fine_correspondences, extract_point_correspondences,
};
use crate::photo::Photo;
use crate::retrieval::{RetrievalReport, photo_similarity};
use crate::two_view::{Failure, MatchedPixels, PhotoGuess, TwoView, TwoViewKind, TwoViewOptions, verify};
use rayon::prelude::*;
use steropes_models::{BothOrders, Encoded, Model, ModelError};
use steropes_ops::geometry::canonical_view::{CanonicalSums, RelativeDepth};
use steropes_tensor::Tensor;

/// Distance between the seeds of the matching, and side of the blocks of the canonical views.
pub(super) const SUBSAMPLE: usize = 8;
/// Trust in focal lengths: of the network, and of EXIF entries.
const NETWORK_FOCAL_SIGMA: f64 = 0.1;
const EXIF_FOCAL_SIGMA: f64 = 0.03;
/// Pairs that are held at once, so that their tests share the threads.
const BATCH: usize = 16;
/// Pairs that a GPU looks at while the host records and reads others; each takes memory of its own.
const PAIRS_ON_GPU: usize = 4;

/// What is kept of a pair for its test and after it.
struct SeenPair {
    photos: [usize; 2],
    matches: Matches,
    fine: FinePixels,
    /// Points and confidence of each photo in its own frame.
    own: [[Tensor; 2]; 2],
}

/// A pair that passed the test.
pub(super) struct VerifiedPair {
    /// The photos.
    pub(super) photos: [usize; 2],
    /// The matches that fit, in whole network pixels.
    pub(super) matches: Matches,
    /// Their places between pixels in either photo.
    pub(super) fine: FinePixels,
    /// What they show.
    pub(super) view: TwoView,
    /// Index of its report.
    pub(super) report: usize,
}

/// What the network says about the photos and what their matches show.
pub(super) struct Comparison {
    /// Pairs that passed.
    pub(super) pairs: Vec<VerifiedPair>,
    /// All pairs.
    pub(super) reports: Vec<PairReport>,
    /// Running sums of each photo's own pointmaps over its verified pairs.
    pub(super) sums: Vec<CanonicalSums>,
    /// First estimate of each photo's focal length in network pixels, with its trust.
    pub(super) focal_guess: Vec<Option<(f64, f64)>>,
}

/// Every photo after the encoder.
pub(super) fn encode(
    photos: &[Photo],
    model: &Model,
    monitor: &dyn Monitor,
) -> Result<Vec<Encoded>, ReconstructError> {
    monitor.begin("encode", photos.len());
    let mut encoded = Vec::with_capacity(photos.len());
    for photo in photos {
        encoded.push(model.encode(&network_image(photo, model)?)?);
        monitor.step();
    }
    monitor.end();
    Ok(encoded)
}

/// The pairs of the graph, and how similar photos were found if the pairs depend on that.
pub(super) fn choose(
    encoded: &[Encoded],
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<(Vec<[usize; 2]>, Option<RetrievalReport>), ReconstructError> {
    if !options.graph.needs_similarity(encoded.len()) {
        return Ok((options.graph.pairs(encoded.len())?, None));
    }
    monitor.begin("retrieval", encoded.len());
    let (similarity, report) =
        photo_similarity(encoded, options.retrieval.as_deref(), options.seed, &|| monitor.step())?;
    monitor.end();
    Ok((options.graph.pairs_by_similarity(&similarity, options.seed)?, Some(report)))
}

/// Runs the network on all pairs.
pub(super) fn compare(
    photos: &[Photo],
    model: &Model,
    encoded: &[Encoded],
    pairs: &[[usize; 2]],
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Comparison, ReconstructError> {
    monitor.begin("pairs", pairs.len());
    let mut comparison = Comparison {
        pairs: Vec::new(),
        reports: Vec::new(),
        sums: photos.iter().map(empty_sums).collect::<Result<_, _>>()?,
        focal_guess: photos.iter().map(exif_focal).collect(),
    };
    for batch in pairs.chunks(BATCH) {
        comparison.add_batch(photos, model, encoded, batch, options, monitor)?;
    }
    monitor.end();
    Ok(comparison)
}

impl Comparison {
    fn add_batch(
        &mut self,
        photos: &[Photo],
        model: &Model,
        encoded: &[Encoded],
        batch: &[[usize; 2]],
        options: &Options,
        monitor: &dyn Monitor,
    ) -> Result<(), ReconstructError> {
        let look = |&[i, j]: &[usize; 2]| -> Result<SeenPair, ReconstructError> {
            let outputs = model.decode_both(&encoded[i], &encoded[j])?;
            let (matches, fine) = match_pair(&outputs)?;
            let own = [outputs.out11, outputs.out22].map(|view| [view.points, view.confidence]);
            monitor.step();
            Ok(SeenPair { photos: [i, j], matches, fine, own })
        };
        // The CPU's kernels have all its threads already.
        let at_once = if model.device().gpu().is_some() { PAIRS_ON_GPU } else { 1 };
        let mut seen = Vec::with_capacity(batch.len());
        for some in batch.chunks(at_once) {
            seen.extend(some.par_iter().with_max_len(1).map(look).collect::<Result<Vec<_>, _>>()?);
        }
        for pair in &seen {
            for (photo, [points, _]) in pair.photos.into_iter().zip(&pair.own) {
                self.guess_focal(photo, photos, points)?;
            }
        }
        let views: Vec<_> = seen
            .par_iter()
            .with_max_len(1)
            .map(|pair| {
                let guesses = pair.photos.map(|p| self.photo_guess(p, photos));
                test(&pair.matches, &pair.fine, &guesses, options)
            })
            .collect::<Result<_, _>>()?;
        for (SeenPair { photos: [i, j], matches, fine, own }, view) in seen.into_iter().zip(views) {
            let why = judge(&view);
            let kept = why.is_ok();
            self.reports.push(PairReport {
                a: photos[i].name.clone(),
                b: photos[j].name.clone(),
                matches: matches.len(),
                inliers: view.inlier_count,
                kept,
                why: why.unwrap_or_else(|why| why).to_owned(),
                log10_false_alarms: view.log10_false_alarms,
                rms_px: view.rms_px,
                angle_deg: view.median_angle_rad.to_degrees(),
                rotation_residual_deg: None,
            });
            if !kept {
                continue;
            }
            for (photo, [points, confidence]) in [i, j].into_iter().zip(&own) {
                self.sums[photo].add(points, confidence)?;
            }
            let report = self.reports.len() - 1;
            let (matches, fine) = inliers(&matches, &fine, &view);
            self.pairs.push(VerifiedPair { photos: [i, j], matches, fine, view, report });
        }
        Ok(())
    }

    fn guess_focal(
        &mut self,
        photo: usize,
        photos: &[Photo],
        points: &Tensor,
    ) -> Result<(), ReconstructError> {
        if self.focal_guess[photo].is_none() {
            let values = points.read::<f32>()?;
            let size = photos[photo].map.network_size.map(|s| s as usize);
            let center = frame_intrinsics(&photos[photo], 1.0).center_px;
            let focal = weiszfeld(&values, size, center, FocalRange::ALIGNMENT)?;
            self.focal_guess[photo] = Some((focal, NETWORK_FOCAL_SIGMA));
        }
        Ok(())
    }

    fn photo_guess(&self, photo: usize, photos: &[Photo]) -> PhotoGuess {
        let (focal_px, focal_sigma) = self.focal_guess[photo].expect("guessed before the pair is tested");
        PhotoGuess {
            size_px: photos[photo].map.network_size.map(f64::from),
            center_px: frame_intrinsics(&photos[photo], focal_px).center_px,
            focal_px,
            focal_sigma,
        }
    }
}

/// The network's input `[1, height, width, 3]`, on the device of `model` and in its precision.
///
/// # Errors
/// [`ModelError::Device`] if the device has no memory for it.
pub(super) fn network_image(photo: &Photo, model: &Model) -> Result<Tensor, ModelError> {
    photo.image().on(model)
}

/// The camera of a photo's network image whose principal point is the middle of the upright photo.
pub(super) fn frame_intrinsics(photo: &Photo, focal_px: f64) -> Intrinsics {
    let middle = photo.map.upright_size.map(|s| f64::from(s) / 2.0);
    Intrinsics { focal_px, center_px: photo.map.network_from_upright(middle) }
}

/// The matches of a pair from both orders of the network, and their places between pixels.
///
/// # Errors
/// [`ReconstructError::Op`] if an output has an unexpected shape.
pub fn match_pair(outputs: &BothOrders) -> Result<(Matches, FinePixels), ReconstructError> {
    let BothOrders { out11, out21, out22, out12 } = outputs;
    let frames = [(out11, out21), (out12, out22)];
    let described: Option<Vec<FrameMaps<'_>>> = frames
        .iter()
        .map(|(first, second)| {
            Some(FrameMaps {
                descriptors_1: first.descriptors.as_ref()?,
                confidence_1: first.descriptor_confidence.as_ref()?,
                descriptors_2: second.descriptors.as_ref()?,
                confidence_2: second.descriptor_confidence.as_ref()?,
            })
        })
        .collect();
    if let Some(frames) = described {
        return Ok(extract_fine_correspondences(&frames, SUBSAMPLE)?);
    }
    // A network without descriptors: nearest points in either frame, whose pixels cannot be refined.
    let frames = frames.map(|(first, second)| FrameMaps {
        descriptors_1: &first.points,
        confidence_1: &first.confidence,
        descriptors_2: &second.points,
        confidence_2: &second.confidence,
    });
    let matches = extract_point_correspondences(&frames, SUBSAMPLE)?;
    let whole = |xy: &[[u32; 2]]| xy.iter().map(|p| p.map(|v| v as f32)).collect();
    let fine = [whole(&matches.xy1), whole(&matches.xy2)];
    Ok((matches, fine))
}

fn test(
    matches: &Matches,
    fine: &FinePixels,
    guesses: &[PhotoGuess; 2],
    options: &Options,
) -> Result<TwoView, ReconstructError> {
    let pixels = |xy: &[[f32; 2]]| xy.iter().map(|p| p.map(f64::from)).collect::<Vec<_>>();
    let confidence: Vec<f64> = matches.confidence.iter().map(|c| f64::from(*c)).collect();
    let matched =
        MatchedPixels { pixels_1: &pixels(&fine[0]), pixels_2: &pixels(&fine[1]), confidence: &confidence };
    let settings = TwoViewOptions {
        seed: options.seed,
        shared_focal: options.shared_intrinsics && guesses[0].size_px == guesses[1].size_px,
        ..TwoViewOptions::default()
    };
    Ok(verify(&matched, guesses, &settings)?)
}

/// Fewest independent inliers of a pair that is used.
const MIN_INDEPENDENT_INLIERS: f64 = 15.0;

/// What a pair shows, or why it is dropped.
fn judge(view: &TwoView) -> Result<&'static str, &'static str> {
    match view.kind {
        TwoViewKind::Failed(Failure::TooFewMatches) => Err("fewer than 8 matches"),
        TwoViewKind::Failed(Failure::NoModel) => Err("no motion of the camera explains the matches"),
        TwoViewKind::Failed(Failure::NotSignificant) => Err("the matches that agree may be chance"),
        _ if view.independent_inliers < MIN_INDEPENDENT_INLIERS => Err("too few matches agree"),
        TwoViewKind::General => Ok("a scene from two places"),
        TwoViewKind::Planar => Ok("a plane from two places"),
        TwoViewKind::PureRotation => Ok("a camera that turned in place"),
    }
}

fn inliers(matches: &Matches, fine: &FinePixels, view: &TwoView) -> (Matches, FinePixels) {
    let keep: Vec<usize> = (0..matches.len()).filter(|&m| view.inliers[m]).collect();
    let kept = Matches {
        xy1: keep.iter().map(|&m| matches.xy1[m]).collect(),
        xy2: keep.iter().map(|&m| matches.xy2[m]).collect(),
        confidence: keep.iter().map(|&m| matches.confidence[m]).collect(),
    };
    (kept, [0, 1].map(|side| keep.iter().map(|&m| fine[side][m]).collect()))
}

fn empty_sums(photo: &Photo) -> Result<CanonicalSums, ReconstructError> {
    let [width, height] = photo.map.network_size.map(|s| s as usize);
    Ok(CanonicalSums::new(width, height, SUBSAMPLE, RelativeDepth::AverageAngle)?)
}

fn exif_focal(photo: &Photo) -> Option<(f64, f64)> {
    let prior = photo.focal_prior?;
    Some((photo.map.network_focal(prior.focal_px), EXIF_FOCAL_SIGMA))
}
