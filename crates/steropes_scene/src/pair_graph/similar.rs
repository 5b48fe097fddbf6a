//! Pairs of similar photos.

use crate::retrieval::Similarity;
use std::collections::BTreeSet;

/// Pairs as `[i, j]` with `i < j`.
type Pairs = BTreeSet<[usize; 2]>;

/// `count` photos that differ from each other as much as possible, or all: `first`, then always the photo whose most similar
/// chosen one is the least similar to it, the lower index first among equals. Similarity is what the chosen photo
/// finds in the other.
///
/// # Panics
/// If there is no photo `first`.
///
/// # Source
/// Farthest-point sampling (Gonzalez, 1985).
pub fn farthest_photos(similarity: &Similarity, first: usize, count: usize) -> Vec<usize> {
    let photos = similarity.photos();
    let mut nearest: Vec<f64> = (0..photos).map(|j| distance(similarity, first, j)).collect();
    let mut chosen = vec![first];
    while chosen.len() < count.min(photos) {
        let others = (0..photos).filter(|j| !chosen.contains(j));
        let farthest = others.reduce(|a, b| if nearest[b] > nearest[a] { b } else { a });
        let farthest = farthest.expect("fewer are chosen than there are");
        chosen.push(farthest);
        for (j, least) in nearest.iter_mut().enumerate() {
            *least = least.min(distance(similarity, farthest, j));
        }
    }
    chosen
}

/// All pairs of `keys`, every other photo with the key photo that it finds most similar, and each photo with the `neighbors` photos that it
/// finds most similar, of which it is one itself as a rule. As `[i, j]` with `i < j`, sorted, each once.
///
/// # Panics
/// If a key is not among the photos.
///
/// # Source
/// The scene graph of MASt3R-SfM, arXiv:2409.19152, section 4.1.
pub fn retrieval_pairs(similarity: &Similarity, keys: &[usize], neighbors: usize) -> Vec<[usize; 2]> {
    let mut pairs = Pairs::new();
    for (place, &i) in keys.iter().enumerate() {
        keys[..place].iter().for_each(|&j| insert(&mut pairs, i, j));
    }
    for i in (0..similarity.photos()).filter(|i| !keys.contains(i)) {
        let nearest = keys.iter().copied().reduce(|a, b| {
            if distance(similarity, i, b) < distance(similarity, i, a) { b } else { a }
        });
        nearest.into_iter().for_each(|j| insert(&mut pairs, i, j));
    }
    for i in 0..similarity.photos() {
        let ranked = ranked(similarity.photos(), |j| distance(similarity, i, j));
        ranked.into_iter().take(neighbors).for_each(|j| insert(&mut pairs, i, j));
    }
    pairs.into_iter().collect()
}

fn insert(pairs: &mut Pairs, i: usize, j: usize) {
    if i != j {
        pairs.insert([i.min(j), i.max(j)]);
    }
}

/// How little the photo `i` finds of itself in `j`.
fn distance(similarity: &Similarity, i: usize, j: usize) -> f64 {
    1.0 - similarity.of(i, j)
}

/// The photos by ascending distance, the lower index first among equals.
fn ranked(photos: usize, distance: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..photos).collect();
    order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
    order
}

pub(super) fn auto_pairs(similarity: &Similarity) -> Vec<[usize; 2]> {
    retrieval_pairs(similarity, &[0], 6)
}
