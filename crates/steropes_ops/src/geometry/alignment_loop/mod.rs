//! The sparse global alignment as a loop that stays on a GPU.

pub(crate) mod bench;
mod gpu;
mod pack;
mod reference;
pub(crate) mod tests;

use crate::dispatch;
use crate::error::OpError;
use crate::geometry::sparse_alignment::{
    FrameTargets, MatchedPixel, PairMatches, PinholeView, ViewShape, check_pair, check_targets,
};
use steropes_tensor::Gpu;

const OP: &str = "geometry::alignment_loop";

/// Parameters of an image: a quaternion x, y, z, w and a translation relative to the parent in the kinematic tree, the
/// logarithms of size and focal length, and the principal point divided by width and height.
pub const IMAGE_PARAMETERS: usize = 11;

/// Constants of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopImage {
    /// Width and height in pixels.
    pub size: [f64; 2],
    /// Focal length of the canonical pointmap in pixels.
    pub base_focal_px: f64,
    /// Median depth of the canonical pointmap.
    pub median_depth: f64,
    /// Where the optical axis of the canonical pointmap meets the image, in pixels.
    pub pivot_px: [f64; 2],
    /// Number of anchors.
    pub anchors: usize,
    /// Focal length in pixels that the prior pulls towards.
    pub prior_focal_px: f64,
    /// Principal point divided by width and height that the prior pulls towards.
    pub prior_center: [f64; 2],
}

/// All that stays the same from step to step.
#[derive(Clone, Copy, Debug)]
pub struct LoopProblem<'a> {
    /// The images.
    pub images: &'a [LoopImage],
    /// Root of the kinematic tree.
    pub root: usize,
    /// Its edges (parent, child), parents first.
    pub tree: &'a [[usize; 2]],
    /// Matches.
    pub pairs: &'a [PairMatches<'a>],
    /// Matched pixels of every image; may be empty without targets.
    pub matched: &'a [Vec<MatchedPixel>],
    /// Points that matched pixels are drawn to.
    pub targets: &'a [FrameTargets],
    /// Weight of the loss of the targets.
    pub target_weight: f64,
}

/// The loss of the matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopStage {
    /// Distances of world points.
    Coarse,
    /// Distances of projections and pixels, plus the priors.
    Fine,
}

/// What a run minimises and moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopOptions {
    /// The loss.
    pub stage: LoopStage,
    /// Which parameters of an image move.
    pub moves: [bool; IMAGE_PARAMETERS],
    /// Whether depths move.
    pub move_depths: bool,
    /// Whether the derivatives by focal length and principal point are summed over all images, so that equal ones stay equal.
    pub shared_intrinsics: bool,
    /// Weight of the squared logarithm of focal over prior focal length, mean over images.
    pub focal_prior: f64,
    /// Weight of the squared distance of the relative principal point from its prior, mean over images.
    pub principal_prior: f64,
}

/// The parameters, or the derivatives by them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopParameters {
    /// One entry per image.
    pub images: Vec<[f64; IMAGE_PARAMETERS]>,
    /// Anchor depths divided by their median, image after image.
    pub depths: Vec<f64>,
}

/// Cameras and depths that follow from parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopScene {
    /// One camera per image.
    pub views: Vec<PinholeView>,
    /// Depths of all anchors, image after image.
    pub depths: Vec<f32>,
}

/// The sparse alignment with everything that repeats on a GPU: cameras from parameters along the kinematic tree, the losses
/// of [`crate::geometry::sparse_alignment::SparseAlignment`] and their derivatives in closed form, the way back
/// through tree and parameters, priors, and Adam (both decay rates 0.9, epsilon 1e-8) with a step length that falls
/// along half a cosine. A run reads back once, at its end.
///
/// With quaternion `q`, translation `t`, size `s`, focal length `f`, principal point `P`, base focal length `b`, median depth
/// `m`, relative depths `d` and `g = 1 / min s`: the pose of an image is that of its parent times `(R(q), t)`; its camera
/// centre is `g (T - R z e)` with `z = s m f / b` and `e = ((pivot - P) / f, 1)`; its depths are `g (z + (d - 1) m s)`. Focal
/// lengths are kept between 0.25 and 10 diagonals of the image.
///
/// # Shapes
/// Per image [`IMAGE_PARAMETERS`] parameters; depths `[sum of anchors]`.
///
/// # Numerics
/// f32. Every pair is evaluated in the frame of one of its cameras; sums of at most 2048 matches are added in a fixed order, as are
/// those of pairs and images, without atomics: the same bits on the same device. Derivatives agree with f64 within 4e-5
/// of the largest of their kind, within 1e-4 where those by thousands of matches nearly cancel. Adam makes whole steps of the
/// rounding of derivatives that are 0, as that by the pose of the root is.
///
/// # Memory
/// 72 bytes per match, and about 8 per match for sums by depth.
///
/// # Errors
/// [`OpError`] if an argument does not fit or the device failed.
///
/// # Source
/// MASt3R-SfM, arXiv:2409.19152, section 4; Adam, arXiv:1412.6980; gradients derived by hand.
pub struct AlignmentLoop {
    device: gpu::Loop,
    images: usize,
    anchors: usize,
}

impl AlignmentLoop {
    /// Packs the problem and brings it to the device.
    ///
    /// # Errors
    /// [`OpError`] if lists do not fit each other or the tree does not join all images, [`OpError::Unsupported`] if the
    /// device cannot bind that much at once.
    pub fn new(gpu: &Gpu, problem: &LoopProblem<'_>) -> Result<Self, OpError> {
        Self::with_part_bytes(gpu, problem, gpu.capabilities().max_binding_bytes)
    }

    /// [`AlignmentLoop::new`] with at most that many bytes of matches in one array.
    fn with_part_bytes(gpu: &Gpu, problem: &LoopProblem<'_>, bytes: u64) -> Result<Self, OpError> {
        problem.check()?;
        let device = gpu::Loop::new(gpu, problem, bytes)?;
        let anchors = problem.images.iter().map(|i| i.anchors).sum();
        Ok(Self { device, images: problem.images.len(), anchors })
    }

    /// Loss, its derivatives and the scene at `parameters`.
    ///
    /// # Errors
    /// [`OpError`] if the parameters do not fit the problem or the device failed.
    pub fn evaluate(
        &mut self,
        options: &LoopOptions,
        parameters: &LoopParameters,
    ) -> Result<(f64, LoopParameters, LoopScene), OpError> {
        self.check(options, parameters)?;
        dispatch::on_gpu(OP);
        let device = &mut self.device;
        device.start(parameters, 1)?;
        device.forward()?;
        device.iteration(options, None, 0)?;
        let losses = device.losses(1)?;
        Ok((losses[0], device.gradient()?, device.scene()?))
    }

    /// Takes `iterations` steps from `parameters`, the first of the length `learning_rate`. Returns the loss before every step,
    /// which may be not finite, and the scene before the last one (or at `parameters` if there is no step).
    ///
    /// # Errors
    /// [`OpError`] if the parameters do not fit the problem or the device failed.
    pub fn run(
        &mut self,
        options: &LoopOptions,
        (iterations, learning_rate): (usize, f64),
        parameters: &mut LoopParameters,
    ) -> Result<(Vec<f64>, LoopScene), OpError> {
        self.check(options, parameters)?;
        if !learning_rate.is_finite() {
            return Err(OpError::value(OP, "learning_rate", "finite", learning_rate));
        }
        if iterations == 0 {
            let (_, _, scene) = self.evaluate(options, parameters)?;
            return Ok((Vec::new(), scene));
        }
        dispatch::on_gpu(OP);
        let device = &mut self.device;
        device.start(parameters, iterations)?;
        for iteration in 0..iterations {
            device.forward()?;
            let step = gpu::Step::new(iteration, iterations, learning_rate);
            device.iteration(options, Some(step), iteration)?;
        }
        let losses = device.losses(iterations)?;
        *parameters = device.parameters()?;
        Ok((losses, device.scene()?))
    }

    fn check(&self, options: &LoopOptions, parameters: &LoopParameters) -> Result<(), OpError> {
        for (name, weight) in
            [("focal_prior", options.focal_prior), ("principal_prior", options.principal_prior)]
        {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(OpError::value(OP, name, "finite and at least 0", weight));
            }
        }
        let found = [parameters.images.len(), parameters.depths.len()];
        if found == [self.images, self.anchors] {
            return Ok(());
        }
        let expected = format!("{} images with {} anchors", self.images, self.anchors);
        Err(OpError::value(OP, "parameters", expected, format!("{} and {}", found[0], found[1])))
    }
}

impl LoopProblem<'_> {
    fn check(&self) -> Result<(), OpError> {
        if self.images.is_empty() {
            return Err(OpError::value(OP, "images", "at least 1", 0));
        }
        for image in self.images {
            let lengths = [image.size[0], image.size[1], image.base_focal_px, image.prior_focal_px];
            for v in lengths {
                if !(v.is_finite() && v > 0.0) {
                    let expected = "images with positive sizes and focal lengths";
                    return Err(OpError::value(OP, "images", expected, v));
                }
            }
        }
        let shape = |i: &LoopImage| ViewShape { anchors: i.anchors, observes: true };
        let shapes: Vec<_> = self.images.iter().map(shape).collect();
        for pair in self.pairs {
            check_pair(OP, &shapes, pair)?;
        }
        if !self.targets.is_empty() {
            check_targets(OP, &shapes, self.matched, self.targets)?;
        }
        if !(self.target_weight.is_finite() && self.target_weight >= 0.0) {
            return Err(OpError::value(OP, "target_weight", "finite and at least 0", self.target_weight));
        }
        Ok(())
    }
}
