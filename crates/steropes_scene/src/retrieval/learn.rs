//! Whitening and visual words learnt from the photos at hand, for networks that have no retrieval file.

use super::words::Words;
use crate::geometry::random::SplitMix;
use rayon::prelude::*;
use steropes_models::retrieval::LocalFeatures;
use steropes_ops::OpError;
use steropes_tensor::Device;

/// Rounds of the assignment of features to words.
const ROUNDS: usize = 12;
/// Features that words are learnt from, at most; beyond, evenly spaced ones are taken.
const LARGEST_SAMPLE: usize = 65_536;

/// About `count` words that the features of `images` gather around (k-means from different features as first words).
///
/// Fewer if there are fewer features. A word that loses all its features stays where it is. Deterministic for a seed, on every device
/// and for any number of threads.
///
/// # Errors
/// [`OpError`] if the device has no memory or failed.
///
/// # Panics
/// If there is no feature.
pub(super) fn learn_words(
    images: &[LocalFeatures],
    count: usize,
    seed: u64,
    device: &Device,
) -> Result<Words<'static>, OpError> {
    let width = images[0].width;
    let rows: Vec<&[f32]> = images.iter().flat_map(|image| image.values.chunks_exact(width)).collect();
    let step = rows.len().div_ceil(LARGEST_SAMPLE).max(1);
    let sample: Vec<f32> = rows.into_iter().step_by(step).flatten().copied().collect();
    let features = sample.len() / width;
    let mut random = SplitMix::new(seed);
    let mut order: Vec<usize> = (0..features).collect();
    let count = count.clamp(1, features);
    for i in 0..count {
        let j = i + random.below(features - i);
        order.swap(i, j);
    }
    let first: Vec<f32> =
        order[..count].iter().flat_map(|&i| &sample[i * width..][..width]).copied().collect();
    let mut words = Words::new(first, width);
    let mut nearest = Vec::new();
    for _ in 0..ROUNDS {
        let now = words.nearest(&sample, 1, device)?;
        if now == nearest {
            break;
        }
        nearest = now;
        words = means(&sample, &nearest, words);
    }
    Ok(words)
}

/// Each word at the mean of the features that belong to it.
fn means(features: &[f32], nearest: &[u32], words: Words<'_>) -> Words<'static> {
    let width = words.width;
    let mut members = vec![Vec::new(); words.len()];
    nearest.iter().enumerate().for_each(|(feature, &word)| members[word as usize].push(feature));
    let mut values = words.values.into_owned();
    values.par_chunks_exact_mut(width).zip(&members).filter(|(_, m)| !m.is_empty()).for_each(
        |(word, members)| {
            let mut sums = vec![0.0f64; width];
            for &feature in members {
                let row = &features[feature * width..][..width];
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
            }
            let count = members.len() as f64;
            word.iter_mut().zip(sums).for_each(|(value, sum)| *value = (sum / count) as f32);
        },
    );
    Words::new(values, width)
}
