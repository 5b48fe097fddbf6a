//! Residuals and gradients of the sparse global alignment.

pub(crate) mod bench;
mod cpu;
mod exact;
mod fallback;
mod lanes;
mod pack;
mod pullback;
pub(in crate::geometry) mod reference;
pub(crate) mod tests;

pub use fallback::{FrameTargets, MatchedPixel};
pub use pack::{PairMatches, ViewShape};

pub(in crate::geometry) use fallback::check_targets;
pub(in crate::geometry) use pack::check_pair;

use crate::dispatch;
use crate::error::OpError;
use pack::Packed;

const OP: &str = "geometry::sparse_alignment";

/// A camera and the size of its cloud, for [`SparseAlignment::coarse`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RigidView {
    /// Rotation `world_from_camera`, by rows.
    pub rotation: [[f64; 3]; 3],
    /// Camera centre in the world.
    pub center: [f64; 3],
    /// Factor of the frozen camera-frame points.
    pub scale: f64,
}

/// A camera, for [`SparseAlignment::fine`] and [`SparseAlignment::fallback`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PinholeView {
    /// Rotation `world_from_camera`, by rows.
    pub rotation: [[f64; 3]; 3],
    /// Camera centre in the world.
    pub center: [f64; 3],
    /// Focal length in pixels.
    pub focal_px: f64,
    /// Principal point (x, y) in pixels.
    pub principal_px: [f64; 2],
    /// Factor `base focal / focal` of the depth of a pixel relative to its anchor.
    pub relief: f64,
}

/// Arithmetic of [`SparseAlignment::coarse`] and [`SparseAlignment::fine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32 per match, f64 for sums: fast.
    Single,
    /// f64 throughout, about ten times slower. Steps of a long optimisation amplify rounding, so that only this
    /// follows the path of another f64 program.
    Double,
}

/// Derivatives of a loss by the fields of [`RigidView`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RigidGradient {
    /// By the entries of the rotation matrix; only its part along rotations has a meaning.
    pub rotation: [[f64; 3]; 3],
    /// By the camera centre.
    pub center: [f64; 3],
    /// By the scale.
    pub scale: f64,
}

/// Derivatives of a loss by the fields of [`PinholeView`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PinholeGradient {
    /// By the entries of the rotation matrix; only its part along rotations has a meaning.
    pub rotation: [[f64; 3]; 3],
    /// By the camera centre.
    pub center: [f64; 3],
    /// By the focal length, `relief` and anchor depths held.
    pub focal_px: f64,
    /// By the principal point.
    pub principal_px: [f64; 2],
    /// By `relief`.
    pub relief: f64,
}

/// All matches of a set of images, packed for repeated evaluation of the alignment losses.
///
/// Every match is seen from both of its images `a` and `b`: at pixel `u`, which belongs to the anchor `k` of a coarse
/// grid, at the relative depth `offset`. With the depths `D` of all anchors, the camera-frame point of `u` is
/// `x = D[k] (1 + (offset - 1) relief) ((u - principal) / focal, 1)` and its world point `X = R x + C`.
///
/// - [`SparseAlignment::coarse`]: `sum w rho(|X_a - X_b|) / sum w` with exponent 1.5, where `x` is frozen up to a
///   factor per image;
/// - [`SparseAlignment::fine`]: `sum w rho(|projection of X_b into a - u_a|) / sum w`, both ways, exponent 0.5;
/// - [`SparseAlignment::fallback`]: distance to points that are given in another camera's frame, exponent 1.1.
///
/// `rho(d) = (d + o)^g - o^g` with `o = (1/g)^(1/(g-1))`, which has slope 1 at 0. The projection divides by at least
/// 0.001 and is cut to [-1000, 2000] pixels; what is cut has no gradient.
///
/// # Shapes
/// One [`ViewShape`] per image; depths and their gradients lie image after image, `[sum of anchors]`, f64.
///
/// # Numerics
/// Each pair is evaluated in the frame of one of its cameras; with [`Precision::Single`] in f32, summed in f32 over
/// at most 64 values and then in f64. The order depends on the data alone: the same bits for any number of threads.
///
/// # Errors
/// [`OpError`] if an argument does not fit; nothing is computed then.
///
/// # Source
/// MASt3R-SfM, arXiv:2409.19152, section 4 (coarse alignment and refinement); gradients derived by hand.
pub struct SparseAlignment {
    packed: Packed,
    work: cpu::Workspace,
}

impl SparseAlignment {
    /// Packs the matches.
    ///
    /// # Errors
    /// [`OpError`] if lists of a pair differ in length, name images or anchors that do not exist, hold values that
    /// are not finite, or if no match has a positive weight.
    pub fn new(
        views: &[ViewShape],
        pairs: &[PairMatches<'_>],
        precision: Precision,
    ) -> Result<Self, OpError> {
        let packed = Packed::new(views, pairs)?;
        let work = cpu::Workspace::new(&packed, precision);
        Ok(Self { packed, work })
    }

    /// Number of anchors of all images.
    pub fn anchors(&self) -> usize {
        self.packed.anchors()
    }

    /// Sets the camera-frame points of [`SparseAlignment::coarse`] from intrinsics and anchor depths.
    ///
    /// # Errors
    /// [`OpError::Shape`] if a list has the wrong length.
    pub fn freeze(&mut self, views: &[PinholeView], depths: &[f64]) -> Result<(), OpError> {
        self.check_len("views", views.len(), self.packed.views())?;
        self.check_len("depths", depths.len(), self.packed.anchors())?;
        dispatch::on_cpu(OP);
        cpu::freeze(&self.packed, &mut self.work, views, depths);
        Ok(())
    }

    /// The loss between world points; adds its derivatives to `gradient`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if a list has the wrong length, [`OpError::Value`] before the first
    /// [`SparseAlignment::freeze`].
    pub fn coarse(&mut self, views: &[RigidView], gradient: &mut [RigidGradient]) -> Result<f64, OpError> {
        self.check_len("views", views.len(), self.packed.views())?;
        self.check_len("gradient", gradient.len(), self.packed.views())?;
        if !self.work.frozen() {
            return Err(OpError::value(OP, "views", "frozen before `coarse`", "none"));
        }
        dispatch::on_cpu(OP);
        Ok(cpu::coarse(&self.packed, &mut self.work, views, gradient))
    }

    /// The loss between projections and pixels; adds its derivatives to `gradient` and `depth_gradient`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if a list has the wrong length.
    pub fn fine(
        &mut self,
        views: &[PinholeView],
        depths: &[f64],
        gradient: &mut [PinholeGradient],
        depth_gradient: &mut [f64],
    ) -> Result<f64, OpError> {
        self.check_pinhole(views, depths, gradient, depth_gradient)?;
        dispatch::on_cpu(OP);
        Ok(cpu::fine(&self.packed, &mut self.work, (views, depths), gradient, depth_gradient))
    }

    /// The loss between world points and the points of `targets`; adds its derivatives, times `factor`, to
    /// `gradient` and `depth_gradient`. `matched` lists the matched pixels of every image.
    ///
    /// # Errors
    /// [`OpError`] if a list has the wrong length or names an image or anchor that does not exist.
    pub fn fallback(
        &self,
        (matched, targets): (&[Vec<MatchedPixel>], &[FrameTargets]),
        (views, depths): (&[PinholeView], &[f64]),
        factor: f64,
        gradient: &mut [PinholeGradient],
        depth_gradient: &mut [f64],
    ) -> Result<f64, OpError> {
        self.check_pinhole(views, depths, gradient, depth_gradient)?;
        check_targets(OP, &self.packed.shapes, matched, targets)?;
        dispatch::on_cpu(OP);
        let scene = fallback::Scene { packed: &self.packed, matched, targets, views, depths };
        Ok(fallback::evaluate(&scene, factor, gradient, depth_gradient))
    }

    fn check_pinhole(
        &self,
        views: &[PinholeView],
        depths: &[f64],
        gradient: &[PinholeGradient],
        depth_gradient: &[f64],
    ) -> Result<(), OpError> {
        self.check_len("views", views.len(), self.packed.views())?;
        self.check_len("depths", depths.len(), self.packed.anchors())?;
        self.check_len("gradient", gradient.len(), self.packed.views())?;
        self.check_len("depth_gradient", depth_gradient.len(), self.packed.anchors())
    }

    fn check_len(&self, name: &'static str, found: usize, expected: usize) -> Result<(), OpError> {
        if found == expected {
            return Ok(());
        }
        Err(OpError::shape(OP, name, format!("[{expected}]"), &[found]))
    }
}
