//! f64 oracle, from the formulas of the papers.

use super::AdamW;

/// A parameter with its moments.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) value: Vec<f64>,
    pub(crate) first: Vec<f64>,
    pub(crate) second: Vec<f64>,
    pub(crate) largest: Vec<f64>,
}

impl State {
    pub(crate) fn new(value: &[f32]) -> Self {
        let zeros = vec![0.0; value.len()];
        let value = value.iter().map(|&v| v.into()).collect();
        Self { value, first: zeros.clone(), second: zeros.clone(), largest: zeros }
    }

    /// Step `t`, counted from 1.
    pub(crate) fn step(&mut self, options: &AdamW, t: i32, gradient: &[f32]) {
        let [beta1, beta2] = options.betas;
        for (i, &g) in gradient.iter().enumerate() {
            let g = if options.maximize { -f64::from(g) } else { f64::from(g) };
            self.first[i] = beta1 * self.first[i] + (1.0 - beta1) * g;
            self.second[i] = beta2 * self.second[i] + (1.0 - beta2) * g * g;
            self.largest[i] = self.largest[i].max(self.second[i]);
            let second = if options.amsgrad { self.largest[i] } else { self.second[i] };
            let first_hat = self.first[i] / (1.0 - beta1.powi(t));
            let second_hat = second / (1.0 - beta2.powi(t));
            self.value[i] -= options.lr * options.weight_decay * self.value[i];
            self.value[i] -= options.lr * first_hat / (second_hat.sqrt() + options.eps);
        }
    }
}
