//! Queries in lanes, rows broadcast from where they lie; tasks of (a few panels of queries) x (a range of rows).
//!
//! Every task finds the best of its range; the bests of a query are merged in the order of the ranges by a
//! strict comparison, so the split, which depends on the number of threads, cannot change the answer.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exact;
mod filter;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use super::{Metric, Search};
use crate::cpu::Isa;
use rayon::prelude::*;
use std::ops::Range;

/// What a database keeps for the kernels.
#[derive(Debug)]
pub(super) struct Prepared {
    depth: usize,
    metric: Metric,
    isa: Isa,
    filter: Option<filter::Rows>,
}

impl Prepared {
    pub(super) fn new(rows: &[f32], depth: usize, metric: Metric) -> Self {
        let isa = Isa::current();
        let filter = match metric {
            Metric::Dot => filter::Rows::new(rows, depth, isa),
            Metric::Euclidean => None,
        };
        Self { depth, metric, isa, filter }
    }
}

/// The best row of a range for one query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Best {
    score: f32,
    index: u32,
}

impl Best {
    /// Nothing found yet; also the answer if no score is above minus infinity.
    const NONE: Self = Self { score: f32::NEG_INFINITY, index: 0 };

    /// Takes `other`, which comes later in the order of the rows, if it is better.
    fn merge(&mut self, other: Self) {
        if other.score > self.score {
            *self = other;
        }
    }
}

/// What a search cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// (query, block of rows) pairs that the filter looked at.
    seen: u64,
    /// Those among them whose scores had to be evaluated.
    rechecked: u64,
    /// Whether a task ended in the exact kernel because the filter did not pay.
    pub(super) gave_up: bool,
}

impl Work {
    pub(super) fn rechecked_share(&self) -> Option<f64> {
        (self.seen > 0).then(|| self.rechecked as f64 / self.seen as f64)
    }

    fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.rechecked += other.rechecked;
        self.gave_up |= other.gave_up;
    }
}

/// A group of queries against a range of rows.
#[derive(Clone, Copy)]
struct Pass<'a> {
    /// `[queries][depth]`.
    queries: &'a [f32],
    /// `[rows][depth]`, the whole database.
    rows: &'a [f32],
    depth: usize,
    metric: Metric,
    start: usize,
    end: usize,
}

/// Queries per task at most and at least, whole panels where a panel is 16 or 32 wide. Many, so that a chunk of rows
/// in L1 is used several times, but few enough to keep all threads busy to the end.
const GROUP: [usize; 2] = [32, 256];
/// Rows per task at least; packing the queries costs as much as about 20 rows.
const RANGE: usize = 8192;

/// The index of the best row for each query.
pub(super) fn search(queries: &[f32], rows: &[f32], prepared: &Prepared, search: Search) -> (Vec<u32>, Work) {
    let depth = prepared.depth;
    let count = queries.len() / depth;
    let tasks = tasks(count, rows.len() / depth, rayon::current_num_threads());
    let found: Vec<(Vec<Best>, Work)> = tasks
        .par_iter()
        .map(|(group, range)| {
            let pass = Pass {
                queries: &queries[group.start * depth..group.end * depth],
                rows,
                depth,
                metric: prepared.metric,
                start: range.start,
                end: range.end,
            };
            match &prepared.filter {
                Some(filter) if search != Search::Exact => {
                    filter.best_rows(&pass, prepared.isa, search == Search::Auto)
                }
                _ => (exact::best_rows(&pass, prepared.isa), Work::default()),
            }
        })
        .collect();

    let mut best = vec![Best::NONE; count];
    let mut work = Work::default();
    for ((group, _), (part, cost)) in tasks.iter().zip(found) {
        for (best, part) in best[group.clone()].iter_mut().zip(part) {
            best.merge(part);
        }
        work.add(cost);
    }
    (best.into_iter().map(|b| b.index).collect(), work)
}

/// Groups of queries times ranges of rows, the ranges of a group in ascending order; about four tasks per
/// thread, so that a thread that was interrupted does not keep the others waiting. Rows are cut only if there are too few
/// queries, because in each range the filter has to find a good score anew.
fn tasks(queries: usize, rows: usize, threads: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let wanted = if threads == 1 { 1 } else { 4 * threads };
    let [least, most] = GROUP;
    let group = queries.div_ceil(wanted).next_multiple_of(least).clamp(least, most);
    let groups = queries.div_ceil(group);
    let ranges = wanted.div_ceil(groups.max(1)).clamp(1, rows.div_ceil(RANGE));
    let step = rows.div_ceil(ranges);
    (0..groups)
        .flat_map(|g| {
            let queries = g * group..((g + 1) * group).min(queries);
            (0..ranges)
                .map(move |r| (queries.clone(), (r * step).min(rows)..((r + 1) * step).min(rows)))
                .filter(|(_, range)| !range.is_empty())
        })
        .collect()
}

/// The score of one row, the definition that every form repeats operation by operation.
#[inline(always)]
fn score(metric: Metric, query: &[f32], row: &[f32]) -> f32 {
    let pairs = query.iter().zip(row);
    match metric {
        Metric::Dot => pairs.fold(0.0, |sum, (q, k)| k.mul_add(*q, sum)),
        Metric::Euclidean => pairs.fold(0.0, |sum, (q, k)| {
            let difference = q - k;
            (-difference).mul_add(difference, sum)
        }),
    }
}

/// 64 bytes on a cache line of their own, so that vector loads of packed queries never cross one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<T>([T; 16]);

/// Zeros in whole cache lines.
struct Lines<T>(Vec<Line<T>>);

impl<T: Copy + Default> Lines<T> {
    fn zeros(len: usize) -> Self {
        Self(vec![Line([T::default(); 16]); len.div_ceil(16)])
    }

    fn slot(&mut self, i: usize) -> &mut T {
        &mut self.0[i / 16].0[i % 16]
    }

    fn as_ptr(&self) -> *const T {
        self.0.as_ptr().cast()
    }
}
