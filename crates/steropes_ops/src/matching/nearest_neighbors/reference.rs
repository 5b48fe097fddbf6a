//! The formula in f64.

use super::Metric;

/// The score of a row, in f64.
pub(super) fn score(metric: Metric, query: &[f32], row: &[f32]) -> f64 {
    let pairs = query.iter().zip(row).map(|(&q, &k)| (f64::from(q), f64::from(k)));
    match metric {
        Metric::Dot => pairs.map(|(q, k)| q * k).sum(),
        Metric::Euclidean => -pairs.map(|(q, k)| (q - k) * (q - k)).sum::<f64>(),
    }
}

/// The first row with the largest score, for each query; 0 where no score is above minus infinity.
pub(super) fn nearest_neighbors(metric: Metric, queries: &[f32], rows: &[f32], depth: usize) -> Vec<u32> {
    let mut nearest = Vec::new();
    for query in queries.chunks_exact(depth) {
        let mut best = (f64::NEG_INFINITY, 0);
        for (j, row) in rows.chunks_exact(depth).enumerate() {
            let score = score(metric, query, row);
            if score > best.0 {
                best = (score, j as u32);
            }
        }
        nearest.push(best.1);
    }
    nearest
}
