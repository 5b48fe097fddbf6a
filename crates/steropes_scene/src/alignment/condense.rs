//! From canonical views and matches to what the alignment needs.

use super::{AlignmentError, AlignmentImage, AlignmentPair};
use crate::geometry::focal::{FocalRange, weiszfeld};
use steropes_ops::geometry::canonical_view::CanonicalView;
use steropes_ops::geometry::sparse_alignment::FrameTargets;

/// The alignment's view of an image: base focal length from the pointmap, depths at the anchors.
///
/// `principal_px` is where the pixel grid meets the optical axis: `((W - 1)/2, (H - 1)/2)` for most cameras,
/// `(W/2, H/2)` in the published program.
///
/// # Errors
/// [`AlignmentError::Value`] if an anchor's relative depth is not positive or no focal length can be found.
pub fn condense_image(
    view: &CanonicalView,
    principal_px: [f64; 2],
) -> Result<AlignmentImage, AlignmentError> {
    let size = [view.width, view.height];
    let base_focal_px = weiszfeld(&view.points, size, principal_px, FocalRange::ALIGNMENT)
        .map_err(|e| AlignmentError::value("points", "a pointmap with a focal length", e))?;
    let [columns, rows] = view.anchor_grid();
    let relative = (0..columns * rows).map(|k| view.relative_depth[view.anchor_pixel(k)]);
    if let Some(bad) = relative.into_iter().find(|d| d.is_nan() || *d <= 0.0) {
        return Err(AlignmentError::value("relative_depth", "positive at anchors", bad));
    }
    let pixels = view.confidence.len() as f64;
    let mean_confidence = view.confidence.iter().map(|&c| f64::from(c)).sum::<f64>() / pixels;
    Ok(AlignmentImage {
        size,
        base_focal_px,
        principal_px,
        anchor_depths: view.anchor_depths(),
        mean_confidence,
    })
}

/// The matches of a pair with their anchors and offsets in both canonical views.
///
/// # Errors
/// [`AlignmentError::Value`] if the lists differ in length or a pixel is outside.
pub fn condense_pair(
    images: [usize; 2],
    views: [&CanonicalView; 2],
    pixels: [&[[u32; 2]]; 2],
    confidence: &[f32],
) -> Result<AlignmentPair, AlignmentError> {
    let mut pair = AlignmentPair {
        images,
        pixels: Default::default(),
        anchors: Default::default(),
        offsets: Default::default(),
        confidence: confidence.to_vec(),
    };
    for side in 0..2 {
        let (view, list) = (views[side], pixels[side]);
        if list.len() != confidence.len() {
            return Err(AlignmentError::value(
                "pixels",
                format!("{} per image", confidence.len()),
                list.len(),
            ));
        }
        for &[x, y] in list {
            let (column, row) = (x as usize, y as usize);
            if column >= view.width || row >= view.height {
                let expected = format!("inside {} x {}", view.width, view.height);
                return Err(AlignmentError::value("pixels", expected, format!("({x}, {y})")));
            }
            pair.pixels[side].push([x as f32, y as f32]);
            pair.anchors[side].push(view.anchor_of(column, row) as u32);
            pair.offsets[side].push(view.offset(column, row));
        }
    }
    Ok(pair)
}

/// Where in its block a target is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSampling {
    /// At the anchor, the pixel that the target stands for.
    Anchor,
    /// At the block's first pixel, as the published program does.
    Corner,
}

/// Points of image `view` in the frame of image `frame`, one per anchor, from the `[height, width, 3]` pointmap and
/// the `[height, width]` confidence of the pair.
///
/// # Errors
/// [`AlignmentError::Value`] if the lists do not fit the canonical view's size.
pub fn sample_targets(
    [view, frame]: [usize; 2],
    canonical: &CanonicalView,
    (points, confidence): (&[f32], &[f32]),
    sampling: TargetSampling,
) -> Result<FrameTargets, AlignmentError> {
    let pixels = canonical.width * canonical.height;
    if points.len() != 3 * pixels || confidence.len() != pixels {
        let found = format!("{} and {}", points.len(), confidence.len());
        return Err(AlignmentError::value("points", format!("{} and {pixels} values", 3 * pixels), found));
    }
    let half = canonical.subsample / 2;
    let [columns, rows] = canonical.anchor_grid();
    let pixel = |k: usize| match sampling {
        TargetSampling::Anchor => canonical.anchor_pixel(k),
        TargetSampling::Corner => canonical.anchor_pixel(k) - half * canonical.width - half,
    };
    let at = |k: usize| <[f32; 3]>::try_from(&points[3 * pixel(k)..3 * pixel(k) + 3]).expect("three values");
    Ok(FrameTargets {
        view,
        frame,
        points: (0..columns * rows).map(at).collect(),
        weights: (0..columns * rows).map(|k| confidence[pixel(k)]).collect(),
    })
}
