//! `[outer, n, inner]`: parts of fixed extents, each summed in f64 by one thread, then the parts of a result in their order.

use crate::cpu::lanes::Real;
use rayon::prelude::*;

/// Values in a part, so that taking it from the queue costs little beside it.
const PART: usize = 1 << 16;
/// Results of a part: their sums stay in L1.
const PART_INNER: usize = 2048;
/// Sums that run side by side where neighbours are summed.
const LANES: usize = 16;

pub(super) fn sum<T: Real>(x: &[T], [outer, n, inner]: [usize; 3]) -> Vec<T> {
    if outer * inner == 0 {
        return Vec::new();
    }
    let width = inner.min(PART_INNER);
    let rows = (PART / width).max(1);
    let parts = n.div_ceil(rows).max(1);
    // [outer, parts, inner]
    let mut sums = vec![0.0f64; outer * parts * inner];
    let part = |(line, sums): (usize, &mut [f64])| {
        let (o, p) = (line / parts, line % parts);
        let block = &x[o * n * inner..][..n * inner];
        let range = p * rows..n.min((p + 1) * rows);
        if inner == 1 {
            sums[0] = sum_of(&block[range]);
        } else {
            for (c, sums) in sums.chunks_mut(width).enumerate() {
                for i in range.clone() {
                    let values = &block[i * inner + c * width..][..sums.len()];
                    sums.iter_mut().zip(values).for_each(|(s, &v)| *s += wide(v));
                }
            }
        }
    };
    if x.len() <= PART {
        sums.chunks_mut(inner).enumerate().for_each(part);
    } else {
        let least = (PART / (rows.min(n).max(1) * inner)).max(1);
        sums.par_chunks_mut(inner).enumerate().with_min_len(least).for_each(part);
    }
    let mut results = Vec::with_capacity(outer * inner);
    for parts in sums.chunks_exact(parts * inner) {
        results.extend((0..inner).map(|i| T::of(parts.iter().skip(i).step_by(inner).sum())));
    }
    results
}

fn wide<T: Real>(value: T) -> f64 {
    value.to_f64().expect("f32 and f64 are numbers of f64")
}

fn sum_of<T: Real>(values: &[T]) -> f64 {
    let mut sums = [0.0; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        sums.iter_mut().zip(chunk).for_each(|(s, &v)| *s += wide(v));
    }
    sums.iter_mut().zip(chunks.remainder()).for_each(|(s, &v)| *s += wide(v));
    sums.iter().sum()
}
