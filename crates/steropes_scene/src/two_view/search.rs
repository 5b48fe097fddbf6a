//! Locally optimised random sample consensus over the three kinds of models.

use super::correspondences::Sample;
use super::minimal::{Match, five_point, four_point, seven_point};
use super::refine::{
    FocalPrior, FundamentalModel, HomographyModel, Model, PoseModel, inverse_calibration, refined,
};
use super::residuals::{score, square_residuals};
use crate::geometry::pnp::iterations_needed;
use crate::geometry::random::SplitMix;
use nalgebra::{Matrix3, Rotation3, Unit, UnitQuaternion, Vector3};

/// A way to make hypotheses from `SIZE` matches.
pub(super) trait Solver<const SIZE: usize> {
    /// What a hypothesis becomes when it is refined.
    type Model: Model;
    /// Appends the hypotheses of a sample to `self`'s list and returns how many there are.
    fn solve(&mut self, random: &mut SplitMix, matches: &[Match; SIZE]) -> usize;
    /// The 3 x 3 matrix of hypothesis `i` of the last sample.
    fn matrix(&self, i: usize) -> Matrix3<f64>;
    /// Hypothesis `i` of the last sample as a model.
    fn model(&self, i: usize) -> Option<Self::Model>;
}

/// The best model of a search.
pub(super) struct Found<M> {
    pub(super) model: M,
    /// `sum max(0, 1 - r^2 / limit^2)` over the sample.
    pub(super) score: f32,
}

/// What a search may spend and how it judges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) seed: u64,
    /// Most samples.
    pub(super) iterations: usize,
    /// Residual beyond which a match does not count.
    pub(super) limit: f64,
}

/// The model that most matches of the sample agree with.
///
/// Every second sample is drawn from the more confident half (after PROSAC: Chum, Matas, CVPR 2005); a new best
/// hypothesis is refined on the whole sample (LO-RANSAC: Chum, Matas, Kittler, DAGM 2003). Only samples from all
/// matches count for the end of the search, so that misleading confidences cost time, not the result.
pub(super) fn search<const SIZE: usize, S: Solver<SIZE>>(
    mut solver: S,
    sample: &Sample,
    budget: Budget,
) -> Option<Found<S::Model>> {
    let relation = S::Model::RELATION;
    let points = &sample.points;
    let n = points.len();
    if n < SIZE {
        return None;
    }
    let mut random = SplitMix::new(budget.seed);
    let confident = (n / 2).max(SIZE).min(n);
    let mut best: Option<Found<S::Model>> = None;
    let mut best_raw = 0.0f32;
    let mut needed = budget.iterations;
    let mut iteration = 0;
    while iteration < needed.min(budget.iterations) {
        iteration += 1;
        let from = if iteration % 2 == 0 { confident } else { n };
        let chosen: [usize; SIZE] = random.distinct(from);
        let matches = chosen.map(|i| [points.x1[i], points.y1[i], points.x2[i], points.y2[i]]);
        for i in 0..solver.solve(&mut random, &matches) {
            let raw = score(relation, &solver.matrix(i), sample, budget.limit, best_raw);
            if raw <= best_raw {
                continue;
            }
            best_raw = raw;
            let Some(model) = solver.model(i) else { continue };
            let model = refined(&model, points, budget.limit, budget.limit / 3.0, 6).model;
            let optimised = score(relation, &model.matrix(), sample, budget.limit, 0.0);
            if best.as_ref().is_none_or(|b| optimised > b.score) {
                let limit = budget.limit * budget.limit;
                let agree = square_residuals(relation, &model.matrix(), points);
                let share = agree.iter().filter(|r| **r <= limit).count() as f64 / n as f64;
                needed = 2 * iterations_needed(share, SIZE as i32) + 10;
                best = Some(Found { model, score: optimised });
            }
        }
    }
    best
}

/// Relative poses from five matches, with focal lengths drawn from what is believed about them.
pub(super) struct FivePoint {
    prior: FocalPrior,
    log_focal: [f64; 2],
    found: Vec<Matrix3<f64>>,
}

impl FivePoint {
    pub(super) fn new(prior: FocalPrior) -> Self {
        Self { prior, log_focal: prior.log_mean, found: Vec::new() }
    }

    /// One third at the guess, the rest around it, now and then far away.
    fn draw_focals(&mut self, random: &mut SplitMix) {
        let kind = random.below(6);
        let spread = [0.0, 0.0, 1.0, 1.0, 1.0, 3.0][kind];
        self.log_focal = self.prior.log_mean;
        let draws = [spread * random.normal(), spread * random.normal()];
        for photo in 0..2 {
            let z = draws[if self.prior.shared { 0 } else { photo }];
            self.log_focal[photo] += z * self.prior.sigma[photo];
        }
    }
}

impl Solver<5> for FivePoint {
    type Model = PoseModel;

    fn solve(&mut self, random: &mut SplitMix, matches: &[Match; 5]) -> usize {
        self.draw_focals(random);
        let f = self.log_focal.map(|l| (-l).exp());
        self.found.clear();
        five_point(&matches.map(|m| [m[0] * f[0], m[1] * f[0], m[2] * f[1], m[3] * f[1]]), &mut self.found);
        self.found.len()
    }

    fn matrix(&self, i: usize) -> Matrix3<f64> {
        inverse_calibration(self.log_focal[1]) * self.found[i] * inverse_calibration(self.log_focal[0])
    }

    fn model(&self, i: usize) -> Option<PoseModel> {
        pose_of_essential(&self.found[i], self.log_focal, self.prior)
    }
}

/// One of the four poses of an essential matrix; they all have the same epipolar geometry.
pub(super) fn pose_of_essential(
    e: &Matrix3<f64>,
    log_focal: [f64; 2],
    prior: FocalPrior,
) -> Option<PoseModel> {
    if !e.iter().all(|v| v.is_finite()) {
        return None;
    }
    let svd = e.svd(true, true);
    let (u, v_t) = (svd.u?, svd.v_t?);
    let quarter = Matrix3::new(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0);
    let turn = u * quarter * v_t;
    let rotation = Rotation3::from_matrix_unchecked(turn * turn.determinant().signum());
    Some(PoseModel {
        rotation: UnitQuaternion::from_rotation_matrix(&rotation),
        direction: Unit::new_normalize(Vector3::from(u.column(2))),
        log_focal,
        prior,
    })
}

/// Fundamental matrices from seven matches.
#[derive(Default)]
pub(super) struct SevenPoint(Vec<Matrix3<f64>>);

impl Solver<7> for SevenPoint {
    type Model = FundamentalModel;

    fn solve(&mut self, _: &mut SplitMix, matches: &[Match; 7]) -> usize {
        self.0.clear();
        seven_point(matches, &mut self.0);
        self.0.len()
    }

    fn matrix(&self, i: usize) -> Matrix3<f64> {
        self.0[i]
    }

    fn model(&self, i: usize) -> Option<FundamentalModel> {
        self.0[i].iter().all(|v| v.is_finite()).then(|| FundamentalModel::new(&self.0[i]))
    }
}

/// Homographies from four matches.
#[derive(Default)]
pub(super) struct FourPoint(Option<Matrix3<f64>>);

impl Solver<4> for FourPoint {
    type Model = HomographyModel;

    fn solve(&mut self, _: &mut SplitMix, matches: &[Match; 4]) -> usize {
        self.0 = four_point(matches);
        usize::from(self.0.is_some())
    }

    fn matrix(&self, _: usize) -> Matrix3<f64> {
        self.0.expect("only asked for when one was found")
    }

    fn model(&self, _: usize) -> Option<HomographyModel> {
        self.0.map(HomographyModel)
    }
}

/// The pose whose essential matrix a fundamental matrix is nearest to, over focal lengths around the guesses.
///
/// For given focal lengths `K2^T F K1` is essential where its two singular values are equal; the relative difference
/// is minimised on a grid of up to three standard deviations, with a weak pull to the guess that decides where the
/// difference is flat.
pub(super) fn pose_of_fundamental(f: &Matrix3<f64>, prior: FocalPrior) -> Option<PoseModel> {
    const GRID: i32 = 12;
    let mut best: Option<(f64, Matrix3<f64>, [f64; 2])> = None;
    for first in -GRID..=GRID {
        for second in -GRID..=GRID {
            if prior.shared && first != second
                || (0..2).any(|photo| prior.sigma[photo] == 0.0 && [first, second][photo] != 0)
            {
                continue;
            }
            let z = [first, second].map(|g| f64::from(g) * 3.0 / f64::from(GRID));
            let log_focal: [f64; 2] =
                std::array::from_fn(|photo| prior.log_mean[photo] + z[photo] * prior.sigma[photo]);
            let k = log_focal.map(super::refine::calibration);
            let e = k[1] * f * k[0];
            let s = e.singular_values();
            let cost = (s[0] - s[1]) / s[0] + 1e-3 * (z[0] * z[0] + z[1] * z[1]);
            if cost.is_finite() && best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, e, log_focal));
            }
        }
    }
    let (_, e, log_focal) = best?;
    pose_of_essential(&e, log_focal, prior)
}
