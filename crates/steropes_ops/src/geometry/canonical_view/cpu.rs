//! Rows of blocks are shared among threads. Each pixel keeps its seven sums side by side, so that one pair is
//! one pass over memory.

use super::RelativeDepth;
use rayon::prelude::*;

/// `w`, `w^2`, `w x`, `w y`, `w z`, `w a`, `r`, with `a` the angle or the ratio.
pub(super) const SUMS: usize = 7;

pub(super) fn add(
    sums: &mut [[f32; SUMS]],
    points: &[f32],
    confidence: &[f32],
    (width, subsample): (usize, usize),
    mode: RelativeDepth,
) {
    let rows = width * subsample;
    let blocks = sums.par_chunks_mut(rows).zip(points.par_chunks(3 * rows)).zip(confidence.par_chunks(rows));
    blocks.for_each(|((sums, points), confidence)| {
        for (i, (s, c)) in sums.iter_mut().zip(confidence).enumerate() {
            let p = &points[3 * i..3 * i + 3];
            let anchor = 3 * anchor_in_row(i % width, width, subsample);
            let q = &points[anchor..anchor + 3];
            // In f64: confidences near 1 would lose digits.
            let w = (f64::from(*c) - 0.999) as f32;
            let z = q[2].max(f32::EPSILON);
            let (dx, dy) = (p[0] - q[0], p[1] - q[1]);
            let r = (dx * dx + dy * dy).sqrt().max(1e-8);
            let a = match mode {
                RelativeDepth::AverageAngle => ((p[2] - z) / r).atan(),
                RelativeDepth::AverageRatio => p[2] / z,
            };
            for (s, v) in s.iter_mut().zip([w, w * w, w * p[0], w * p[1], w * p[2], w * a, r]) {
                *s += v;
            }
        }
    });
}

pub(super) fn finish(
    sums: &[[f32; SUMS]],
    pairs: usize,
    (width, subsample): (usize, usize),
    mode: RelativeDepth,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let rows = width * subsample;
    let mut points = vec![0.0f32; 3 * sums.len()];
    let mut relative = vec![0.0f32; sums.len()];
    let mut confidence = vec![0.0f32; sums.len()];
    let out = points
        .par_chunks_mut(3 * rows)
        .zip(relative.par_chunks_mut(rows))
        .zip(confidence.par_chunks_mut(rows));
    out.zip(sums.par_chunks(rows)).for_each(|(((points, relative), confidence), sums)| {
        for (i, s) in sums.iter().enumerate() {
            let [w, w2, x, y, z, a, r] = s.map(f64::from);
            let anchor = &sums[anchor_in_row(i % width, width, subsample)];
            for (p, v) in points[3 * i..3 * i + 3].iter_mut().zip([x, y, z]) {
                *p = (v / w) as f32;
            }
            confidence[i] = (w2 / w) as f32;
            let anchor_z = f64::from(anchor[4]) / f64::from(anchor[0]);
            relative[i] = match mode {
                RelativeDepth::AverageAngle => 1.0 + r / pairs as f64 * (a / w).tan() / anchor_z,
                RelativeDepth::AverageRatio => a / w,
            } as f32;
        }
    });
    (points, relative, confidence)
}

/// Index of the anchor of column `x` within its row of blocks.
fn anchor_in_row(x: usize, width: usize, subsample: usize) -> usize {
    subsample / 2 * width + x / subsample * subsample + subsample / 2
}
