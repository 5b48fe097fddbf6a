//! Distances between predicted and true points.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::reduction::check_gradient;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "loss::regr3d";

/// What the points of an item are divided by: the mean over the valid points of both views, for prediction and truth alike, of something that
/// grows with their distance to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PointNorm {
    /// By nothing.
    None,
    /// By the mean of distances.
    #[default]
    AvgDis,
    /// By the mean of `log(1 + distance)`.
    AvgLog1p,
}

/// Options of [`regr3d`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regr3dOptions {
    /// What points are divided by.
    pub norm: PointNorm,
    /// Whether true points are left as they are, so that predictions must have a norm of 1.
    pub truth_as_it_is: bool,
    /// Whether points are drawn in to `log(1 + distance)` along their ray before they are compared.
    pub log: bool,
    /// The loss of sky that is not valid.
    pub sky_loss: f32,
}

impl Default for Regr3dOptions {
    /// The mean of distances for both, no logarithm, 2 for sky.
    fn default() -> Self {
        Self { norm: PointNorm::AvgDis, truth_as_it_is: false, log: false, sky_loss: 2.0 }
    }
}

/// The points of one view, in the frame of the first camera.
#[derive(Clone, Copy, Debug)]
pub struct PointView<'a> {
    /// `[items, .., 3]`, f32, on a GPU also f16.
    pub prediction: &'a Tensor,
    /// The shape of `prediction`, f32.
    pub truth: &'a Tensor,
    /// Where there is a true point: `[items, ..]`, u8.
    pub valid: &'a Tensor,
    /// Where sky is, the shape of `valid`, u8.
    pub sky: Option<&'a Tensor>,
}

/// The distance of each predicted point to the true one, after both were divided by their norms.
///
/// # Shapes
/// - `views`: as in [`PointView`]; they may have different numbers of points
/// - `metric`: `[items]`, u8: items whose prediction is divided by the norm of the truth, as is the scale of which is known
/// - returns: for each view, the shape of its `valid`, f32; the sky's loss where sky is not valid, 0 elsewhere
///
/// # Numerics
/// f32, sums on the CPU in f64; within `Tolerance::OfLargest(5e-6)`. A norm is `sum / (count + 1e-8)`, at least 1e-8.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above; [`OpError::Unsupported`] on a GPU if a tensor does not fit
/// one binding.
///
/// # Source
/// arXiv:2312.14132, equations 1 to 3, and arXiv:2406.09756, section 3.1; written from their formulas.
pub fn regr3d(
    views: &[PointView<'_>; 2],
    metric: Option<&Tensor>,
    options: &Regr3dOptions,
) -> Result<[Tensor; 2], OpError> {
    let items = check(views, metric)?;
    match place(OP, &arguments(views, metric))? {
        Place::Cpu => {
            let problem = cpu::Problem::new(views, metric, items, options);
            let [first, second] = problem.forward();
            Ok([on_cpu(views[0].valid.shape(), first), on_cpu(views[1].valid.shape(), second)])
        }
        Place::Gpu(gpu) => gpu::regr3d(&gpu, views, metric, items, options),
    }
}

/// The gradients of [`regr3d`] for both predictions, also through their norm.
///
/// # Shapes
/// - `grads`: for each view, the shape of its `valid`, f32
/// - returns: the shapes and dtype of the predictions
///
/// # Numerics
/// As [`regr3d`]; within `Tolerance::OfLargest(2e-5)` of what the derivative of a distance and of the norm add to; 0 where a distance is 0. f16
/// results are rounded once.
///
/// # Errors
/// As [`regr3d`].
///
/// # Source
/// Written from the formulas.
pub fn regr3d_backward(
    grads: [&Tensor; 2],
    views: &[PointView<'_>; 2],
    metric: Option<&Tensor>,
    options: &Regr3dOptions,
) -> Result<[Tensor; 2], OpError> {
    let items = check(views, metric)?;
    for (grad, view) in grads.iter().zip(views) {
        check_gradient(OP, grad, view.valid.shape())?;
    }
    let mut arguments = arguments(views, metric);
    arguments.extend([("grads[0]", grads[0], Holds::F32), ("grads[1]", grads[1], Holds::F32)]);
    match place(OP, &arguments)? {
        Place::Cpu => {
            let problem = cpu::Problem::new(views, metric, items, options);
            let [first, second] = problem.backward(grads.map(values));
            Ok([on_cpu(views[0].truth.shape(), first), on_cpu(views[1].truth.shape(), second)])
        }
        Place::Gpu(gpu) => gpu::regr3d_backward(&gpu, grads, views, metric, items, options),
    }
}

fn arguments<'a>(
    views: &'a [PointView<'a>; 2],
    metric: Option<&'a Tensor>,
) -> Vec<(&'static str, &'a Tensor, Holds)> {
    let mut arguments = Vec::new();
    for view in views {
        arguments.extend([
            ("prediction", view.prediction, Holds::Float),
            ("truth", view.truth, Holds::F32),
            ("valid", view.valid, Holds::Mask),
        ]);
        arguments.extend(view.sky.map(|sky| ("sky", sky, Holds::Mask)));
    }
    arguments.extend(metric.map(|metric| ("metric", metric, Holds::Mask)));
    arguments
}

/// The number of items.
fn check(views: &[PointView<'_>; 2], metric: Option<&Tensor>) -> Result<usize, OpError> {
    let items = views[0].prediction.shape().first().copied().unwrap_or(0);
    for view in views {
        let shape = view.prediction.shape();
        if shape.len() < 2 || shape[0] != items || shape.last() != Some(&3) {
            let expected = format!("[{items}, .., 3] with the items of the first view");
            return Err(OpError::shape(OP, "prediction", expected, shape));
        }
        if view.truth.shape() != shape {
            return Err(OpError::shape(OP, "truth", format!("{shape:?}"), view.truth.shape()));
        }
        let points = &shape[..shape.len() - 1];
        for (name, mask) in [("valid", Some(view.valid)), ("sky", view.sky)] {
            if let Some(mask) = mask.filter(|mask| mask.shape() != points) {
                return Err(OpError::shape(OP, name, format!("{points:?}"), mask.shape()));
            }
        }
    }
    match metric.filter(|metric| metric.shape() != [items]) {
        Some(metric) => Err(OpError::shape(OP, "metric", format!("[{items}]"), metric.shape())),
        None => Ok(items),
    }
}
