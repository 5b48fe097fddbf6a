//! Adam over all parameters.

use super::loss::{Gradient, Problem};
use super::parameters::Parameters;

/// How the learning rate falls from its first to its last value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Schedule {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

impl Schedule {
    /// The rate at step `step` of `steps`.
    fn rate(self, step: usize, steps: usize, first: f64, last: f64) -> f64 {
        let t = step as f64 / steps as f64;
        match self {
            Self::Cosine => last + (first - last) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0,
            Self::Linear => first + (last - first) * t,
        }
    }
}

/// How to optimise.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of steps.
    pub steps: usize,
    /// First learning rate.
    pub rate: f64,
    /// Last learning rate.
    pub last_rate: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Whether the principal points move.
    pub optimise_centers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 300, rate: 0.01, last_rate: 1e-6, schedule: Schedule::Cosine, optimise_centers: false }
    }
}

/// Decay of both moment estimates; the second is shorter than usual.
const BETAS: [f64; 2] = [0.9, 0.9];
const EPSILON: f64 = 1e-8;

/// Moves `parameters` downhill; returns the loss before each step.
///
/// # Source
/// Adam, arXiv:1412.6980.
pub fn optimise(problem: &Problem, parameters: &mut Parameters, settings: &Settings) -> Vec<f64> {
    let mut moments: Vec<[f64; 2]> = Vec::new();
    (0..settings.steps)
        .map(|step| {
            let (loss, gradient) = problem.evaluate(parameters);
            let rate = settings.schedule.rate(step, settings.steps, settings.rate, settings.last_rate);
            let slopes = flatten(&gradient, settings.optimise_centers);
            moments.resize(slopes.len(), [0.0; 2]);
            let corrections = BETAS.map(|b| 1.0 - b.powi(step as i32 + 1));
            let mut changes = moments.iter_mut().zip(slopes).map(|(m, g)| {
                m[0] = BETAS[0] * m[0] + (1.0 - BETAS[0]) * g;
                m[1] = BETAS[1] * m[1] + (1.0 - BETAS[1]) * g * g;
                rate * (m[0] / corrections[0]) / ((m[1] / corrections[1]).sqrt() + EPSILON)
            });
            for value in values_mut(parameters, settings.optimise_centers) {
                *value -= changes.next().expect("a gradient for every parameter");
            }
            loss
        })
        .collect()
}

fn flatten(gradient: &Gradient, with_centers: bool) -> Vec<f64> {
    let mut gradient = gradient.clone();
    values_mut(&mut gradient, with_centers).map(|v| *v).collect()
}

fn values_mut(p: &mut Parameters, with_centers: bool) -> impl Iterator<Item = &mut f64> {
    let centers = if with_centers { &mut p.centers[..] } else { &mut [] };
    p.edges
        .iter_mut()
        .flatten()
        .chain(p.poses.iter_mut().flatten())
        .chain(&mut p.focals)
        .chain(centers.iter_mut().flatten())
        .chain(p.log_depths.iter_mut().flatten())
}
