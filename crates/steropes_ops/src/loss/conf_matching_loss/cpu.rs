//! One pass over the rows, after the losses of matches were sorted for their quantile. Ranges of rows are shared among threads; sums are
//! taken over fixed ranges in f64.

use super::{ConfMatchingOptions, ConfidenceMode};
use crate::loss::reduction::sums;
use rayon::prelude::*;

/// The arguments of an op on the CPU.
pub(super) struct Problem<'a> {
    loss: &'a [f32],
    confidences: [&'a [f32]; 2],
    valid: &'a [u8],
    options: &'a ConfMatchingOptions,
    /// What the confidences of what is no match are weighted by.
    quantile: Option<f32>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        loss: &'a [f32],
        confidences: [&'a [f32]; 2],
        valid: &'a [u8],
        options: &'a ConfMatchingOptions,
    ) -> Self {
        let quantile = options.negative_quantile.map(|q| {
            let matches = loss.iter().zip(valid).filter(|(_, valid)| **valid != 0);
            quantile(matches.map(|(loss, _)| *loss).collect(), q)
        });
        Self { loss, confidences, valid, options, quantile }
    }

    fn both(&self, i: usize) -> [f32; 2] {
        [self.confidences[0][i], self.confidences[1][i]]
    }

    fn joined(&self, i: usize) -> f32 {
        let [a, b] = self.both(i);
        match self.options.mode {
            ConfidenceMode::Mean => 0.5 * (a + b),
            ConfidenceMode::Product => a * b,
        }
    }

    pub(super) fn forward(&self) -> f32 {
        let term = |weight: f32, c: f32| f64::from(weight * c) - f64::from(self.options.alpha * c.ln());
        let [sum, count, negative_sum, negatives] = sums(self.loss.len(), |i| {
            if self.valid[i] != 0 {
                return [term(self.loss[i], self.joined(i)), 1.0, 0.0, 0.0];
            }
            let Some(quantile) = self.quantile else { return [0.0; 4] };
            let [a, b] = self.both(i);
            [0.0, 0.0, term(quantile, a) + term(quantile, b), 2.0]
        });
        let mean = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
        (mean(sum, count) + mean(negative_sum, negatives)) as f32
    }

    pub(super) fn backward(&self, grad: f32) -> [Vec<f32>; 3] {
        let count = self.valid.iter().filter(|&&v| v != 0).count();
        let scale = grad / count.max(1) as f32;
        let negative_scale = grad / (2 * (self.valid.len() - count)).max(1) as f32;
        let alpha = self.options.alpha;
        let of = |i: usize| {
            let [a, b] = self.both(i);
            if self.valid[i] != 0 {
                let joined = self.joined(i);
                let slope = scale * (self.loss[i] - alpha / joined);
                let [by_a, by_b] = match self.options.mode {
                    ConfidenceMode::Mean => [0.5 * slope; 2],
                    ConfidenceMode::Product => [slope * b, slope * a],
                };
                return (scale * joined, (by_a, by_b));
            }
            match self.quantile {
                None => (0.0, (0.0, 0.0)),
                Some(quantile) => {
                    let slope = |c: f32| negative_scale * (quantile - alpha / c);
                    (0.0, (slope(a), slope(b)))
                }
            }
        };
        let (by_loss, (by_a, by_b)): (Vec<f32>, (Vec<f32>, Vec<f32>)) =
            (0..self.loss.len()).into_par_iter().with_min_len(1 << 12).map(of).unzip();
        [by_loss, by_a, by_b]
    }
}

/// The quantile `q` of some losses, 0 of none.
fn quantile(mut losses: Vec<f32>, q: f32) -> f32 {
    if losses.is_empty() {
        return 0.0;
    }
    losses.sort_by(f32::total_cmp);
    let place = q * (losses.len() - 1) as f32;
    let (low, high) = (losses[place.floor() as usize], losses[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
