//! Which photos are compared with which.
//!
//! Source: the pair graphs in use with pairwise 3D networks (complete, sliding window, logarithmic window, star, retrieval),
//! written from their set definitions.

mod similar;

pub use similar::{farthest_photos, retrieval_pairs};

use crate::geometry::random::SplitMix;
use crate::retrieval::Similarity;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A rule that says which pairs of `n` photos are compared, by the order given or by how similar they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairGraph {
    /// All pairs up to [`PairGraph::AUTO_COMPLETE`] photos. Beyond, by similarity: each photo with the
    /// [`PairGraph::AUTO_NEIGHBORS`] most similar ones and the 8th, 16th, 32nd .. of those that hang together with it, and with the
    /// two most similar of all; the spanning tree of the most similar pairs, which joins all photos; and, where the photos are in
    /// the order of a walk, each with the next two.
    Auto,
    /// All pairs.
    Complete,
    /// Each photo with the next `width` ones.
    Window {
        /// How far the window reaches.
        width: usize,
        /// Whether the last photo is followed by the first.
        cyclic: bool,
    },
    /// Each photo with those 1, 2, 4, .. `2^(width - 1)` before and behind it.
    LogWindow {
        /// The number of powers of two.
        width: usize,
        /// Whether the last photo is followed by the first.
        cyclic: bool,
    },
    /// One photo with all others.
    OneReference {
        /// The index of the one photo.
        reference: usize,
    },
    /// By similarity: all pairs of some key photos that differ as much as possible, every other photo with the key photo most similar
    /// to it, and each photo with the most similar ones.
    Retrieval {
        /// The number of key photos.
        keys: usize,
        /// How many photos each is compared with; the photo itself, which is the most similar as a rule, is one of them.
        neighbors: usize,
    },
}

/// Keeps the pairs of photos that are near each other in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairFilter {
    /// Pairs at most so many photos apart.
    Sequence(usize),
    /// The same on a circle: the last photo of all pairs is followed by photo 0.
    Cycle(usize),
}

/// A pair graph that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairGraphError {
    /// No graph has this name.
    #[error(
        "pair_graph: `graph` must be auto, complete, swin-W, logwin-W (W at least 1, also with -noncyclic), \
         oneref-R or retrieval-NA-K (NA and K at least 1), got `{found}`"
    )]
    UnknownGraph {
        /// What was given.
        found: String,
    },
    /// No filter has this name.
    #[error("pair_graph: `filter` must be seqK or cycK with a number K, got `{found}`")]
    UnknownFilter {
        /// What was given.
        found: String,
    },
    /// The reference of a star is not among the photos.
    #[error(
        "pair_graph: `graph` must have a reference below the number of photos {photos}, got oneref-{reference}"
    )]
    Reference {
        /// The index asked for.
        reference: usize,
        /// The number of photos.
        photos: usize,
    },
    /// The graph needs to know how similar the photos are, and that was not given.
    #[error("pair_graph: `{graph}` of {photos} photos must have their similarity, which was not given")]
    NoSimilarity {
        /// The graph.
        graph: PairGraph,
        /// The number of photos.
        photos: usize,
    },
}

/// The reach of `swin` and `logwin` without a number.
const DEFAULT_WIDTH: usize = 3;

impl PairGraph {
    /// The largest number of photos for which [`PairGraph::Auto`] compares all pairs.
    pub const AUTO_COMPLETE: usize = 10;
    /// The number of most similar photos that [`PairGraph::Auto`] compares each of many photos with, of those that hang together
    /// with it.
    pub const AUTO_NEIGHBORS: usize = 6;

    /// Whether the pairs of `photos` photos depend on how similar they are.
    pub fn needs_similarity(self, photos: usize) -> bool {
        match self {
            Self::Auto => photos > Self::AUTO_COMPLETE,
            Self::Retrieval { .. } => photos > 1,
            _ => false,
        }
    }

    /// The pairs of photos that are so similar as `[i, j]` with `i < j`, sorted, each once. `seed` chooses the first key photo of
    /// [`PairGraph::Retrieval`].
    ///
    /// # Errors
    /// [`PairGraphError::Reference`] if a star's reference is not among the photos.
    pub fn pairs_by_similarity(
        self,
        similarity: &Similarity,
        seed: u64,
    ) -> Result<Vec<[usize; 2]>, PairGraphError> {
        let photos = similarity.photos();
        match self {
            Self::Auto if self.needs_similarity(photos) => Ok(similar::auto_pairs(similarity)),
            Self::Retrieval { keys, neighbors } if photos > 1 => {
                let first = SplitMix::new(seed).below(photos);
                Ok(retrieval_pairs(similarity, &farthest_photos(similarity, first, keys), neighbors))
            }
            _ => self.pairs(photos),
        }
    }

    /// The pairs of `photos` photos as `[i, j]` with `i < j`, sorted, each once. None for fewer than two photos.
    ///
    /// # Errors
    /// [`PairGraphError::Reference`] if a star's reference is not among the photos, [`PairGraphError::NoSimilarity`] if
    /// [`PairGraph::needs_similarity`] says so.
    pub fn pairs(self, photos: usize) -> Result<Vec<[usize; 2]>, PairGraphError> {
        let sorted: BTreeSet<_> =
            self.emitted(photos)?.into_iter().map(|[i, j]| [i.min(j), i.max(j)]).collect();
        Ok(sorted.into_iter().collect())
    }

    /// The pairs in both roles, as the reference programs list them: `complete` with the larger index first and
    /// `oneref` with the reference first, in the order of the other index; all others sorted with the smaller index
    /// first. With `symmetrize` all pairs follow once more the other way round. The filter comes last.
    ///
    /// # Errors
    /// As [`PairGraph::pairs`].
    pub fn ordered_pairs(
        self,
        photos: usize,
        symmetrize: bool,
        filter: Option<PairFilter>,
    ) -> Result<Vec<[usize; 2]>, PairGraphError> {
        let mut pairs = self.emitted(photos)?;
        if symmetrize {
            pairs.extend(pairs.clone().into_iter().map(|[i, j]| [j, i]));
        }
        if let Some(filter) = filter {
            filter.keep(&mut pairs);
        }
        Ok(pairs)
    }

    /// The pairs in the order of [`PairGraph::ordered_pairs`]; never a photo with itself.
    fn emitted(self, photos: usize) -> Result<Vec<[usize; 2]>, PairGraphError> {
        Ok(match self {
            Self::Auto if photos <= Self::AUTO_COMPLETE => Self::Complete.emitted(photos)?,
            Self::Retrieval { .. } if photos < 2 => Vec::new(),
            Self::Auto | Self::Retrieval { .. } => {
                return Err(PairGraphError::NoSimilarity { graph: self, photos });
            }
            Self::Complete => (0..photos).flat_map(|i| (0..i).map(move |j| [i, j])).collect(),
            Self::Window { width, cyclic } => window(photos, width, cyclic).into_iter().collect(),
            Self::LogWindow { width, cyclic } => log_window(photos, width, cyclic).into_iter().collect(),
            Self::OneReference { reference } if reference < photos => {
                (0..photos).filter(|j| *j != reference).map(|j| [reference, j]).collect()
            }
            Self::OneReference { .. } if photos == 0 => Vec::new(),
            Self::OneReference { reference } => return Err(PairGraphError::Reference { reference, photos }),
        })
    }
}

fn window(photos: usize, width: usize, cyclic: bool) -> BTreeSet<[usize; 2]> {
    let offsets: Vec<_> = (1..=width.min(photos)).collect();
    apart(photos, &offsets, cyclic)
}

fn log_window(photos: usize, width: usize, cyclic: bool) -> BTreeSet<[usize; 2]> {
    // On a circle 2^e counts modulo the number of photos, which need not be a power of two.
    let powers = std::iter::successors(Some(1usize), |&o| {
        let next = 2 * o;
        if cyclic { Some(next % photos.max(1)) } else { Some(next).filter(|n| *n < photos) }
    });
    let offsets: Vec<_> = powers.take(width.min(4 * photos + 64)).collect();
    apart(photos, &offsets, cyclic)
}

/// The pairs `(i, i + offset)`, on a line or on a circle.
fn apart(photos: usize, offsets: &[usize], cyclic: bool) -> BTreeSet<[usize; 2]> {
    let mut pairs = BTreeSet::new();
    for i in 0..photos {
        for j in offsets.iter().map(|offset| i + offset) {
            let j = if cyclic { j % photos } else { j };
            if j < photos && j != i {
                pairs.insert([i.min(j), i.max(j)]);
            }
        }
    }
    pairs
}

impl PairFilter {
    fn keep(self, pairs: &mut Vec<[usize; 2]>) {
        let photos = pairs.iter().flatten().max().map_or(0, |last| last + 1);
        pairs.retain(|[i, j]| {
            let apart = i.abs_diff(*j);
            match self {
                Self::Sequence(reach) => apart <= reach,
                Self::Cycle(reach) => apart.min(photos - apart) <= reach,
            }
        });
    }
}

impl FromStr for PairGraph {
    type Err = PairGraphError;

    fn from_str(text: &str) -> Result<Self, PairGraphError> {
        let unknown = || PairGraphError::UnknownGraph { found: text.to_owned() };
        let mut fields: Vec<_> = text.split('-').collect();
        let name = fields.remove(0);
        let windowed = matches!(name, "swin" | "logwin");
        let cyclic = !(windowed && fields.last() == Some(&"noncyclic"));
        if !cyclic {
            fields.pop();
        }
        if let ("retrieval", [keys, neighbors]) = (name, &fields[..]) {
            let number = |text: &str| text.parse().ok().filter(|n| *n > 0).ok_or_else(unknown);
            return Ok(Self::Retrieval { keys: number(keys)?, neighbors: number(neighbors)? });
        }
        let number = match fields[..] {
            [] => None,
            [number] => Some(number.parse::<usize>().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        };
        match (name, number) {
            ("auto", None) => Ok(Self::Auto),
            ("complete", None) => Ok(Self::Complete),
            ("oneref", _) => Ok(Self::OneReference { reference: number.unwrap_or(0) }),
            (_, Some(0)) => Err(unknown()),
            ("swin", _) => Ok(Self::Window { width: number.unwrap_or(DEFAULT_WIDTH), cyclic }),
            ("logwin", _) => Ok(Self::LogWindow { width: number.unwrap_or(DEFAULT_WIDTH), cyclic }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for PairGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |cyclic: &bool| if *cyclic { "" } else { "-noncyclic" };
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Complete => write!(f, "complete"),
            Self::Window { width, cyclic } => write!(f, "swin-{width}{}", end(cyclic)),
            Self::LogWindow { width, cyclic } => write!(f, "logwin-{width}{}", end(cyclic)),
            Self::OneReference { reference } => write!(f, "oneref-{reference}"),
            Self::Retrieval { keys, neighbors } => write!(f, "retrieval-{keys}-{neighbors}"),
        }
    }
}

impl FromStr for PairFilter {
    type Err = PairGraphError;

    fn from_str(text: &str) -> Result<Self, PairGraphError> {
        let reach = |name| text.strip_prefix(name).and_then(|k| k.parse().ok());
        reach("seq")
            .map(Self::Sequence)
            .or_else(|| reach("cyc").map(Self::Cycle))
            .ok_or_else(|| PairGraphError::UnknownFilter { found: text.to_owned() })
    }
}

impl fmt::Display for PairFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(reach) => write!(f, "seq{reach}"),
            Self::Cycle(reach) => write!(f, "cyc{reach}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> PairGraph {
        text.parse().unwrap()
    }

    /// The definitions as sets: `i` and `j` are a pair if a predicate on them holds.
    fn belongs(graph: PairGraph, n: usize, i: usize, j: usize) -> bool {
        let line = j.abs_diff(i);
        let apart = |offset: usize, cyclic: bool| {
            if cyclic { (i + offset) % n == j || (j + offset) % n == i } else { line == offset }
        };
        match graph {
            PairGraph::Complete => true,
            PairGraph::Window { width, cyclic } => (1..=width).any(|o| apart(o, cyclic)),
            PairGraph::LogWindow { width, cyclic } => (0..width).any(|e| apart(1 << e, cyclic)),
            PairGraph::OneReference { reference } => i == reference || j == reference,
            PairGraph::Auto | PairGraph::Retrieval { .. } => unreachable!("not by order"),
        }
    }

    #[test]
    fn pairs_are_the_sets_of_the_definitions() {
        for text in [
            "complete",
            "swin-1",
            "swin-2",
            "swin-3",
            "swin-7",
            "swin-40",
            "swin-1-noncyclic",
            "swin-4-noncyclic",
            "swin-40-noncyclic",
            "logwin-1",
            "logwin-2",
            "logwin-3",
            "logwin-5",
            "logwin-3-noncyclic",
            "logwin-9-noncyclic",
            "oneref-0",
            "oneref-2",
        ] {
            let graph = graph(text);
            assert_eq!(graph.to_string(), text);
            for n in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 17, 33] {
                if matches!(graph, PairGraph::OneReference { reference } if n > 0 && reference >= n) {
                    assert!(graph.pairs(n).is_err());
                    continue;
                }
                let want: Vec<_> = (0..n)
                    .flat_map(|i| (i + 1..n).map(move |j| [i, j]))
                    .filter(|[i, j]| belongs(graph, n, *i, *j))
                    .collect();
                assert_eq!(graph.pairs(n).unwrap(), want, "{text} of {n}");
                check_ordered(graph, n, &want);
            }
        }
    }

    fn check_ordered(graph: PairGraph, n: usize, unordered: &[[usize; 2]]) {
        let once = graph.ordered_pairs(n, false, None).unwrap();
        let both = graph.ordered_pairs(n, true, None).unwrap();
        assert_eq!(once.len(), unordered.len());
        assert_eq!(both.len(), 2 * unordered.len());
        assert_eq!(both[..once.len()], once);
        assert!(both.iter().all(|[i, j]| i != j));
        let reversed: Vec<_> = once.iter().map(|[i, j]| [*j, *i]).collect();
        assert_eq!(both[once.len()..], reversed);
        for reach in 0..n {
            let near = graph.ordered_pairs(n, true, Some(PairFilter::Sequence(reach))).unwrap();
            let want: Vec<_> = both.iter().filter(|[i, j]| i.abs_diff(*j) <= reach).copied().collect();
            assert_eq!(near, want);
            let near = graph.ordered_pairs(n, true, Some(PairFilter::Cycle(reach))).unwrap();
            let on_circle = |i: usize, j: usize| (0..=reach).any(|o| (i + o) % n == j || (j + o) % n == i);
            if both.iter().flatten().max() == Some(&(n - 1)) {
                let want: Vec<_> = both.iter().filter(|[i, j]| on_circle(*i, *j)).copied().collect();
                assert_eq!(near, want);
            }
        }
    }

    #[test]
    fn complete_and_star_keep_their_order() {
        let pairs = graph("complete").ordered_pairs(3, true, None).unwrap();
        assert_eq!(pairs, [[1, 0], [2, 0], [2, 1], [0, 1], [0, 2], [1, 2]]);
        assert_eq!(graph("oneref-1").ordered_pairs(3, false, None).unwrap(), [[1, 0], [1, 2]]);
    }

    #[test]
    fn graphs_by_similarity_are_not_had_by_order() {
        let few = graph("auto").pairs(10).unwrap();
        assert_eq!(few, graph("complete").pairs(10).unwrap());
        for (text, photos) in [("auto", 11), ("retrieval-3-2", 2)] {
            let error = graph(text).pairs(photos).unwrap_err();
            assert_eq!(error, PairGraphError::NoSimilarity { graph: graph(text), photos });
            assert!(graph(text).needs_similarity(photos) && !graph(text).needs_similarity(1));
        }
        assert_eq!(graph("retrieval-3-2").pairs(1).unwrap(), Vec::<[usize; 2]>::new());
        assert_eq!(graph("retrieval-20-10"), PairGraph::Retrieval { keys: 20, neighbors: 10 });
        assert_eq!(graph("retrieval-20-10").to_string(), "retrieval-20-10");
    }

    #[test]
    fn short_forms_have_their_defaults() {
        assert_eq!(graph("swin"), PairGraph::Window { width: 3, cyclic: true });
        assert_eq!(graph("swin-noncyclic"), PairGraph::Window { width: 3, cyclic: false });
        assert_eq!(graph("logwin"), PairGraph::LogWindow { width: 3, cyclic: true });
        assert_eq!(graph("oneref"), PairGraph::OneReference { reference: 0 });
        assert_eq!("seq2".parse::<PairFilter>().unwrap(), PairFilter::Sequence(2));
        assert_eq!("cyc12".parse::<PairFilter>().unwrap().to_string(), "cyc12");
    }

    #[test]
    fn unknown_names_are_refused_with_the_valid_ones() {
        for text in [
            "",
            "all",
            "swin-",
            "swin-0",
            "swin--1",
            "swin-x",
            "swin-3-cyclic",
            "swin-3-4",
            "complete-3",
            "auto-2",
            "complete-noncyclic",
            "oneref-1-noncyclic",
            "oneref-x",
            "logwin-0-noncyclic",
            "retrieval",
            "retrieval-20",
            "retrieval-20-1-10-1",
            "retrieval-0-10",
            "retrieval-20-0",
            "retrieval-20-x",
            "retrieval--1-2",
            "retrieval-20-10-noncyclic",
            "Swin-3",
        ] {
            let error = text.parse::<PairGraph>().unwrap_err().to_string();
            assert!(
                error.contains("swin-W, logwin-W") && error.ends_with(&format!("got `{text}`")),
                "{error}"
            );
        }
        for text in ["", "seq", "cyc-1", "sequence2", "2"] {
            assert!(text.parse::<PairFilter>().unwrap_err().to_string().contains("seqK or cycK"));
        }
        let error = graph("oneref-4").pairs(3).unwrap_err().to_string();
        assert!(error.contains("below the number of photos 3, got oneref-4"), "{error}");
        assert_eq!(graph("oneref-4").pairs(0), Ok(Vec::new()));
    }
}
