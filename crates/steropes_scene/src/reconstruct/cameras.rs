//! From verified pairs to cameras.

use super::pairs::{Comparison, VerifiedPair, frame_intrinsics};
use super::{Monitor, Options, ReconstructError};
use crate::alignment::{
    AlignedImages, AlignmentOptions, AlignmentProblem, InitialCameras, Start, align, condense_image,
    condense_pair,
};
use crate::averaging::{AveragingOptions, RotationAverage, RotationEdge, rotation_averaging};
use crate::bundle::{
    Bundle, BundleInput, FocalPrior, FreeIntrinsics, PairMatches, PixelMatch, RefineOptions, Registration,
    TrackOptions, build_tracks, refine,
};
use crate::photo::{Photo, Pinhole};
use crate::{Camera, Intrinsics};
use nalgebra::UnitQuaternion;
use steropes_ops::geometry::canonical_view::CanonicalView;
use steropes_tensor::Device;

/// A group of photos with cameras.
pub(super) struct PlacedGroup {
    /// The photos, by index among all.
    pub(super) photos: Vec<usize>,
    /// Their cameras in network pixels.
    pub(super) cameras: Vec<Camera>,
    /// Their average pointmaps.
    pub(super) views: Vec<CanonicalView>,
    /// Cameras and anchor depths before bundle adjustment.
    pub(super) aligned: AlignedImages,
    /// What bundle adjustment found; `None` if it was not asked for.
    pub(super) bundle: Option<Bundle>,
    /// Verified pairs within the group that were used, by index.
    pub(super) pairs: Vec<usize>,
    /// Per photo of the group: `Some` says why it has no camera after all.
    pub(super) lost: Vec<Option<String>>,
}

/// The rotations of all photos, and which verified pairs contradict the others.
pub(super) fn average_rotations(
    photos: usize,
    pairs: &[VerifiedPair],
) -> Result<RotationAverage, ReconstructError> {
    let edges: Vec<RotationEdge> = pairs
        .iter()
        .map(|pair| RotationEdge {
            photos: pair.photos,
            camera2_from_camera1: pair.view.pose.expect("a verified pair has a pose").camera2_from_camera1,
            weight: pair.view.independent_inliers,
        })
        .collect();
    Ok(rotation_averaging(photos, &edges, &AveragingOptions::default())?)
}

/// Places the photos of one group: alignment of the pointmaps on `device`, then bundle adjustment.
pub(super) fn place(
    photos: &[Photo],
    members: &[usize],
    comparison: &Comparison,
    average: &RotationAverage,
    (options, device): (&Options, &Device),
    monitor: &dyn Monitor,
) -> Result<PlacedGroup, ReconstructError> {
    let local = |photo: usize| members.iter().position(|&m| m == photo);
    let pairs: Vec<usize> = (0..comparison.pairs.len())
        .filter(|&p| average.consistent[p] && comparison.pairs[p].photos.iter().all(|&i| local(i).is_some()))
        .collect();
    let views: Vec<CanonicalView> =
        members.iter().map(|&m| comparison.sums[m].finish()).collect::<Result<_, _>>()?;
    let focals = focals(photos, members, comparison, &pairs, &views)?;

    monitor.begin("align", 1);
    let mut problem = AlignmentProblem::default();
    for ((view, &m), focal) in views.iter().zip(members).zip(&focals) {
        let mut image = condense_image(view, frame_intrinsics(&photos[m], focal.focal_px).center_px)?;
        image.base_focal_px = focal.focal_px;
        problem.images.push(image);
    }
    for &p in &pairs {
        let VerifiedPair { photos, matches, .. } = &comparison.pairs[p];
        let images = photos.map(|i| local(i).expect("the pair lies in the group"));
        let of = images.map(|i| &views[i]);
        problem.pairs.push(condense_pair(images, of, [&matches.xy1, &matches.xy2], &matches.confidence)?);
    }
    let rotations: Vec<UnitQuaternion<f64>> = members.iter().map(|&m| average.world_from_camera[m]).collect();
    let settings = AlignmentOptions {
        shared_intrinsics: options.shared_intrinsics,
        optimise_principal: false,
        start: Start::Cameras(InitialCameras::Rotations(rotations)),
        device: device.clone(),
        ..AlignmentOptions::default()
    };
    let aligned = align(&problem, &settings)?.images;
    monitor.step();
    monitor.end();

    let mut group = PlacedGroup {
        photos: members.to_vec(),
        cameras: aligned.cameras.clone(),
        lost: vec![None; members.len()],
        views,
        aligned,
        bundle: None,
        pairs,
    };
    if options.refine {
        monitor.begin("refine", 1);
        group.refine(photos, comparison, &focals, options)?;
        monitor.step();
        monitor.end();
    }
    Ok(group)
}

/// What is believed about the focal length of each photo of a group, in network pixels: its pointmap (or EXIF entry)
/// and what its pairs add to that.
fn focals(
    photos: &[Photo],
    members: &[usize],
    comparison: &Comparison,
    pairs: &[usize],
    views: &[CanonicalView],
) -> Result<Vec<FocalPrior>, ReconstructError> {
    members
        .iter()
        .zip(views)
        .map(|(&m, view)| {
            let (guess, sigma) = comparison.focal_guess[m].expect("every photo of a pair has a guess");
            let own = if photos[m].focal_prior.is_some() {
                guess
            } else {
                condense_image(view, frame_intrinsics(&photos[m], guess).center_px)?.base_focal_px
            };
            let prior = 1.0 / (sigma * sigma);
            let (mut information, mut sum) = (prior, prior * own.ln());
            for &p in pairs {
                let pair = &comparison.pairs[p];
                let Some(side) = pair.photos.iter().position(|&i| i == m) else { continue };
                let posterior = 1.0 / pair.view.focal_sigma[side].max(PAIR_FOCAL_SIGMA).powi(2);
                let added = (posterior - prior).max(0.0);
                // The pair's answer already holds the guess it started from; only what it adds counts.
                let mean = (posterior * pair.view.focal_px[side].ln() - prior * guess.ln()) / added.max(1e-9);
                if added > 0.2 * prior {
                    information += added;
                    sum += added * mean;
                }
            }
            Ok(FocalPrior { focal_px: (sum / information).exp(), sigma: FOCAL_SIGMA.min(sigma) })
        })
        .collect()
}

/// No pair knows a focal length better than this: its matches have systematic errors.
const PAIR_FOCAL_SIGMA: f64 = 0.15;
/// Trust in the fused focal lengths. It matters for two or three photos, whose matches cannot tell a focal length from
/// a distortion; many photos overrule it.
const FOCAL_SIGMA: f64 = 0.05;

/// Focal lengths that differ by more than this (natural logarithm) are different lenses.
const SAME_LENS: f64 = 0.18;

/// For each photo the number of its group of shared intrinsics: photos of one size whose focal lengths agree, or all of
/// one size if `shared`.
fn intrinsics_groups(photos: &[&Photo], focals: &[FocalPrior], shared: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..photos.len()).collect();
    let size = |i: usize| {
        let [w, h] = photos[i].map.upright_size;
        [w.max(h), w.min(h)]
    };
    order.sort_by(|&a, &b| size(a).cmp(&size(b)).then(focals[a].focal_px.total_cmp(&focals[b].focal_px)));
    let mut groups = vec![0; photos.len()];
    let mut group = 0;
    for pair in order.windows(2) {
        let [a, b] = [pair[0], pair[1]];
        let same_lens = (focals[b].focal_px / focals[a].focal_px).ln() < SAME_LENS;
        if size(a) != size(b) || !(shared || same_lens) {
            group += 1;
        }
        groups[b] = group;
    }
    groups
}

/// Pixels of equal size on both axes whose unit is about a network pixel: the network's own pixels are not quite
/// square, because each side of the resized photo is rounded.
pub(super) struct SquareFrame<'a> {
    photo: &'a Photo,
    /// Upright pixels per pixel of the frame.
    pub(super) scale: f64,
}

impl<'a> SquareFrame<'a> {
    pub(super) fn new(photo: &'a Photo) -> Self {
        let [x, y] = photo.map.scale();
        Self { photo, scale: 0.5 * (x + y) }
    }

    /// The frame's pixel at a pixel of the network's image.
    fn pixel(&self, network: [f64; 2]) -> [f64; 2] {
        self.photo.map.upright_from_network(network).map(|v| v / self.scale - 0.5)
    }

    /// The point of the upright photo at a pixel of the frame.
    pub(super) fn upright(&self, pixel: [f64; 2]) -> [f64; 2] {
        pixel.map(|v| (v + 0.5) * self.scale)
    }

    /// The pixel of the network's image at a pixel of the frame.
    pub(super) fn network(&self, pixel: [f64; 2]) -> [f64; 2] {
        self.photo.map.network_from_upright(self.upright(pixel))
    }

    /// Intrinsics with the principal point in the middle of the photo.
    fn intrinsics(&self, focal_px: f64) -> Intrinsics {
        let center_px = self.photo.map.upright_size.map(|s| f64::from(s) / 2.0 / self.scale - 0.5);
        Intrinsics { focal_px, center_px }
    }

    /// The camera of the upright photo.
    pub(super) fn pinhole(&self, focal_px: f64) -> Pinhole {
        let middle = self.photo.map.upright_size.map(|s| f64::from(s) / 2.0);
        Pinhole { focal_px: [focal_px * self.scale; 2], center_px: middle }
    }
}

impl PlacedGroup {
    fn refine(
        &mut self,
        photos: &[Photo],
        comparison: &Comparison,
        focals: &[FocalPrior],
        options: &Options,
    ) -> Result<(), ReconstructError> {
        let own: Vec<&Photo> = self.photos.iter().map(|&m| &photos[m]).collect();
        let frames: Vec<SquareFrame<'_>> = own.iter().map(|p| SquareFrame::new(p)).collect();
        let matches: Vec<PairMatches> =
            self.pairs.iter().map(|&p| self.pair_matches(&comparison.pairs[p], &frames)).collect();
        let tracks = build_tracks(own.len(), &matches, &TrackOptions::default())?;
        let cameras: Vec<Camera> = self
            .aligned
            .cameras
            .iter()
            .zip(&frames)
            .map(|(camera, frame)| Camera {
                intrinsics: frame.intrinsics(camera.intrinsics.focal_px),
                world_from_camera: camera.world_from_camera,
            })
            .collect();
        let priors: Vec<Option<FocalPrior>> = focals.iter().copied().map(Some).collect();
        let input = BundleInput {
            cameras: &cameras,
            intrinsics_group: &intrinsics_groups(&own, focals, options.shared_intrinsics),
            focal_priors: &priors,
            tracks: &tracks,
            relative_rotations: &[],
        };
        let free = FreeIntrinsics { focal: true, center: false, radial: true };
        let bundle = refine(&input, &RefineOptions { free, ..RefineOptions::default() })?;
        for (i, registration) in bundle.registration.iter().enumerate() {
            let camera = &bundle.cameras[i];
            self.cameras[i] = Camera {
                intrinsics: frame_intrinsics(own[i], camera.intrinsics.focal_px),
                world_from_camera: camera.world_from_camera,
            };
            if let Registration::NotRegistered { observations } = registration {
                self.lost[i] = Some(format!("only {observations} of its points fit the other photos"));
            }
        }
        self.bundle = Some(bundle);
        Ok(())
    }

    fn pair_matches(&self, pair: &VerifiedPair, frames: &[SquareFrame<'_>]) -> PairMatches {
        let images = pair.photos.map(|i| self.photos.iter().position(|&m| m == i).expect("in the group"));
        let pixel = |side: usize, m: usize| {
            frames[images[side]].pixel(pair.fine[side][m].map(f64::from)).map(|v| v as f32)
        };
        let matches = (0..pair.matches.len())
            .map(|m| PixelMatch {
                pixels: [pixel(0, m), pixel(1, m)],
                confidence: pair.matches.confidence[m],
            })
            .collect();
        PairMatches { images, matches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::InputFormat;

    fn photo(width: u32, height: u32) -> Photo {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo.png");
        image::RgbImage::new(width, height).save(&path).expect("a picture");
        let format = InputFormat { preset: 64, patch: 16, square_ok: true };
        Photo::read(&path, "photo.png", &format).expect("a photo")
    }

    #[test]
    fn photos_share_a_lens_if_size_and_focal_length_agree() {
        let photos = [photo(128, 96), photo(96, 128), photo(128, 96), photo(128, 96), photo(120, 96)];
        let own: Vec<&Photo> = photos.iter().collect();
        let focal = |focal_px| FocalPrior { focal_px, sigma: 0.05 };
        let focals = [50.0, 53.0, 90.0, 51.0, 50.0].map(focal);
        let groups = intrinsics_groups(&own, &focals, false);
        assert!(groups[0] == groups[1] && groups[0] == groups[3], "a turned photo is of the same camera");
        assert!(groups[0] != groups[2], "another zoom");
        assert!(groups[0] != groups[4] && groups[2] != groups[4], "another size");
        let forced = intrinsics_groups(&own, &focals, true);
        assert!(forced[0] == forced[2] && forced[0] != forced[4]);
    }

    /// 1000 x 751 becomes 64 x 48.064: the network's pixels are not square, the frame's are.
    #[test]
    fn the_square_frame_keeps_the_photos_shape() {
        let photo = photo(1000, 751);
        let frame = SquareFrame::new(&photo);
        for pixel in [[0.0, 0.0], [31.25, 12.5], [63.0, 47.0]] {
            let upright = photo.map.upright_from_network(pixel);
            let back = frame.upright(frame.pixel(pixel));
            assert!((upright[0] - back[0]).abs() + (upright[1] - back[1]).abs() < 1e-9);
            let network = frame.network(frame.pixel(pixel));
            assert!((network[0] - pixel[0]).abs() + (network[1] - pixel[1]).abs() < 1e-9);
        }
        let a = frame.pixel(photo.map.network_from_upright([100.0, 100.0]));
        let b = frame.pixel(photo.map.network_from_upright([200.0, 200.0]));
        assert!(((b[0] - a[0]) - (b[1] - a[1])).abs() < 1e-9, "equal steps on both axes");
        assert_eq!(frame.pinhole(10.0).center_px, [500.0, 375.5]);
    }
}
