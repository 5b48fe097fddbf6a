//! A model at the scale of the noise of its matches.

use super::correspondences::{Correspondences, Sample};
use super::refine::{Model, Refined, refined};
use super::residuals::{Relation, square_residuals};
use nalgebra::Matrix3;

/// A model refined over all matches at the scale of their noise.
pub(super) struct Settled<M> {
    pub(super) fit: Refined<M>,
    pub(super) matrix: Matrix3<f64>,
    pub(super) squares: Vec<f64>,
    /// Standard deviation of the residual of inliers, and three times that.
    pub(super) sigma: f64,
    pub(super) limit: f64,
}

impl<M: Model> Settled<M> {
    pub(super) fn new(model: &M, all: &Correspondences, sample: &Sample, max_limit: f64) -> Self {
        let spread = |m: &M, points| noise(M::RELATION, m, points, max_limit);
        let sigma = spread(model, &sample.points);
        let model = refined(model, &sample.points, (3.0 * sigma).min(max_limit), sigma, 15).model;
        let sigma = spread(&model, all);
        let fit = refined(&model, all, (3.0 * sigma).min(max_limit), sigma, 10);
        let sigma = spread(&fit.model, all);
        let matrix = fit.model.matrix();
        let squares = square_residuals(M::RELATION, &matrix, all);
        let limit = (3.0 * sigma).min(max_limit);
        Self { fit, matrix, squares, sigma, limit }
    }

    pub(super) fn agrees(&self) -> Vec<bool> {
        self.squares.iter().map(|r| *r <= self.limit * self.limit).collect()
    }
}

/// Spread of the residuals that are within `max_limit`: from their median, which for one normal coordinate is 0.6745
/// and for two `sqrt(2 ln 2)` standard deviations; not below a quarter of a pixel, the order of rounding to pixels.
fn noise<M: Model>(relation: Relation, model: &M, points: &Correspondences, max_limit: f64) -> f64 {
    let squares = square_residuals(relation, &model.matrix(), points);
    let mut near: Vec<(f64, f64)> = squares
        .into_iter()
        .zip(points.weight.iter().copied())
        .filter(|(r, _)| *r <= max_limit * max_limit)
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = 0.5 * near.iter().map(|(_, w)| w).sum::<f64>();
    let mut sum = 0.0;
    let median = near.iter().find(|(_, w)| {
        sum += w;
        sum >= half
    });
    let per_sigma = match relation {
        Relation::Epipolar => 0.6745,
        Relation::Homography => 1.1774,
    };
    let sigma = median.map_or(max_limit, |(r, _)| r.sqrt()) / per_sigma;
    sigma.clamp((0.25 / points.scale_px).min(max_limit / 3.0), max_limit / 3.0)
}
