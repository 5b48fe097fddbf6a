//! Aggregated selective match kernel: how much two images have in common, by the words that their features share.

use super::Similarity;
use super::words::Words;
use rayon::prelude::*;
use steropes_models::retrieval::LocalFeatures;
use steropes_ops::OpError;
use steropes_tensor::Device;

/// Words that a feature of the image that is looked for belongs to; one of an image that is found belongs to the nearest alone.
const QUERY_WORDS: usize = 5;

/// Which side of a word the features of an image lie that belong to it: one bit per value.
struct Code {
    word: u32,
    bits: Vec<u64>,
}

/// The similarity of every image to every other: `(i, j)` is what the image `i` finds in `j`.
///
/// For every word the residuals of the features that belong to it are summed and reduced to their signs. Where images share a
/// word whose signs agree in at least half of the values, the similarity of the signs, `1 - 2 hamming / width`, counts in its third
/// power; the sum is divided by the root of both numbers of words. In the image that looks, a feature belongs to its five
/// nearest words, in the other to the nearest: so the matrix is not symmetric and its diagonal is below 1.
///
/// # Numerics
/// Words are exact, residuals f32 in the order of the features, scores f64. Bits do not depend on the device or the number of
/// threads.
///
/// # Errors
/// [`OpError`] if the device has no memory or failed.
///
/// # Panics
/// If the features are not of the words' width.
///
/// # Source
/// Tolias, Avrithis, Jégou: Image search with selective match kernels, IJCV 2016, with the settings of MASt3R-SfM: binary,
/// no inverse document frequency, threshold 0, exponent 3.
pub fn similarities(
    images: &[LocalFeatures],
    words: &Words<'_>,
    device: &Device,
) -> Result<Similarity, OpError> {
    let all: Vec<f32> = images.iter().flat_map(|image| &image.values).copied().collect();
    let each = QUERY_WORDS.min(words.len());
    let nearest = words.nearest(&all, each, device)?;
    let mut first = 0;
    let own: Vec<(&LocalFeatures, &[u32])> = images
        .iter()
        .map(|image| {
            let range = first..first + image.len() * each;
            first = range.end;
            (image, &nearest[range])
        })
        .collect();
    let database: Vec<Vec<Code>> =
        own.par_iter().map(|(image, nearest)| codes(image, words, nearest, each, 1)).collect();
    // Per word, the images that have it, and where.
    let mut inverted: Vec<Vec<(u32, u32)>> = vec![Vec::new(); words.len()];
    for (image, codes) in database.iter().enumerate() {
        for (place, code) in codes.iter().enumerate() {
            inverted[code.word as usize].push((image as u32, place as u32));
        }
    }
    let rows: Vec<Vec<f64>> = own
        .par_iter()
        .map(|(image, nearest)| {
            let query = codes(image, words, nearest, each, each);
            let mut row = vec![0.0; images.len()];
            for code in &query {
                for &(other, place) in &inverted[code.word as usize] {
                    let found = &database[other as usize][place as usize];
                    row[other as usize] += kernel(&code.bits, &found.bits, words.width);
                }
            }
            for (score, codes) in row.iter_mut().zip(&database) {
                let scale = (query.len() as f64 * codes.len() as f64).sqrt();
                *score = if scale > 0.0 { *score / scale } else { 0.0 };
            }
            row
        })
        .collect();
    Ok(Similarity::new(rows.concat(), images.len()))
}

/// What two codes of one word contribute.
fn kernel(a: &[u64], b: &[u64], width: usize) -> f64 {
    let differing: u32 = a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum();
    if 2 * differing as usize > width {
        return 0.0;
    }
    (1.0 - 2.0 * f64::from(differing) / width as f64).powi(3)
}

/// The codes of an image by ascending word, its features belonging to the first `count` of their `each` nearest words.
fn codes(image: &LocalFeatures, words: &Words<'_>, nearest: &[u32], each: usize, count: usize) -> Vec<Code> {
    let width = words.width;
    let mut belongs: Vec<(u32, usize)> = nearest
        .chunks_exact(each)
        .enumerate()
        .flat_map(|(feature, nearest)| nearest[..count].iter().map(move |&word| (word, feature)))
        .collect();
    belongs.sort_unstable();
    belongs
        .chunk_by(|a, b| a.0 == b.0)
        .map(|members| {
            let word = members[0].0;
            let mut sums = vec![0.0f32; width];
            for (_, feature) in members {
                let values = &image.values[feature * width..][..width];
                let residuals = values.iter().zip(words.word(word)).map(|(v, w)| v - w);
                sums.iter_mut().zip(residuals).for_each(|(sum, residual)| *sum += residual);
            }
            let bits = sums.chunks(64).map(|sums| {
                sums.iter().enumerate().fold(0, |bits, (i, sum)| bits | u64::from(*sum > 0.0) << i)
            });
            Code { word, bits: bits.collect() }
        })
        .collect()
}
