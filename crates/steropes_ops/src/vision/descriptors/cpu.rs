//! Tasks of [`BLOCK`] pixels, each read once and split into its unit part and its rest.

use rayon::prelude::*;

/// Pixels of a task: about 100 KB of 25 channels, so that a task is long against its hand-over.
const BLOCK: usize = 1024;

/// Partial sums of squares, one vector register of them; a single sum would wait for its own addition.
const LANES: usize = 8;

pub(super) fn descriptors(raw: &[f32], dim: usize, channels: usize) -> (Vec<f32>, Vec<f32>) {
    let pixels = raw.len() / channels;
    let mut unit = vec![0.0f32; pixels * dim];
    let mut rest = vec![0.0f32; pixels * (channels - dim)];
    let mut open = rest.as_mut_slice();
    let tasks: Vec<_> = unit
        .chunks_mut(BLOCK * dim)
        .zip(raw.chunks(BLOCK * channels))
        .map(|(unit, raw)| {
            // Not `chunks_mut`: without further channels the chunks would be of length 0.
            let (rest, after) = std::mem::take(&mut open).split_at_mut(raw.len() / channels * (channels - dim));
            open = after;
            (unit, rest, raw)
        })
        .collect();
    tasks.into_par_iter().for_each(|(unit, rest, raw)| block(raw, channels, unit, dim, rest));
    (unit, rest)
}

fn block(raw: &[f32], channels: usize, unit: &mut [f32], dim: usize, rest: &mut [f32]) {
    let rest_len = channels - dim;
    for (pixel, (raw, unit)) in raw.chunks_exact(channels).zip(unit.chunks_exact_mut(dim)).enumerate() {
        let (vector, others) = raw.split_at(dim);
        let norm = square_sum(vector).sqrt();
        unit.iter_mut().zip(vector).for_each(|(u, v)| *u = v / norm);
        rest[pixel * rest_len..][..rest_len].copy_from_slice(others);
    }
}

fn square_sum(vector: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let mut chunks = vector.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *sum += v * v;
        }
    }
    let tail: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    sums.iter().sum::<f32>() + tail
}
