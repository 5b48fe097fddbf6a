//! Pairs of similar photos.

use super::PairGraph;
use crate::alignment::maximum_spanning;
use crate::retrieval::Similarity;
use nalgebra::DMatrix;
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
        let nearest = keys
            .iter()
            .copied()
            .reduce(|a, b| if distance(similarity, i, b) < distance(similarity, i, a) { b } else { a });
        nearest.into_iter().for_each(|j| insert(&mut pairs, i, j));
    }
    for i in 0..similarity.photos() {
        let ranked = ranked(similarity.photos(), |j| distance(similarity, i, j));
        ranked.into_iter().take(neighbors).for_each(|j| insert(&mut pairs, i, j));
    }
    pairs.into_iter().collect()
}

/// Each photo with its two most similar ones, with the [`PairGraph::AUTO_NEIGHBORS`] most similar ones of its own cluster and the 8th,
/// 16th, 32nd .. there, the spanning tree of the most similar pairs, and, where the photos are in the order of a walk, each with the
/// next two.
///
/// The most similar photos were often taken side by side; those farther down give the long baselines and hold a long walk
/// together. Similarity counts in both directions.
pub(super) fn auto_pairs(similarity: &Similarity) -> Vec<[usize; 2]> {
    let photos = similarity.photos();
    let both = |i: usize, j: usize| similarity.of(i, j) + similarity.of(j, i);
    // Above 0, so that photos without anything in common are joined too.
    let counts = DMatrix::from_fn(photos, photos, |i, j| 1.0 + both(i, j));
    let tree = maximum_spanning(&counts).expect("every pair of photos has a count");
    let cluster = clusters(&tree, both, photos);
    let order: Vec<Vec<usize>> = (0..photos)
        .map(|i| ranked(photos, |j| -both(i, j)).into_iter().filter(|j| *j != i).collect())
        .collect();
    let mut pairs = Pairs::new();
    tree.iter().for_each(|&[i, j]| insert(&mut pairs, i, j));
    for (i, order) in order.iter().enumerate() {
        order.iter().take(ANYWHERE).for_each(|&j| insert(&mut pairs, i, j));
        let own: Vec<usize> = order.iter().copied().filter(|&j| cluster[j] == cluster[i]).collect();
        own.iter().take(PairGraph::AUTO_NEIGHBORS).for_each(|&j| insert(&mut pairs, i, j));
        let ranks = (3..).map(|e| 1usize << e);
        ranks.map_while(|rank| own.get(rank - 1)).for_each(|&j| insert(&mut pairs, i, j));
    }
    if is_walk(&order) {
        for step in 1..=2 {
            (step..photos).for_each(|j| insert(&mut pairs, j - step, j));
        }
    }
    pairs.into_iter().collect()
}

/// Most similar photos that a photo is compared with although they may be of another cluster: few, since photos of other places
/// only give the two-view test something to be wrong about.
const ANYWHERE: usize = 2;

/// How similar photos must be that belong to one cluster, beside the median of the spanning tree. Photos of other places
/// lie at about a quarter of it, those of the same walk rarely below a half.
const CLUSTER_SHARE: f64 = 1.0 / 3.0;

/// The number of each photo's cluster: what is left of the tree when its weak edges are cut.
fn clusters(tree: &[[usize; 2]], both: impl Fn(usize, usize) -> f64, photos: usize) -> Vec<usize> {
    let mut strengths: Vec<f64> = tree.iter().map(|&[i, j]| both(i, j)).collect();
    strengths.sort_by(f64::total_cmp);
    let least = strengths.get(strengths.len() / 2).map_or(0.0, |median| CLUSTER_SHARE * median);
    let mut cluster: Vec<usize> = (0..photos).collect();
    for &[i, j] in tree.iter().filter(|&&[i, j]| both(i, j) >= least) {
        let (stays, goes) = (cluster[i], cluster[j]);
        cluster.iter_mut().filter(|c| **c == goes).for_each(|c| *c = stays);
    }
    cluster
}

/// Whether photos that follow each other are similar: whether the next one is, in the median, among the most similar tenth.
fn is_walk(order: &[Vec<usize>]) -> bool {
    let rank = |(i, order): (usize, &Vec<usize>)| order.iter().position(|&j| j == i + 1);
    let mut ranks: Vec<usize> = order.iter().enumerate().filter_map(rank).collect();
    ranks.sort_unstable();
    ranks.get(ranks.len() / 2).is_some_and(|median| 10 * median < order.len())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::random::SplitMix;

    /// Photos at places on a line: the nearer the more similar, each pair a little different in either direction.
    fn on_a_line(places: &[f64], reach: f64) -> Similarity {
        let n = places.len();
        let mut random = SplitMix::new(5);
        let values = (0..n * n).map(|k| {
            let apart = (places[k / n] - places[k % n]).abs();
            (-apart / reach).exp() + 1e-3 * random.uniform()
        });
        Similarity::new(values.collect(), n)
    }

    fn check_simple(pairs: &[[usize; 2]], photos: usize) {
        assert!(pairs.iter().all(|[i, j]| i < j && *j < photos), "{pairs:?}");
        assert!(pairs.windows(2).all(|w| w[0] < w[1]), "sorted, each once: {pairs:?}");
    }

    fn is_connected(pairs: &[[usize; 2]], photos: usize) -> bool {
        let mut reached = vec![false; photos];
        let mut open = vec![0];
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut reached[i], true) {
                open.extend(pairs.iter().filter(|p| p.contains(&i)).map(|[a, b]| a + b - i));
            }
        }
        reached.into_iter().all(|r| r)
    }

    fn shuffled(n: usize) -> Vec<usize> {
        let mut random = SplitMix::new(9);
        let mut order: Vec<usize> = (0..n).collect();
        (1..n).for_each(|i| order.swap(i, random.below(i + 1)));
        order
    }

    #[test]
    fn keys_spread_out() {
        let places = [0.0, 1.0, 2.0, 10.0, 11.0, 30.0];
        let similarity = on_a_line(&places, 8.0);
        assert_eq!(farthest_photos(&similarity, 1, 3), [1, 5, 4]);
        let all = farthest_photos(&similarity, 2, 50);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!((all[0], sorted), (2, vec![0, 1, 2, 3, 4, 5]));
        // A photo that finds nothing in itself is no key twice.
        assert_eq!(farthest_photos(&Similarity::new(vec![0.0; 9], 3), 0, 3), [0, 1, 2]);
    }

    /// The definition as a set: whether `i` and `j` are a pair, without regard to order.
    fn belongs(similarity: &Similarity, keys: &[usize], neighbors: usize, [i, j]: [usize; 2]) -> bool {
        let n = similarity.photos();
        let nearer =
            |i: usize, j: usize| (0..n).filter(|&o| similarity.of(i, o) > similarity.of(i, j)).count();
        let one_way = |i: usize, j: usize| {
            let is_nearest = keys.iter().all(|&k| similarity.of(i, k) <= similarity.of(i, j));
            keys.contains(&j) && (keys.contains(&i) || is_nearest) || nearer(i, j) < neighbors
        };
        one_way(i, j) || one_way(j, i)
    }

    #[test]
    fn retrieval_pairs_are_the_set_of_the_definition() {
        let mut random = SplitMix::new(1);
        for n in [1, 2, 3, 7, 20] {
            let similarity = Similarity::new((0..n * n).map(|_| random.uniform()).collect(), n);
            for (count, neighbors) in [(1, 1), (2, 3), (4, 2), (50, 1), (3, 50)] {
                let keys = farthest_photos(&similarity, n / 2, count);
                let found = retrieval_pairs(&similarity, &keys, neighbors);
                let all = (0..n).flat_map(|i| (i + 1..n).map(move |j| [i, j]));
                let wanted: Vec<_> = all.filter(|&p| belongs(&similarity, &keys, neighbors, p)).collect();
                assert_eq!(found, wanted, "{n} photos, {count} keys, {neighbors}");
                check_simple(&found, n);
                assert!(is_connected(&found, n));
            }
        }
    }

    #[test]
    fn a_seed_chooses_the_first_key() {
        let similarity = on_a_line(&(0..30).map(f64::from).collect::<Vec<_>>(), 5.0);
        let graph = PairGraph::Retrieval { keys: 4, neighbors: 3 };
        let pairs = |seed| graph.pairs_by_similarity(&similarity, seed).unwrap();
        assert_eq!(pairs(1), pairs(1));
        assert!((2..9).any(|seed| pairs(seed) != pairs(1)));
        let alone = Similarity::new(vec![1.0], 1);
        assert_eq!(graph.pairs_by_similarity(&alone, 0).unwrap(), Vec::<[usize; 2]>::new());
        let star = PairGraph::OneReference { reference: 2 };
        assert_eq!(star.pairs_by_similarity(&similarity, 0).unwrap(), star.pairs(30).unwrap());
    }

    /// Whatever the order of the photos, those that are near each other are compared, and all hang together.
    #[test]
    fn auto_does_not_need_the_order() {
        let order = shuffled(60);
        // Two groups that have nothing in common.
        let places: Vec<f64> = order.iter().map(|&p| p as f64 + if p < 25 { 0.0 } else { 1e6 }).collect();
        let similarity = on_a_line(&places, 10.0);
        let pairs = PairGraph::Auto.pairs_by_similarity(&similarity, 0).unwrap();
        check_simple(&pairs, 60);
        assert!(is_connected(&pairs, 60));
        for p in (0..59).filter(|p| *p != 24) {
            let at = |p: usize| order.iter().position(|o| *o == p).unwrap();
            let pair = [at(p).min(at(p + 1)), at(p).max(at(p + 1))];
            assert!(pairs.contains(&pair), "{p} and the next");
        }
        assert!(pairs.len() < 60 * 7, "{}", pairs.len());
        let across = pairs.iter().filter(|[i, j]| (order[*i] < 25) != (order[*j] < 25)).count();
        assert_eq!(across, 1, "the tree alone joins the groups");
        // Photos some way apart are compared too.
        assert!(pairs.iter().any(|[i, j]| (7..12).contains(&order[*i].abs_diff(order[*j]))));
    }

    /// Photos in the order of a walk are compared with the next, similar or not.
    #[test]
    fn auto_follows_a_walk() {
        let mut places: Vec<f64> = (0..40).map(f64::from).collect();
        // The walk turns a corner: what is seen before and after has little in common.
        places[20..].iter_mut().for_each(|p| *p += 1000.0);
        let similarity = on_a_line(&places, 3.0);
        let pairs = PairGraph::Auto.pairs_by_similarity(&similarity, 0).unwrap();
        assert!(pairs.contains(&[19, 20]) && pairs.contains(&[18, 20]) && pairs.contains(&[19, 21]));
        let few = on_a_line(&places[..10], 3.0);
        assert_eq!(PairGraph::Auto.pairs_by_similarity(&few, 0).unwrap().len(), 45);
    }
}
