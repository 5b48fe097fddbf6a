//! Sparse global alignment: cameras of all images from matches and the average pointmaps.
//!
//! Every image brings a canonical pointmap (depths at anchors, relative depths between), every pair its matches. A coarse
//! stage moves the clouds as rigid bodies with a size until matched points meet in the world; a fine stage moves
//! cameras, focal lengths, principal points and anchor depths until matched points project onto their pixels.
//!
//! [`AlignmentOptions::default`] departs from the published program (MASt3R-SfM) where that has defects;
//! [`AlignmentOptions::published`] follows it:
//!
//! | | default | published |
//! |---|---|---|
//! | shared intrinsics | one parameter, updated once per step | (the same: the program steps it once per image) |
//! | root of the kinematic tree | the tree's centre | a node that is usually near an end; give the tree for parity |
//! | scale | that of the coarse stage: the median depth ratio after the fine stage is 1 | drifts in the fine stage |
//! | world frame | the first camera | wherever rounding took the root |
//! | arithmetic | f32 per match | f64, so that long runs follow other f64 programs |
//! | pairs with weak matches | all matches count | below a confidence of 5 the pair falls back to pointmaps |
//!
//! The principal point starts where [`AlignmentImage::principal_px`] says: the published program uses `(W/2, H/2)`,
//! half a pixel off the centre of the pixel grid.
//!
//! Source: MASt3R-SfM, arXiv:2409.19152, section 4; written from the formulas.

mod condense;
mod dense;
mod device;
mod initial;
mod optimise;
mod parameters;
mod rescale;
mod spectral;
#[cfg(test)]
mod tests;
mod tree;
mod tsdf;

pub use condense::{TargetSampling, condense_image, condense_pair, sample_targets};
pub use dense::{DenseImage, clean, clean_on, dense_depth, dense_images};
pub use initial::InitialCameras;
pub use optimise::{Aligner, Evaluation, Stage};
pub use parameters::{ImageParameters, Parameters};
pub use rescale::{Correction, Rescaling, TrackDepth, dense_for_cameras, rescale_to_tracks};
pub use spectral::{AnchorDepths, Laplacian, SpectralBasis, spectral_basis};
pub use steropes_ops::geometry::sparse_alignment::{FrameTargets, Precision};
pub use tree::{KinematicTree, TreeChoice, WardTree, maximum_spanning, ward};
pub use tsdf::{TsdfOptions, refine_depths_on};

use crate::camera::Camera;
use nalgebra::{DMatrix, Point3};
use steropes_ops::OpError;
use steropes_tensor::Device;

/// What the alignment needs to know of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignmentImage {
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Focal length of the canonical pointmap in pixels.
    pub base_focal_px: f64,
    /// Principal point (x, y) of the canonical pointmap in pixels, where the optimisation starts.
    pub principal_px: [f64; 2],
    /// Canonical depths at the anchors, row by row.
    pub anchor_depths: Vec<f32>,
    /// Mean confidence of the canonical pointmap: the image's weight in shared intrinsics.
    pub mean_confidence: f64,
}

/// The matches of one pair of images; lists of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignmentPair {
    /// The two images.
    pub images: [usize; 2],
    /// Matched pixels (x, y) in either image.
    pub pixels: [Vec<[f32; 2]>; 2],
    /// Anchor of each pixel in either image.
    pub anchors: [Vec<u32>; 2],
    /// Depth of each pixel relative to its anchor in either image.
    pub offsets: [Vec<f32>; 2],
    /// Confidence of each match.
    pub confidence: Vec<f32>,
}

/// All that is aligned.
#[derive(Clone, Debug, Default)]
pub struct AlignmentProblem {
    /// The images, at least two.
    pub images: Vec<AlignmentImage>,
    /// Pairs of them, each at most once.
    pub pairs: Vec<AlignmentPair>,
    /// Points of one image in another's frame, for pairs with weak matches; may be empty.
    pub targets: Vec<FrameTargets>,
}

/// Steps of one stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageOptions {
    /// Number of steps; with 0 the stage is skipped.
    pub iterations: usize,
    /// First step length; falls to 0 along half a cosine.
    pub learning_rate: f64,
}

/// Where the optimisation starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// All clouds at the same place and of the same size.
    Identity,
    /// Cameras known from elsewhere; sizes (and places) of the clouds follow from the matches.
    Cameras(InitialCameras),
    /// These parameters.
    Parameters(Parameters),
}

/// How to align.
#[derive(Clone, Debug)]
pub struct AlignmentOptions {
    /// The coarse stage.
    pub coarse: StageOptions,
    /// The fine stage.
    pub fine: StageOptions,
    /// Pairs whose best match is not above this confidence use [`AlignmentProblem::targets`] instead.
    pub weak_pair_confidence: f32,
    /// Weight of the loss of such pairs.
    pub fallback_weight: f64,
    /// One focal length and (relative to the image's size) principal point for all images.
    pub shared_intrinsics: bool,
    /// Whether the fine stage moves the principal points.
    pub optimise_principal: bool,
    /// Whether the fine stage moves the anchor depths.
    pub optimise_depth: bool,
    /// Weight of the squared logarithm of focal over base focal length, mean over images; 0 for none.
    pub focal_prior: f64,
    /// Weight of the squared distance of the principal point from its start relative to the image's size, mean over
    /// images; 0 for none.
    pub principal_prior: f64,
    /// Where all steps run. A GPU computes in f32 throughout; it refuses [`Precision::Double`].
    pub device: Device,
    /// Arithmetic of the losses.
    pub precision: Precision,
    /// The kinematic tree.
    pub tree: TreeChoice,
    /// Where to start.
    pub start: Start,
    /// Whether the result has the scale of the coarse stage.
    pub keep_coarse_scale: bool,
    /// Whether the first image's camera is the world frame.
    pub first_camera_is_world: bool,
}

impl Default for AlignmentOptions {
    fn default() -> Self {
        Self {
            coarse: StageOptions { iterations: 300, learning_rate: 0.07 },
            fine: StageOptions { iterations: 300, learning_rate: 0.01 },
            weak_pair_confidence: 0.0,
            fallback_weight: 0.01,
            shared_intrinsics: false,
            optimise_principal: true,
            optimise_depth: true,
            focal_prior: 0.0,
            principal_prior: 0.0,
            device: Device::Cpu,
            precision: Precision::Single,
            tree: TreeChoice::Ward,
            start: Start::Identity,
            keep_coarse_scale: true,
            first_camera_is_world: true,
        }
    }
}

impl AlignmentOptions {
    /// The options of the published program, with the given tree.
    pub fn published(tree: TreeChoice) -> Self {
        Self {
            weak_pair_confidence: 5.0,
            precision: Precision::Double,
            tree,
            keep_coarse_scale: false,
            first_camera_is_world: false,
            ..Self::default()
        }
    }
}

/// Why images cannot be aligned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlignmentError {
    /// An argument is out of its range.
    #[error("alignment: `{argument}` must be {expected}, got {found}")]
    Value {
        /// The argument's name.
        argument: &'static str,
        /// The range in words.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Matches do not join all images.
    #[error("alignment: `pairs` must join all images, got none that reaches image {image}")]
    Disconnected {
        /// An image that is not reached.
        image: usize,
    },
    /// A loss is not finite.
    #[error("alignment: the {stage:?} loss became {loss} at iteration {iteration}")]
    NotFinite {
        /// The stage.
        stage: Stage,
        /// The iteration.
        iteration: usize,
        /// The loss.
        loss: f64,
    },
    /// An op refused its arguments.
    #[error(transparent)]
    Op(#[from] OpError),
}

impl AlignmentError {
    pub(crate) fn value(
        argument: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Value { argument, expected: expected.into(), found: found.to_string() }
    }
}

/// Cameras and anchor depths of all images.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedImages {
    /// One camera per image.
    pub cameras: Vec<Camera>,
    /// Depths at the anchors of each image, in the scale of the cameras.
    pub anchor_depths: Vec<Vec<f32>>,
    /// Base focal length of each image in pixels.
    pub base_focals_px: Vec<f64>,
}

impl AlignedImages {
    /// Depth along the optical axis of a pixel that belongs to `anchor` and has the given depth relative to it.
    pub fn depth(&self, image: usize, anchor: usize, offset: f32) -> f64 {
        let relief = self.base_focals_px[image] / self.cameras[image].intrinsics.focal_px;
        f64::from(self.anchor_depths[image][anchor]) * (1.0 + (f64::from(offset) - 1.0) * relief)
    }

    /// World points of the matched pixels of one side of a pair.
    pub fn sparse_points(&self, pair: &AlignmentPair, side: usize) -> Vec<Point3<f64>> {
        let image = pair.images[side];
        let ends = pair.pixels[side].iter().zip(&pair.anchors[side]).zip(&pair.offsets[side]);
        ends.map(|((pixel, &anchor), &offset)| {
            let depth = self.depth(image, anchor as usize, offset);
            self.cameras[image].unproject(pixel.map(f64::from), depth)
        })
        .collect()
    }

    /// The same scene with the given factor of all lengths and, if asked, the first camera as world frame.
    pub(crate) fn moved(mut self, scale: f64, first_camera_is_world: bool) -> Self {
        let world = match self.cameras.first() {
            Some(camera) if first_camera_is_world => camera.world_from_camera.inverse(),
            _ => nalgebra::Isometry3::identity(),
        };
        for camera in &mut self.cameras {
            camera.world_from_camera = world * camera.world_from_camera;
            camera.world_from_camera.translation.vector *= scale;
        }
        for depth in self.anchor_depths.iter_mut().flatten() {
            *depth *= scale as f32;
        }
        self
    }
}

/// The result of [`align`].
#[derive(Clone, Debug)]
pub struct Alignment {
    /// Cameras and depths.
    pub images: AlignedImages,
    /// Loss before every step of the coarse stage.
    pub coarse_losses: Vec<f64>,
    /// Loss before every step of the fine stage.
    pub fine_losses: Vec<f64>,
    /// The tree that was used.
    pub tree: KinematicTree,
}

/// Aligns all images: coarse stage, then fine stage.
///
/// Poses are those before the last step, as in the published program.
///
/// # Errors
/// [`AlignmentError`] if the problem or the options do not fit together, or a loss becomes infinite.
pub fn align(problem: &AlignmentProblem, options: &AlignmentOptions) -> Result<Alignment, AlignmentError> {
    let mut aligner = Aligner::new(problem, options)?;
    let mut parameters = aligner.start(problem)?;
    let (coarse_losses, coarse) = aligner.run(Stage::Coarse, &mut parameters)?;
    let (fine_losses, images) = match options.fine.iterations {
        0 => (Vec::new(), coarse),
        _ => {
            let (losses, fine) = aligner.run(Stage::Fine, &mut parameters)?;
            let scale = if options.keep_coarse_scale { depth_ratio(&coarse, &fine) } else { 1.0 };
            (losses, fine.moved(scale, false))
        }
    };
    Ok(Alignment {
        images: images.moved(1.0, options.first_camera_is_world),
        coarse_losses,
        fine_losses,
        tree: aligner.tree().clone(),
    })
}

/// Median of the depths of `a` over those of `b`.
fn depth_ratio(a: &AlignedImages, b: &AlignedImages) -> f64 {
    let depths = |s: &AlignedImages| s.anchor_depths.concat();
    let mut ratios: Vec<f32> = depths(a).iter().zip(depths(b)).map(|(a, b)| a / b).collect();
    ratios.retain(|r| r.is_finite() && *r > 0.0);
    if ratios.is_empty() {
        return 1.0;
    }
    let middle = ratios.len() / 2;
    f64::from(*ratios.select_nth_unstable_by(middle, f32::total_cmp).1)
}

impl AlignmentProblem {
    /// Match counts of all pairs, symmetric.
    pub fn counts(&self) -> DMatrix<f64> {
        let n = self.images.len();
        let mut counts = DMatrix::zeros(n, n);
        for pair in &self.pairs {
            let [a, b] = pair.images;
            counts[(a, b)] = pair.confidence.len() as f64;
            counts[(b, a)] = counts[(a, b)];
        }
        counts
    }

    fn check(&self) -> Result<(), AlignmentError> {
        let n = self.images.len();
        if n < 2 {
            return Err(AlignmentError::value("images", "at least 2", n));
        }
        for image in &self.images {
            let good = |v: f64| v.is_finite() && v > 0.0;
            if !good(image.base_focal_px) {
                return Err(AlignmentError::value("base_focal_px", "positive", image.base_focal_px));
            }
            if image.anchor_depths.is_empty() {
                return Err(AlignmentError::value("anchor_depths", "at least 1 per image", 0));
            }
            if let Some(d) = image.anchor_depths.iter().find(|d| !d.is_finite()) {
                return Err(AlignmentError::value("anchor_depths", "finite", d));
            }
            if !good(image.mean_confidence) {
                return Err(AlignmentError::value("mean_confidence", "positive", image.mean_confidence));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for pair in &self.pairs {
            let [a, b] = pair.images;
            if a == b || a.max(b) >= n {
                let expected = format!("pairs of different images below {n}");
                return Err(AlignmentError::value("pairs", expected, format!("{a} and {b}")));
            }
            if !seen.insert([a.min(b), a.max(b)]) {
                return Err(AlignmentError::value("pairs", "each pair once", format!("{a} and {b} twice")));
            }
        }
        Ok(())
    }
}
