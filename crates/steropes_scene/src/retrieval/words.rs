//! Visual words: the nearest of many points for every feature, exactly, without the matrix of all distances.

use rayon::prelude::*;
use std::borrow::Cow;
use std::cmp::Ordering;
use steropes_ops::OpError;
use steropes_ops::linalg::linear::{Activation, LinearWeights, linear};
use steropes_tensor::{Device, Tensor, TensorError};

/// Features, and words, of one product; bounds the scores that are held.
const BLOCK: usize = 4096;
/// Words kept beside the wanted ones, so that rounding almost never hides one.
const SPARE: usize = 3;

/// Points of the features' space, one after the other. A published codebook takes 256 MB, so it can be borrowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Words<'a> {
    pub(super) values: Cow<'a, [f32]>,
    pub(super) width: usize,
}

impl<'a> Words<'a> {
    /// Words of `width` values each.
    ///
    /// # Panics
    /// If there is none or `values` does not consist of rows of `width` values.
    pub fn new(values: impl Into<Cow<'a, [f32]>>, width: usize) -> Self {
        let values = values.into();
        assert!(!values.is_empty() && values.len().is_multiple_of(width), "rows of {width} values");
        Self { values, width }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The values of a word.
    pub(super) fn word(&self, index: u32) -> &[f32] {
        &self.values[index as usize * self.width..][..self.width]
    }

    /// The `count` words nearest to each row of `features`, or all if there are fewer: nearest first, the lower index first among
    /// equals; as many for each row, one row after the other.
    ///
    /// # Numerics
    /// Exact: candidates are found by a product in f32 on `device` and compared in f64. Where the rounding of the product could
    /// hide a nearer word, all are compared in f64. So every device gives the same words.
    ///
    /// # Errors
    /// [`OpError`] if the device has no memory or failed.
    ///
    /// # Panics
    /// If `features` does not consist of rows of the words' width.
    pub fn nearest(&self, features: &[f32], count: usize, device: &Device) -> Result<Vec<u32>, OpError> {
        let width = self.width;
        assert!(features.len().is_multiple_of(width), "rows of {width} values");
        let rows = features.len() / width;
        let count = count.min(self.len());
        let kept = (count + SPARE).min(self.len());
        let mut best = vec![Candidate::NONE; rows * kept];
        let upload = |shape: &[usize], values: &[f32]| Tensor::new(device, shape, values.to_vec());
        let chunks = features.chunks(BLOCK * width);
        let chunks = chunks.map(|chunk| upload(&[chunk.len() / width, width], chunk).map_err(no_memory));
        let chunks = chunks.collect::<Result<Vec<_>, _>>()?;
        for (block, words) in self.values.chunks(BLOCK * width).enumerate() {
            // The larger this is, the nearer the word: q.w - |w|²/2 = (|q|² - |q - w|²)/2.
            let shifts: Vec<f32> = words.chunks_exact(width).map(|w| (-0.5 * squared(w)) as f32).collect();
            let weight = upload(&[shifts.len(), width], words).map_err(no_memory)?;
            let weights =
                LinearWeights::pack(&weight, Some(&upload(&[shifts.len()], &shifts).map_err(no_memory)?))?;
            for (features, best) in chunks.iter().zip(best.chunks_mut(BLOCK * kept)) {
                let scores = linear(features, &weights, Activation::Identity)?.into_vec::<f32>()?;
                let each = scores.par_chunks_exact(shifts.len()).zip(best.par_chunks_exact_mut(kept));
                each.for_each(|(scores, best)| keep_best(best, scores, block * BLOCK));
            }
        }
        let longest = self.values.par_chunks_exact(width).map(squared).reduce(|| 0.0, f64::max).sqrt();
        let each = features.par_chunks_exact(width).zip(best.par_chunks_exact(kept));
        Ok(each.flat_map_iter(|(feature, best)| self.settle(feature, best, count, longest)).collect())
    }

    /// The `count` words nearest to `feature`, of which `best` are candidates by rounded scores.
    fn settle(&self, feature: &[f32], best: &[Candidate], count: usize, longest: f64) -> Vec<u32> {
        let own = squared(feature);
        let mut exact: Vec<(f64, u32)> = best
            .iter()
            .filter(|c| c.score > f32::NEG_INFINITY)
            .map(|c| (distance(feature, self.word(c.word)), c.word))
            .collect();
        exact.sort_by(nearer);
        // What the rounding of a sum of so many products can be, twice.
        let rounding = (self.width + 4) as f64 * f64::from(f32::EPSILON) * (own.sqrt() + longest) * longest;
        let hidden = best.last().map_or(f64::INFINITY, |last| f64::from(last.score) + rounding);
        let is_proven =
            exact.len() == self.len() || exact.len() >= count && exact[count - 1].0 < own - 2.0 * hidden;
        if !is_proven {
            exact = (0..self.len() as u32).map(|word| (distance(feature, self.word(word)), word)).collect();
            exact.sort_by(nearer);
        }
        exact[..count].iter().map(|(_, word)| *word).collect()
    }
}

/// A word and its score by a product.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: f32,
    word: u32,
}

impl Candidate {
    const NONE: Self = Self { score: f32::NEG_INFINITY, word: 0 };
}

/// Puts those of `scores`, of the words from `first` on, into `best` that belong there; `best` falls.
fn keep_best(best: &mut [Candidate], scores: &[f32], first: usize) {
    let last = best.len() - 1;
    for (offset, &score) in scores.iter().enumerate() {
        if score > best[last].score {
            let mut place = last;
            while place > 0 && score > best[place - 1].score {
                best[place] = best[place - 1];
                place -= 1;
            }
            best[place] = Candidate { score, word: (first + offset) as u32 };
        }
    }
}

fn nearer(a: &(f64, u32), b: &(f64, u32)) -> Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

fn squared(row: &[f32]) -> f64 {
    row.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

fn no_memory(error: TensorError) -> OpError {
    match error {
        TensorError::Device(error) => error.into(),
        error => OpError::value("retrieval::words", "values", "as many as the shape has", error),
    }
}
