//! f64 oracle, from the definition.

use super::{BagMode, EmbeddingBagOptions};

/// What the oracle is given: rows of `width` values, and bags as ranges of entries.
pub(crate) struct Problem<'a> {
    pub(crate) weight: &'a [f64],
    pub(crate) width: usize,
    pub(crate) indices: &'a [i64],
    pub(crate) bags: Vec<std::ops::Range<usize>>,
    pub(crate) factors: Option<&'a [f64]>,
    pub(crate) options: EmbeddingBagOptions,
}

impl Problem<'_> {
    /// Entry, row and share of each row that counts in a bag.
    fn members(&self, bag: usize) -> Vec<(usize, usize, f64)> {
        let rows = self.bags[bag].clone().map(|e| (e, self.indices[e] as usize));
        let kept: Vec<_> = rows.filter(|(_, row)| Some(*row) != self.options.padding_idx).collect();
        let count = kept.len() as f64;
        let share = |e: usize| match self.options.mode {
            BagMode::Mean => 1.0 / count,
            _ => self.factors.map_or(1.0, |f| f[e]),
        };
        kept.into_iter().map(|(e, row)| (e, row, share(e))).collect()
    }

    /// The share of each entry in a value of the result.
    fn shares(&self, bag: usize, column: usize) -> Vec<(usize, usize, f64)> {
        let members = self.members(bag);
        if self.options.mode != BagMode::Max {
            return members;
        }
        let value = |row: usize| self.weight[row * self.width + column];
        let largest = members.iter().map(|m| value(m.1)).fold(f64::NEG_INFINITY, f64::max);
        members.into_iter().find(|m| value(m.1) == largest).into_iter().collect()
    }

    /// The result.
    pub(crate) fn forward(&self) -> Vec<f64> {
        let mut y = Vec::new();
        for bag in 0..self.bags.len() {
            for column in 0..self.width {
                let shares = self.shares(bag, column);
                y.push(
                    shares.iter().map(|(_, row, share)| share * self.weight[row * self.width + column]).sum(),
                );
            }
        }
        y
    }

    /// The gradients for the weight and for the factors.
    pub(crate) fn backward(&self, grad: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut weight, mut factors) = (vec![0.0; self.weight.len()], vec![0.0; self.indices.len()]);
        for bag in 0..self.bags.len() {
            for column in 0..self.width {
                let grad = grad[bag * self.width + column];
                for (entry, row, share) in self.shares(bag, column) {
                    weight[row * self.width + column] += share * grad;
                    factors[entry] += grad * self.weight[row * self.width + column];
                }
            }
        }
        (weight, factors)
    }
}
