//! f64 oracle, from the definition.

/// The sums of `[outer, n, inner]` over `n`.
pub(crate) fn sum(x: &[f64], [outer, n, inner]: [usize; 3]) -> Vec<f64> {
    let mut sums = vec![0.0; outer * inner];
    for o in 0..outer {
        for i in 0..n {
            for c in 0..inner {
                sums[o * inner + c] += x[(o * n + i) * inner + c];
            }
        }
    }
    sums
}
