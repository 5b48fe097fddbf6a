//! The matches of a pair of photos with confidences, from the maps of the network's runs on the pair.

use super::tracks::{self, PairLookup, ReciprocalOptions, Seeds};
use super::{DescriptorMap, Metric, refine_subpixel, rows_on_host};
use steropes_ops::OpError;
use steropes_tensor::{DType, Tensor};

/// Matched pixels of two photos, sorted by the pixel of photo 1 (row by row) and then of photo 2; no pair twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches {
    /// `(x, y)` in photo 1, in pixels of the network's input.
    pub xy1: Vec<[u32; 2]>,
    /// `(x, y)` in photo 2.
    pub xy2: Vec<[u32; 2]>,
    /// How much the network trusts the two descriptors; positive.
    pub confidence: Vec<f32>,
}

impl Matches {
    /// The number of matches.
    pub fn len(&self) -> usize {
        self.xy1.len()
    }

    /// Whether there is no match.
    pub fn is_empty(&self) -> bool {
        self.xy1.is_empty()
    }
}

/// Places (x, y) between network pixels of each match, in photo 1 and in photo 2.
pub type FinePixels = [Vec<[f32; 2]>; 2];

/// What one run of the network says about the pixels of both photos, in the frame of one of them.
#[derive(Clone, Copy, Debug)]
pub struct FrameMaps<'a> {
    /// Descriptors of photo 1, `[height, width, depth]` or `[1, height, width, depth]`, f32.
    pub descriptors_1: &'a Tensor,
    /// Their confidences, `[height, width]` or `[1, height, width]`, f32.
    pub confidence_1: &'a Tensor,
    /// Descriptors of photo 2.
    pub descriptors_2: &'a Tensor,
    /// Their confidences.
    pub confidence_2: &'a Tensor,
}

/// The result of [`merge_correspondences`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergedPixels {
    /// Pixel numbers in photo 1, sorted.
    pub pixels_1: Vec<u32>,
    /// Pixel numbers in photo 2; equal pixels of photo 1 are sorted by these.
    pub pixels_2: Vec<u32>,
    /// Where each pair stood first in the lists given.
    pub first: Vec<usize>,
}

/// The pairs `(pixels_1[i], pixels_2[i])`, each once, sorted by the first and then by the second pixel.
///
/// # Panics
/// If the lists differ in length.
pub fn merge_correspondences(pixels_1: &[u32], pixels_2: &[u32]) -> MergedPixels {
    assert_eq!(pixels_1.len(), pixels_2.len(), "a pair has two pixels");
    let pair = |i: &usize| (pixels_1[*i], pixels_2[*i]);
    let mut first: Vec<usize> = (0..pixels_1.len()).collect();
    // The sort is stable, so the first occurrence leads its equals and is the one that stays.
    first.sort_by_key(pair);
    first.dedup_by_key(|i| pair(i));
    MergedPixels {
        pixels_1: first.iter().map(|i| pixels_1[*i]).collect(),
        pixels_2: first.iter().map(|i| pixels_2[*i]).collect(),
        first,
    }
}

/// The matches of a pair of photos: mutual nearest neighbours in every frame, searched from a grid of seeds in photo 1 and
/// from one in photo 2, with confidence `sqrt(c1 c2)`.
///
/// A pair found more than once has the confidence of the first time, in the order: first frame from photo 1, first frame
/// from photo 2, second frame from photo 1, ..
///
/// # Shapes
/// - `frames`: the maps in the frame of photo 1, then those in the frame of photo 2; all maps of a photo have the same
///   shape
/// - `subsample`: distance of the seeds in pixels
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if a map has another shape or dtype, [`OpError::Value`] if `frames` is empty
/// or `subsample` is 0.
///
/// # Source
/// Symmetric matching of MASt3R-SfM, arXiv:2409.19152, section 3; written from a specification.
pub fn extract_correspondences(frames: &[FrameMaps<'_>], subsample: usize) -> Result<Matches, OpError> {
    symmetric(frames, Metric::Dot, subsample)
}

/// As [`extract_correspondences`], with points in space in place of descriptors: nearest are those with the least
/// distance. For networks that have no descriptors.
///
/// # Errors
/// As [`extract_correspondences`].
///
/// # Source
/// DUSt3R, arXiv:2312.14132, section 3.3 (point matching); written from the description.
pub fn extract_point_correspondences(frames: &[FrameMaps<'_>], subsample: usize) -> Result<Matches, OpError> {
    symmetric(frames, Metric::Euclidean, subsample)
}

fn symmetric(frames: &[FrameMaps<'_>], metric: Metric, subsample: usize) -> Result<Matches, OpError> {
    const OP: &str = "matching::extract_correspondences";
    if frames.is_empty() {
        return Err(OpError::value(OP, "frames", "at least one", "none"));
    }
    for frame in &frames[1..] {
        let first = &frames[0];
        let same = |argument, map: &Tensor, of: &Tensor| {
            let shape = |t: &Tensor| t.shape()[t.shape().len().saturating_sub(3)..].to_vec();
            if shape(map) == shape(of) {
                return Ok(());
            }
            Err(OpError::shape(OP, argument, format!("{:?}, as in the first frame", of.shape()), map.shape()))
        };
        same("descriptors_1", frame.descriptors_1, first.descriptors_1)?;
        same("descriptors_2", frame.descriptors_2, first.descriptors_2)?;
    }
    let grid = |_: &DescriptorMap| Ok(ReciprocalOptions::grid(subsample));
    Ok(collect(OP, frames, metric, grid, |c1, c2| (c1 * c2).sqrt())?.0)
}

/// As [`extract_correspondences`], with positions between pixels in either photo beside the matches.
///
/// In every frame [`refine_subpixel`] moves either end to the maximum of the similarity near it while the other end stays;
/// both ends then take half of their mean move, because the two moves undo one and the same error.
///
/// # Errors
/// As [`extract_correspondences`].
///
/// # Source
/// As [`extract_correspondences`] and [`refine_subpixel`].
pub fn extract_fine_correspondences(
    frames: &[FrameMaps<'_>],
    subsample: usize,
) -> Result<(Matches, FinePixels), OpError> {
    const OP: &str = "matching::extract_fine_correspondences";
    let grid = |_: &DescriptorMap| Ok(ReciprocalOptions::grid(subsample));
    let (matches, maps) = collect(OP, frames, Metric::Dot, grid, |c1, c2| (c1 * c2).sqrt())?;
    let swapped = Matches {
        xy1: matches.xy2.clone(),
        xy2: matches.xy1.clone(),
        confidence: matches.confidence.clone(),
    };
    let share = 0.5 / maps.len() as f32;
    let mut fine =
        [&matches.xy1, &matches.xy2].map(|xy| xy.iter().map(|p| p.map(|v| v as f32)).collect::<Vec<_>>());
    for [map_1, map_2] in &maps {
        let ends =
            [refine_subpixel(&swapped, map_2, map_1)?.xy2, refine_subpixel(&matches, map_1, map_2)?.xy2];
        for ((fine, moved), whole) in fine.iter_mut().zip(ends).zip([&matches.xy1, &matches.xy2]) {
            for ((fine, moved), whole) in fine.iter_mut().zip(moved).zip(whole) {
                for axis in 0..2 {
                    fine[axis] += share * (moved[axis] - whole[axis] as f32);
                }
            }
        }
    }
    Ok((matches, fine))
}

/// The matches of a pair of photos from one frame: as [`extract_correspondences`], but with the confidence `min(c1, c2)`,
/// and with a tolerance, if `pixel_tol` is above 0, on how far the way back may end from the seed.
///
/// # Units
/// `pixel_tol` in pixels; see [`ReciprocalOptions::pixel_tol`].
///
/// # Errors
/// As [`extract_correspondences`]; [`OpError::Value`] for a negative or infinite tolerance.
///
/// # Source
/// As [`extract_correspondences`].
pub fn extract_correspondences_nonsym(
    frame: FrameMaps<'_>,
    subsample: usize,
    pixel_tol: f32,
) -> Result<Matches, OpError> {
    const OP: &str = "matching::extract_correspondences_nonsym";
    let options = |map: &DescriptorMap| {
        let seeds = if pixel_tol > 0.0 {
            Seeds::Pixels(tracks::grid_pixels(map, subsample)?)
        } else {
            Seeds::Grid(subsample)
        };
        Ok(ReciprocalOptions { seeds, pixel_tol, basin: false })
    };
    Ok(collect(OP, &[frame], Metric::Dot, options, f32::min)?.0)
}

/// Both searches in every frame, merged, and the maps of each frame.
fn collect(
    op: &'static str,
    frames: &[FrameMaps<'_>],
    metric: Metric,
    options: impl Fn(&DescriptorMap) -> Result<ReciprocalOptions, OpError>,
    combine: impl Fn(f32, f32) -> f32,
) -> Result<(Matches, Vec<[DescriptorMap; 2]>), OpError> {
    let (mut pixels_1, mut pixels_2, mut confidence) = (Vec::new(), Vec::new(), Vec::new());
    let mut widths = [0, 0];
    let mut maps = Vec::with_capacity(frames.len());
    for frame in frames {
        let map_1 = DescriptorMap::new(frame.descriptors_1, metric)?;
        let map_2 = DescriptorMap::new(frame.descriptors_2, metric)?;
        let confidence_1 = confidences(op, "confidence_1", frame.confidence_1, &map_1)?;
        let confidence_2 = confidences(op, "confidence_2", frame.confidence_2, &map_2)?;
        widths = [map_1.width() as u32, map_2.width() as u32];
        let mut lookup = PairLookup::new(&map_1, &map_2)?;
        let from_1 = tracks::search(&mut lookup, &options(&map_1)?)?;
        // The second search asks for many neighbours that the first one has found.
        let from_2 = tracks::search(&mut lookup.swapped(), &options(&map_2)?)?;
        for (p, q) in [(&from_1.pixels_1, &from_1.pixels_2), (&from_2.pixels_2, &from_2.pixels_1)] {
            let both = [(&confidence_1, p), (&confidence_2, q)].map(|(c, at)| rows_on_host(c, at.clone()));
            let [c1, c2] = both;
            confidence.extend(c1?.into_iter().zip(c2?).map(|(c1, c2)| combine(c1, c2)));
            pixels_1.extend_from_slice(p);
            pixels_2.extend_from_slice(q);
        }
        maps.push([map_1, map_2]);
    }
    let merged = merge_correspondences(&pixels_1, &pixels_2);
    let xy = |pixels: &[u32], width: u32| pixels.iter().map(|p| [p % width, p / width]).collect();
    let matches = Matches {
        xy1: xy(&merged.pixels_1, widths[0]),
        xy2: xy(&merged.pixels_2, widths[1]),
        confidence: merged.first.iter().map(|i| confidence[*i]).collect(),
    };
    Ok((matches, maps))
}

/// The confidences of a map's pixels, `[pixels, 1]`.
fn confidences(
    op: &'static str,
    argument: &'static str,
    confidence: &Tensor,
    map: &DescriptorMap,
) -> Result<Tensor, OpError> {
    let [height, width] = [map.height(), map.width()];
    if confidence.shape() != [height, width] && confidence.shape() != [1, height, width] {
        return Err(OpError::shape(op, argument, format!("[{height}, {width}]"), confidence.shape()));
    }
    if confidence.dtype() != DType::F32 {
        return Err(OpError::DType { op, argument, expected: "f32", found: confidence.dtype() });
    }
    Ok(confidence.clone().reshape(&[height * width, 1]).expect("as many elements"))
}
