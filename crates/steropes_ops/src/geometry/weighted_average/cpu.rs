//! Ranges of elements are shared among threads; each adds view after view.

use rayon::prelude::*;

/// Elements in a task: few enough that sums and weights stay in the first cache.
const TASK: usize = 1024;

/// Averages and sums of `elements` elements; `shape` is views, elements, channels.
pub(super) fn weighted_average(
    x: &[f32],
    weights: &[f32],
    [views, elements, channels]: [usize; 3],
    fill: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (mut mean, mut sum) = (vec![0.0; elements * channels], vec![0.0; elements]);
    mean.par_chunks_mut(TASK * channels).zip(sum.par_chunks_mut(TASK)).enumerate().for_each(
        |(task, (mean, sum))| {
            let first = task * TASK;
            for view in 0..views {
                let at = view * elements + first;
                let (x, weights) = (&x[at * channels..][..mean.len()], &weights[at..][..sum.len()]);
                let rows = mean.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
                for ((mean, x), (sum, &w)) in rows.zip(sum.iter_mut().zip(weights)) {
                    if w > 0.0 && w < f32::INFINITY {
                        *sum += w;
                        for (mean, x) in mean.iter_mut().zip(x) {
                            *mean += w * x;
                        }
                    }
                }
            }
            for (mean, sum) in mean.chunks_exact_mut(channels).zip(sum) {
                for mean in mean {
                    *mean = if *sum > 0.0 { *mean / *sum } else { fill };
                }
            }
        },
    );
    (mean, sum)
}
