//! The average of all pointmaps that an image has in its own frame.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, place, values};
use steropes_tensor::{Device, Tensor};

const OP: &str = "geometry::canonical_view";

/// The confidence with weight 0.
const NO_WEIGHT: f32 = 0.999;

/// How the depth of a pixel relative to the anchor of its block is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelativeDepth {
    /// `1 + r tan(mean angle) / z(anchor)`: the mean of the slope `atan((z - z_anchor) / r)`, `r` the
    /// distance of the two points across the viewing axis.
    AverageAngle,
    /// The mean of `z / z_anchor`.
    AverageRatio,
}

/// The average pointmap of one image, in the image's own camera frame.
#[derive(Clone, Debug, PartialEq)]
pub struct CanonicalView {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Side of the square blocks; the anchor of a block is its pixel `(subsample/2, subsample/2)`.
    pub subsample: usize,
    /// `[height, width, 3]`: weighted mean of the points.
    pub points: Vec<f32>,
    /// `[height, width]`: depth divided by the depth at the block's anchor; 1 at anchors.
    pub relative_depth: Vec<f32>,
    /// `[height, width]`: weighted mean of the weights, on the scale of `confidence - 0.999`.
    pub confidence: Vec<f32>,
}

/// Running sums over the pairs of one image, from which its canonical view follows.
///
/// With the weight `w = confidence - 0.999` of each pair: the points are `sum(w X) / sum(w)`, the confidence is
/// `sum(w^2) / sum(w)`, the relative depth is as [`RelativeDepth`] says with weights `w` (and the plain mean of
/// `r`). No pointmap is kept.
///
/// The sums are kept on the device of the first pointmap, where all others must be too.
///
/// # Shapes
/// - `pointmap` of [`CanonicalSums::add`]: `[height, width, 3]` (leading extents of 1 are allowed), f32, on GPUs that have it also f16
/// - `confidence`: `[height, width]` (the same), same dtype, above 0.999 and finite
///
/// # Numerics
/// Sums in f32, so the error grows with the square root of the number of pairs: within `Tolerance::Sum { depth: 4 pairs }`. Anchors with
/// a depth of at most 2^-23 take that depth. On a GPU weights have an error of 5e-11 beside that of f32, which counts below a confidence
/// of 0.9991 only, and angles and tangents have one of 4 ulp.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`], [`OpError::Device`] or [`OpError::Value`] if an argument is not as above; nothing is
/// added then. On a GPU nothing is read back for each pair: a pointmap that is not finite or a confidence that is not as above is
/// left out at its pixel (and a point at an anchor in its whole block), and [`CanonicalSums::finish`] fails with the [`OpError::Value`].
///
/// # Source
/// MASt3R-SfM, arXiv:2409.19152, section 3.2 (canonical pointmaps); written from the formulas.
pub struct CanonicalSums {
    width: usize,
    height: usize,
    subsample: usize,
    mode: RelativeDepth,
    pairs: usize,
    sums: Option<Sums>,
}

/// Sums for each pixel.
enum Sums {
    Cpu(Vec<[f32; cpu::SUMS]>),
    Gpu(Tensor),
}

impl Sums {
    /// Sums of no pairs.
    fn zeros(device: &Device, pixels: usize) -> Result<Self, OpError> {
        Ok(match device {
            Device::Cpu => Self::Cpu(vec![[0.0; cpu::SUMS]; pixels]),
            Device::Gpu(gpu) => Self::Gpu(gpu::zeros(gpu, pixels)?),
        })
    }

    fn device(&self) -> Device {
        match self {
            Self::Cpu(_) => Device::Cpu,
            Self::Gpu(sums) => sums.device(),
        }
    }
}

impl CanonicalSums {
    /// Empty sums for an image of `width x height` pixels with blocks of `subsample` pixels.
    ///
    /// # Errors
    /// [`OpError::Value`] unless both sides are positive multiples of `subsample`.
    pub fn new(width: usize, height: usize, subsample: usize, mode: RelativeDepth) -> Result<Self, OpError> {
        if subsample == 0 {
            return Err(OpError::value(OP, "subsample", "at least 1", subsample));
        }
        for (name, side) in [("width", width), ("height", height)] {
            if side == 0 || side % subsample != 0 {
                return Err(OpError::value(OP, name, format!("a positive multiple of {subsample}"), side));
            }
        }
        Ok(Self { width, height, subsample, mode, pairs: 0, sums: None })
    }

    /// Adds the pointmap of the image in its own frame from one more pair.
    ///
    /// # Errors
    /// As the type says.
    pub fn add(&mut self, pointmap: &Tensor, confidence: &Tensor) -> Result<(), OpError> {
        let (h, w) = (self.height, self.width);
        if without_leading_ones(pointmap.shape(), 3) != [h, w, 3] {
            return Err(OpError::shape(OP, "pointmap", format!("[{h}, {w}, 3]"), pointmap.shape()));
        }
        if without_leading_ones(confidence.shape(), 2) != [h, w] {
            return Err(OpError::shape(OP, "confidence", format!("[{h}, {w}]"), confidence.shape()));
        }
        let arguments = [("pointmap", pointmap, Holds::Float), ("confidence", confidence, Holds::Float)];
        let place = place(OP, &arguments)?;
        let device = self.sums.as_ref().map_or(pointmap.device(), Sums::device);
        if device != pointmap.device() {
            let expected = format!("on {} as the pairs before", device.name());
            return Err(OpError::value(OP, "pointmap", expected, pointmap.device().name()));
        }
        if let Place::Cpu = place {
            check_values(values(pointmap), values(confidence))?;
        }
        let mut sums = match self.sums.take() {
            Some(sums) => sums,
            None => Sums::zeros(&device, w * h)?,
        };
        let added = match (&mut sums, place) {
            (Sums::Gpu(sums), Place::Gpu(gpu)) => gpu::add(&gpu, self, sums, pointmap, confidence),
            (Sums::Cpu(sums), _) => {
                cpu::add(sums, values(pointmap), values(confidence), (w, self.subsample), self.mode);
                Ok(())
            }
            (Sums::Gpu(_), Place::Cpu) => unreachable!("the devices were compared"),
        };
        self.sums = Some(sums);
        added?;
        self.pairs += 1;
        Ok(())
    }

    /// Number of pairs added so far.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// The canonical view of the pairs added so far.
    ///
    /// # Errors
    /// [`OpError::Value`] if no pair was added, or if one on a GPU had a wrong number.
    pub fn finish(&self) -> Result<CanonicalView, OpError> {
        let (points, relative_depth, confidence) = match (&self.sums, self.pairs) {
            (None, _) | (_, 0) => return Err(OpError::value(OP, "pairs", "at least 1", 0)),
            (Some(Sums::Cpu(sums)), pairs) => {
                cpu::finish(sums, pairs, (self.width, self.subsample), self.mode)
            }
            (Some(Sums::Gpu(sums)), _) => {
                let gpu = sums.device().gpu().cloned().expect("sums on a GPU");
                gpu::finish(&gpu, self, sums)?
            }
        };
        let (width, height, subsample) = (self.width, self.height, self.subsample);
        Ok(CanonicalView { width, height, subsample, points, relative_depth, confidence })
    }
}

impl CanonicalView {
    /// Number of anchors per row and per column of the image.
    pub fn anchor_grid(&self) -> [usize; 2] {
        [self.width / self.subsample, self.height / self.subsample]
    }

    /// Row-major index of the anchor whose block holds the pixel.
    pub fn anchor_of(&self, x: usize, y: usize) -> usize {
        (y / self.subsample) * (self.width / self.subsample) + x / self.subsample
    }

    /// Index of the pixel of an anchor.
    pub fn anchor_pixel(&self, anchor: usize) -> usize {
        let columns = self.width / self.subsample;
        let half = self.subsample / 2;
        (anchor / columns * self.subsample + half) * self.width + anchor % columns * self.subsample + half
    }

    /// Depth of the mean points at all anchors, row by row.
    pub fn anchor_depths(&self) -> Vec<f32> {
        let [columns, rows] = self.anchor_grid();
        (0..columns * rows).map(|k| self.points[3 * self.anchor_pixel(k) + 2]).collect()
    }

    /// Depth of a pixel relative to its anchor.
    pub fn offset(&self, x: usize, y: usize) -> f32 {
        let anchor = self.anchor_pixel(self.anchor_of(x, y));
        self.relative_depth[y * self.width + x] / self.relative_depth[anchor]
    }
}

fn check_values(points: &[f32], confidence: &[f32]) -> Result<(), OpError> {
    if let Some(bad) = points.iter().find(|v| !v.is_finite()) {
        return Err(OpError::value(OP, "pointmap", "finite", bad));
    }
    if let Some(bad) = confidence.iter().find(|c| !(c.is_finite() && **c > NO_WEIGHT)) {
        return Err(OpError::value(OP, "confidence", "finite and above 0.999", bad));
    }
    Ok(())
}

fn without_leading_ones(shape: &[usize], rank: usize) -> &[usize] {
    let extra = shape.len().saturating_sub(rank);
    if shape[..extra].iter().all(|&n| n == 1) { &shape[extra..] } else { shape }
}
