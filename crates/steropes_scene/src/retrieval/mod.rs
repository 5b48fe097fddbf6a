//! Which photos show the same place, by the tokens of the encoder alone.
//!
//! [`photo_similarity`] turns encoded photos into a [`Similarity`], by a retrieval file or by what the photos themselves teach.

mod asmk;
mod bench;
mod learn;
#[cfg(test)]
mod tests;
mod words;

pub use asmk::similarities;
pub use bench::benches;
pub use words::Words;

use rayon::prelude::*;
use serde::Serialize;
use steropes_models::retrieval::{FeatureCount, LocalFeatures, Retrieval, Whitening, token_values};
use steropes_models::{Encoded, ModelError};
use steropes_ops::OpError;

/// How similar photos are to each other: larger is more similar.
#[derive(Clone, Debug, PartialEq)]
pub struct Similarity {
    photos: usize,
    values: Vec<f64>,
}

impl Similarity {
    /// A matrix of `photos` rows, one after the other; `(i, j)` is what the photo `i` finds in the photo `j`.
    ///
    /// # Panics
    /// If `values` is not a square matrix of that size.
    pub fn new(values: Vec<f64>, photos: usize) -> Self {
        assert_eq!(values.len(), photos * photos, "a square matrix");
        Self { photos, values }
    }

    /// Number of photos.
    pub fn photos(&self) -> usize {
        self.photos
    }

    /// What the photo `i` finds in the photo `j`.
    pub fn of(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.photos + j]
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// How the similarity of photos was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetrievalReport {
    /// The retrieval file; none if the whitening was learnt from the photos.
    pub whitening: Option<String>,
    /// The file with the words; none if they were learnt from the photos.
    pub codebook: Option<String>,
    /// Number of words.
    pub words: usize,
    /// Features of all photos.
    pub features: usize,
    /// Values of a feature.
    pub width: usize,
}

/// Tokens that a whitening is learnt from, at most; beyond, evenly spaced ones are taken.
const LARGEST_SAMPLE: usize = 32_768;
/// Values of a feature whose whitening is learnt from the photos.
const LEARNT_WIDTH: usize = 64;
/// Features of a photo whose whitening is learnt from the photos.
const LEARNT_COUNT: FeatureCount = FeatureCount::AtMost(300);
/// Features for each word that is learnt, and the most words.
const FEATURES_PER_WORD: usize = 32;
const MOST_WORDS: usize = 4096;
/// Photos whose tokens are on the host at once.
const PHOTOS_AT_ONCE: usize = 16;

/// How similar encoded photos are, one photo in each of `encoded`.
///
/// `retrieval` says how tokens become features and, if it has words, what these are; what it does not say is learnt from
/// the photos themselves, which needs no training data: a whitening of their tokens and the points that their features gather around.
/// Deterministic for a seed and for any number of threads.
///
/// # Errors
/// [`ModelError::Input`] if `retrieval` was made for tokens of another width, [`ModelError::Device`] if a device failed.
///
/// # Panics
/// If there is no photo.
pub fn photo_similarity(
    encoded: &[Encoded],
    retrieval: Option<&Retrieval>,
    seed: u64,
    step: &(dyn Fn() + Sync),
) -> Result<(Similarity, RetrievalReport), ModelError> {
    let device = encoded[0].tokens().device();
    let learnt;
    let retrieval = match retrieval {
        Some(given) => given,
        None => {
            learnt = Retrieval::learnt(learn_whitening(encoded)?, LEARNT_COUNT);
            &learnt
        }
    };
    let mut features: Vec<LocalFeatures> = Vec::with_capacity(encoded.len());
    for some in encoded.chunks(PHOTOS_AT_ONCE) {
        let tokens = some.iter().map(token_values).collect::<Result<Vec<_>, _>>()?;
        let found = tokens.par_iter().map(|tokens| {
            step();
            retrieval.features(tokens)
        });
        features.extend(found.collect::<Result<Vec<_>, OpError>>()?);
    }
    let file = retrieval.file();
    let total: usize = features.iter().map(LocalFeatures::len).sum();
    let (codebook, words) = match file.and_then(|file| file.words.as_ref()) {
        Some((path, values)) => {
            (Some(path.display().to_string()), Words::new(values.as_slice(), retrieval.width()))
        }
        None => {
            let count = (total / FEATURES_PER_WORD).clamp(1, MOST_WORDS);
            (None, learn::learn_words(&features, count, seed, &device)?)
        }
    };
    let similarity = similarities(&features, &words, &device)?;
    let whitening = file.map(|file| file.path.display().to_string());
    let (words, width) = (words.len(), retrieval.width());
    Ok((similarity, RetrievalReport { whitening, codebook, words, features: total, width }))
}

/// The whitening that the tokens of all photos teach.
fn learn_whitening(encoded: &[Encoded]) -> Result<Whitening, ModelError> {
    let inputs = *encoded[0].tokens().shape().last().expect("tokens have a width");
    let total: usize = encoded.iter().map(|photo| photo.tokens().len() / inputs).sum();
    let step = total.div_ceil(LARGEST_SAMPLE).max(1);
    let (mut sample, mut next) = (Vec::new(), 0);
    for photo in encoded {
        let tokens = token_values(photo)?;
        let count = tokens.len() / inputs;
        while next < count {
            sample.extend_from_slice(&tokens[next * inputs..][..inputs]);
            next += step;
        }
        next -= count;
    }
    Ok(Whitening::learn(&sample, inputs, LEARNT_WIDTH))
}
