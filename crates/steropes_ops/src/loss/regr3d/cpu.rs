//! The norms of an item first, then its points, which are shared among threads; the gradient needs one more sum over an item, of what its
//! norm is worth. Sums are taken over fixed ranges in f64.

use super::{PointNorm, PointView, Regr3dOptions};
use crate::error::values;
use crate::loss::reduction::sums;
use rayon::prelude::*;
use steropes_tensor::Tensor;

/// Points in a task.
const TASK: usize = 1 << 12;

type Point = [f32; 3];

struct View<'a> {
    prediction: &'a [f32],
    truth: &'a [f32],
    valid: &'a [u8],
    sky: Option<&'a [u8]>,
    /// Points of an item.
    points: usize,
}

/// The arguments of an op on the CPU.
pub(super) struct Problem<'a> {
    views: [View<'a>; 2],
    metric: Option<&'a [u8]>,
    items: usize,
    options: &'a Regr3dOptions,
}

/// What the points of an item are divided by.
struct Scales {
    prediction: f32,
    truth: f32,
    /// The derivative of the prediction's for the sum that it is made from.
    slope: f32,
}

fn point(values: &[f32], i: usize) -> Point {
    [values[3 * i], values[3 * i + 1], values[3 * i + 2]]
}

fn dot(a: Point, b: Point) -> f32 {
    a[2].mul_add(b[2], a[1].mul_add(b[1], a[0] * b[0]))
}

fn length(x: Point) -> f32 {
    dot(x, x).sqrt()
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        views: &[PointView<'a>; 2],
        metric: Option<&'a Tensor>,
        items: usize,
        options: &'a Regr3dOptions,
    ) -> Self {
        let views = views.map(|view| View {
            prediction: values(view.prediction),
            truth: values(view.truth),
            valid: values(view.valid),
            sky: view.sky.map(values),
            points: view.valid.len() / items.max(1),
        });
        Self { views, metric: metric.map(values), items, options }
    }

    /// What a distance adds to the norm, and its derivative.
    fn measure(&self, distance: f32) -> [f32; 2] {
        match self.options.norm {
            PointNorm::AvgLog1p => [distance.ln_1p(), 1.0 / (1.0 + distance)],
            _ => [distance, 1.0],
        }
    }

    fn scales(&self, item: usize) -> Scales {
        if self.options.norm == PointNorm::None {
            return Scales { prediction: 1.0, truth: 1.0, slope: 0.0 };
        }
        let mut all = [0.0; 3];
        for view in &self.views {
            let sum = sums(view.points, |i| {
                let at = item * view.points + i;
                let of = |side: &[f32]| f64::from(self.measure(length(point(side, at)))[0]);
                match view.valid[at] {
                    0 => [0.0; 3],
                    _ => [of(view.prediction), of(view.truth), 1.0],
                }
            });
            all = std::array::from_fn(|k| all[k] + sum[k]);
        }
        let count = all[2] + 1e-8;
        let [prediction, truth] = [all[0] / count, all[1] / count].map(|mean| mean.max(1e-8) as f32);
        let as_it_is = if self.options.truth_as_it_is { 1.0 } else { truth };
        if self.metric.is_some_and(|metric| metric[item] != 0) {
            return Scales { prediction: truth, truth: as_it_is, slope: 0.0 };
        }
        let slope = if all[0] / count > 1e-8 { (1.0 / count) as f32 } else { 0.0 };
        Scales { prediction, truth: as_it_is, slope }
    }

    /// A point drawn in to `log(1 + distance)`, if that is asked for.
    fn warped(&self, x: Point) -> Point {
        let distance = length(x);
        if !self.options.log || distance == 0.0 {
            return x;
        }
        x.map(|v| v * (distance.ln_1p() / distance))
    }

    /// The difference of a point to its true place.
    fn step(&self, view: &View<'_>, at: usize, scales: &Scales) -> Point {
        let prediction = self.warped(point(view.prediction, at).map(|v| v / scales.prediction));
        let truth = self.warped(point(view.truth, at).map(|v| v / scales.truth));
        std::array::from_fn(|k| prediction[k] - truth[k])
    }

    pub(super) fn forward(&self) -> [Vec<f32>; 2] {
        let scales: Vec<Scales> = (0..self.items).map(|item| self.scales(item)).collect();
        self.views.each_ref().map(|view| {
            let loss = |at: usize| {
                if view.valid[at] != 0 {
                    length(self.step(view, at, &scales[at / view.points]))
                } else if view.sky.is_some_and(|sky| sky[at] != 0) {
                    self.options.sky_loss
                } else {
                    0.0
                }
            };
            (0..view.valid.len()).into_par_iter().with_min_len(TASK).map(loss).collect()
        })
    }

    /// The derivative of `grad` times the loss of a valid point for its divided prediction.
    fn pull(&self, view: &View<'_>, at: usize, scales: &Scales, grad: f32) -> Point {
        let step = self.step(view, at, scales);
        let distance = length(step);
        if distance == 0.0 {
            return [0.0; 3];
        }
        let pull = step.map(|v| v * (grad / distance));
        let x = point(view.prediction, at).map(|v| v / scales.prediction);
        let far = length(x);
        if !self.options.log || far == 0.0 {
            return pull;
        }
        // Along the ray the derivative is that of the logarithm, across it the ratio of lengths.
        let across = far.ln_1p() / far;
        let ray = x.map(|v| v / far);
        let along = dot(pull, ray) * (1.0 / (1.0 + far) - across);
        std::array::from_fn(|k| across.mul_add(pull[k], along * ray[k]))
    }

    pub(super) fn backward(&self, grads: [&[f32]; 2]) -> [Vec<f32>; 2] {
        let mut gradients = [Vec::new(), Vec::new()];
        for item in 0..self.items {
            let scales = self.scales(item);
            let mut worth = 0.0;
            if scales.slope > 0.0 {
                for (view, grad) in self.views.iter().zip(grads) {
                    let [sum] = sums(view.points, |i| {
                        let at = item * view.points + i;
                        match view.valid[at] {
                            0 => [0.0],
                            _ => {
                                let pull = self.pull(view, at, &scales, grad[at]);
                                [f64::from(dot(pull, point(view.prediction, at)))]
                            }
                        }
                    });
                    worth += sum;
                }
            }
            // What a unit of the norm's sum takes off the loss.
            let unit = (worth / f64::from(scales.prediction).powi(2)) as f32 * scales.slope;
            for ((view, grad), gradient) in self.views.iter().zip(grads).zip(&mut gradients) {
                let of = |i: usize| {
                    let at = item * view.points + i;
                    if view.valid[at] == 0 {
                        return [0.0; 3];
                    }
                    let pull = self.pull(view, at, &scales, grad[at]);
                    let x = point(view.prediction, at);
                    let distance = length(x);
                    let share =
                        if distance > 0.0 { unit * self.measure(distance)[1] / distance } else { 0.0 };
                    std::array::from_fn(|k| pull[k] / scales.prediction - share * x[k])
                };
                let points: Vec<Point> =
                    (0..view.points).into_par_iter().with_min_len(TASK).map(of).collect();
                gradient.extend(points.into_iter().flatten());
            }
        }
        gradients
    }
}
