//! f64 oracle: the whole matrix of similarities, and the gradient from the derivative of each of its elements.

use super::{InfoNceMode, InfoNceOptions, Similarity};

/// One item.
pub(crate) struct Item<'a> {
    pub(crate) a: &'a [f64],
    pub(crate) b: &'a [f64],
    pub(crate) width: usize,
    pub(crate) valid: &'a [u8],
    pub(crate) options: InfoNceOptions,
}

impl Item<'_> {
    fn rows(&self) -> usize {
        self.valid.len()
    }

    fn row<'a>(&self, side: &'a [f64], i: usize) -> &'a [f64] {
        &side[i * self.width..][..self.width]
    }

    fn distance(&self, i: usize, k: usize) -> f64 {
        let pairs = self.row(self.a, i).iter().zip(self.row(self.b, k));
        pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    fn similarity(&self, i: usize, k: usize) -> f64 {
        let raw = match self.options.similarity {
            Similarity::Dot => self.row(self.a, i).iter().zip(self.row(self.b, k)).map(|(a, b)| a * b).sum(),
            Similarity::Euclidean => 1.0 / (1.0 + self.distance(i, k)),
        };
        raw / f64::from(self.options.temperature)
    }

    /// `exp(similarity)`, and its sums over rows and columns.
    fn matrix(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let n = self.rows();
        let e: Vec<f64> = (0..n * n).map(|at| self.similarity(at / n, at % n).exp()).collect();
        let rows = (0..n).map(|i| (0..n).map(|k| e[i * n + k]).sum()).collect();
        let columns = (0..n).map(|k| (0..n).map(|i| e[i * n + k]).sum()).collect();
        (e, rows, columns)
    }

    /// The loss of each row, 0 where it is not valid.
    pub(crate) fn losses(&self) -> Vec<f64> {
        let n = self.rows();
        let (e, rows, columns) = self.matrix();
        let all: f64 = rows.iter().sum();
        let log = |share: f64| -share.max(f64::from(self.options.epsilon)).ln();
        let loss = |i: usize| {
            let own = e[i * n + i];
            match self.options.mode {
                InfoNceMode::Proper => log(own / rows[i]) + log(own / columns[i]),
                InfoNceMode::Dual => log(own * own / (rows[i] * columns[i])),
                InfoNceMode::All => log(own / all),
            }
        };
        (0..n).map(|i| if self.valid[i] == 0 { 0.0 } else { loss(i) }).collect()
    }

    /// The gradients of the losses, each times its value of `grad`.
    pub(crate) fn gradients(&self, grad: &[f64]) -> [Vec<f64>; 2] {
        let n = self.rows();
        let (e, rows, columns) = self.matrix();
        let all: f64 = rows.iter().sum();
        let epsilon = f64::from(self.options.epsilon);
        let mut by_similarity = vec![0.0; n * n];
        // -log(e_ii / sum) of a set of elements.
        let mut share = |i: usize, scale: f64, sum: f64, elements: &mut dyn Iterator<Item = usize>| {
            for at in elements {
                by_similarity[at] += scale * e[at] / sum;
            }
            by_similarity[i * n + i] -= scale;
        };
        for i in (0..n).filter(|&i| self.valid[i] != 0) {
            let own = e[i * n + i];
            let [row, column] = [own / rows[i], own / columns[i]];
            let counts = match self.options.mode {
                InfoNceMode::Proper => [row > epsilon, column > epsilon],
                InfoNceMode::Dual => [row * column > epsilon; 2],
                InfoNceMode::All => {
                    if own / all > epsilon {
                        share(i, grad[i], all, &mut (0..n * n));
                    }
                    [false; 2]
                }
            };
            if counts[0] {
                share(i, grad[i], rows[i], &mut (i * n..(i + 1) * n));
            }
            if counts[1] {
                share(i, grad[i], columns[i], &mut (0..n).map(|k| k * n + i));
            }
        }
        let mut gradients = [vec![0.0; self.a.len()], vec![0.0; self.b.len()]];
        for i in 0..n {
            for k in 0..n {
                let scale = by_similarity[i * n + k] / f64::from(self.options.temperature);
                let distance = self.distance(i, k);
                for c in 0..self.width {
                    let [a, b] = [self.row(self.a, i)[c], self.row(self.b, k)[c]];
                    let [da, db] = match self.options.similarity {
                        Similarity::Dot => [b, a],
                        Similarity::Euclidean if distance == 0.0 => [0.0; 2],
                        Similarity::Euclidean => {
                            let slope = -(a - b) / distance / (1.0 + distance).powi(2);
                            [slope, -slope]
                        }
                    };
                    gradients[0][i * self.width + c] += scale * da;
                    gradients[1][k * self.width + c] += scale * db;
                }
            }
        }
        gradients
    }
}
