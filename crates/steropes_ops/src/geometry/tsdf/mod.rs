//! Truncated signed distances to the surfaces of depth maps, and depth maps refined with them.

pub(crate) mod bench;
mod cameras;
mod cpu;
mod gpu;
pub(crate) mod random;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "geometry::tsdf";
const REFINE: &str = "geometry::tsdf::refine_depth";

/// Share of the threshold within which a TSDF equals it.
const SAME: f32 = 1e-6;

/// Size and pinhole camera of one depth map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Focal lengths along x and y, in pixels.
    pub focal_px: [f64; 2],
    /// Principal point (x, y), in pixels; a pixel's own place is its whole-number index.
    pub center_px: [f64; 2],
    /// Rows of the 3x4 matrix, a rotation and a shift, that maps world points into the camera (x right, y down, z
    /// forward).
    pub camera_from_world: [[f64; 4]; 3],
}

impl View {
    /// Pixels of the map.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }
}

/// Depth maps of one scene, which may differ in size.
#[derive(Clone, Copy, Debug)]
pub struct DepthMaps<'a> {
    /// Size and camera of each map.
    pub views: &'a [View],
    /// `[pixels]`, f32: all maps, row by row, one after another: depths along the optical axis in units of the scene.
    pub depth: &'a Tensor,
    /// `[pixels]`, f32: the confidences, laid out as the depths.
    pub confidence: &'a Tensor,
}

/// Where the candidates of a refinement lie. A number `z` stands for the depth `depth + (z - 1) threshold`.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// As many random numbers for each pixel, standard normal but for tails that end at 6. They depend on nothing but
    /// the seed, the place of the pixel and the number of the sample, and are the same bits on every device.
    Random {
        /// Candidates per pixel.
        count: usize,
        /// Other seeds give other numbers.
        seed: u32,
    },
    /// `[pixels, count]`, f32: the numbers themselves.
    Given(&'a Tensor),
}

impl Samples<'_> {
    /// Candidates per pixel.
    fn count(&self) -> usize {
        match self {
            Self::Random { count, .. } => *count,
            Self::Given(numbers) => numbers.shape().last().copied().unwrap_or(0),
        }
    }
}

/// The truncated signed distance function (TSDF) of depth maps at `points`, and where it is defined.
///
/// Map `k` sees a point whose rounded pixel (halves to even) is inside if its signed distance, the depth of that pixel
/// minus the point's own depth in camera `k`, is at least `-threshold`. The function is the average of these signed
/// distances, weighted by `exp(confidence)` of the pixels. It is truncated on the far side only: a point behind a surface by more than the
/// threshold is unseen, one in front of it counts in full. A point behind a camera counts too if the line through both meets the
/// image. A pixel whose depth is not a positive finite number, or whose confidence is not finite, says nothing.
///
/// # Shapes
/// - `maps`: as [`DepthMaps`] says
/// - `points`: `[points, 3]`, f32, in the world
/// - returns: values `[points]`, f32, 0 where no map sees the point; and `[points]`, u32, 1 where one does, else 0
///
/// # Units
/// `threshold` and values: those of the scene.
///
/// # Numerics
/// Camera matrices in f64, projections and sums in f32. Weights are relative to the surest pixel met so far, so they never
/// overflow. `Tolerance::OfLargest(1e-5)` holds except where rounding decides which pixel a point falls on or whether
/// it is seen.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Value`] if an argument is not as above: a map without pixels, a
/// focal length that is not positive and finite, a principal point or matrix that is not finite, a matrix whose first three columns are
/// no rotation within 1e-3, a threshold that is not positive and finite. [`OpError::Device`] if the tensors are on different devices,
/// [`OpError::Unsupported`] if a single row of a map is larger than what a GPU can bind at once. Nothing is computed then.
///
/// # Source
/// Curless and Levoy, A volumetric method for building complex models from range images, 1996; weights and truncation as
/// in the released MASt3R program (behaviour as described in the specification); written from the formulas.
pub fn tsdf(maps: &DepthMaps<'_>, points: &Tensor, threshold: f32) -> Result<(Tensor, Tensor), OpError> {
    check_maps(OP, maps, threshold)?;
    let &[count, 3] = points.shape() else {
        return Err(OpError::shape(OP, "points", "[points, 3]", points.shape()));
    };
    let arguments = [
        ("depth", maps.depth, Holds::F32),
        ("confidence", maps.confidence, Holds::F32),
        ("points", points, Holds::F32),
    ];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let (found, seen) = cpu::Maps::new(maps, threshold).values(values(points));
            Ok((on_cpu(&[count], found), on_cpu(&[count], seen)))
        }
        Place::Gpu(gpu) => gpu::tsdf(&gpu, maps, points, threshold),
    }
}

/// Depth maps in which every pixel took that of its candidates where the TSDF of all maps is nearest to zero.
///
/// The candidates of a pixel lie along its ray, on average one threshold in front of its depth; of equally good ones
/// the first is taken. All maps are refined from the maps as given, so their order does not matter. A pixel keeps its depth if
/// that is not a positive finite number, if no map sees a candidate, or if the absolute TSDF of all that are seen equals the
/// threshold (within a millionth of it), which says only that they are in front of something. Candidates that are not positive and finite are left out.
///
/// # Shapes
/// - `maps`: as [`DepthMaps`] says
/// - `samples`: as [`Samples`] says
/// - returns: `[pixels]`, f32, laid out as the depths
///
/// # Units
/// `threshold` and depths: those of the scene.
///
/// # Numerics
/// As [`tsdf`]; a candidate's place in another image is found along its ray, without the detour over the world. The depth taken is
/// the candidate within an ulp; which one is taken may differ where rounding decides on a pixel, on whether it is seen or between
/// nearly equal candidates.
///
/// # Errors
/// As [`tsdf`]; also if there are no candidates, or if the numbers given for one pixel are larger than what a GPU can bind at once.
///
/// # Source
/// As [`tsdf`]; the random numbers are sums of twelve uniform ones from the hash `pcg3d` (Jarzynski and Olano, Hash functions for GPU
/// rendering, 2020).
pub fn refine_depth(maps: &DepthMaps<'_>, samples: Samples<'_>, threshold: f32) -> Result<Tensor, OpError> {
    let pixels = check_maps(REFINE, maps, threshold)?;
    check_samples(samples, pixels)?;
    let mut arguments = vec![("depth", maps.depth, Holds::F32), ("confidence", maps.confidence, Holds::F32)];
    if let Samples::Given(numbers) = samples {
        arguments.push(("samples", numbers, Holds::F32));
    }
    match place(REFINE, &arguments)? {
        Place::Cpu => Ok(on_cpu(&[pixels], cpu::Maps::new(maps, threshold).refine(samples))),
        Place::Gpu(gpu) => gpu::refine_depth(&gpu, maps, samples, threshold),
    }
}

/// First pixel of each map.
fn starts(views: &[View]) -> Vec<usize> {
    let end = |end: &mut usize, view: &View| Some(std::mem::replace(end, *end + view.pixels()));
    views.iter().scan(0, end).collect()
}

/// Checks everything but the dtypes and returns the number of pixels of all maps.
fn check_maps(op: &'static str, maps: &DepthMaps<'_>, threshold: f32) -> Result<usize, OpError> {
    let add = |sum: usize, v: &View| sum.saturating_add(v.width.saturating_mul(v.height));
    let pixels = maps.views.iter().fold(0, add);
    // Pixels are counted in 32 bits on a GPU, and by the random numbers.
    if maps.views.is_empty() || pixels >= 1 << 31 {
        let found = format!("{} with {pixels} pixels", maps.views.len());
        return Err(OpError::value(op, "views", "at least one, with fewer than 2^31 pixels in all", found));
    }
    for view in maps.views {
        check_view(op, view)?;
    }
    for (name, map) in [("depth", maps.depth), ("confidence", maps.confidence)] {
        if map.shape() != [pixels] {
            return Err(OpError::shape(op, name, format!("[{pixels}]"), map.shape()));
        }
    }
    if !(threshold.is_finite() && threshold > 0.0) {
        return Err(OpError::value(op, "threshold", "positive and finite", threshold));
    }
    Ok(pixels)
}

fn check_view(op: &'static str, view: &View) -> Result<(), OpError> {
    for (name, side) in [("width", view.width), ("height", view.height)] {
        if side == 0 {
            return Err(OpError::value(op, name, "at least 1", side));
        }
    }
    if let Some(bad) = view.focal_px.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        return Err(OpError::value(op, "focal_px", "positive and finite", bad));
    }
    if let Some(bad) = view.center_px.iter().find(|c| !c.is_finite()) {
        return Err(OpError::value(op, "center_px", "finite", bad));
    }
    let rows = &view.camera_from_world;
    let product = |i: usize, j: usize| (0..3).map(|c| rows[i][c] * rows[j][c]).sum::<f64>();
    let off = (0..9).map(|k| (product(k / 3, k % 3) - f64::from(u8::from(k / 3 == k % 3))).abs());
    let orthonormal = off.fold(0.0, |largest: f64, e| if e.is_nan() { e } else { largest.max(e) }) < 1e-3;
    if !(orthonormal && rows.iter().all(|row| row[3].is_finite()) && cameras::determinant(rows) > 0.0) {
        return Err(OpError::value(
            op,
            "camera_from_world",
            "a rotation and a finite shift",
            format!("{rows:?}"),
        ));
    }
    Ok(())
}

fn check_samples(samples: Samples<'_>, pixels: usize) -> Result<(), OpError> {
    match samples {
        Samples::Random { count, .. } if count == 0 || count >= 1 << 31 => {
            Err(OpError::value(REFINE, "samples", "at least 1 and below 2^31", count))
        }
        Samples::Given(numbers) => match numbers.shape() {
            &[n, count] if n == pixels && count > 0 => Ok(()),
            shape => Err(OpError::shape(
                REFINE,
                "samples",
                format!("[{pixels}, count] with a count above 0"),
                shape,
            )),
        },
        Samples::Random { .. } => Ok(()),
    }
}
