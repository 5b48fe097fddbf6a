//! Tasks of [`BLOCK`] pixels, each read once and split into its unit part and its rest.

use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
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
            let (rest, after) =
                std::mem::take(&mut open).split_at_mut(raw.len() / channels * (channels - dim));
            open = after;
            (unit, rest, raw)
        })
        .collect();
    let isa = Isa::current();
    tasks.into_par_iter().for_each(|(unit, rest, raw)| isa.run(Block { raw, channels, unit, dim, rest }));
    (unit, rest)
}

struct Block<'a> {
    raw: &'a [f32],
    channels: usize,
    unit: &'a mut [f32],
    dim: usize,
    rest: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rest_len = self.channels - self.dim;
        let pixels = self.raw.chunks_exact(self.channels).zip(self.unit.chunks_exact_mut(self.dim));
        for (pixel, (raw, unit)) in pixels.enumerate() {
            let (vector, others) = raw.split_at(self.dim);
            let norm = square_sum(vector).sqrt();
            for (u, v) in unit.iter_mut().zip(vector) {
                *u = v / norm;
            }
            self.rest[pixel * rest_len..][..rest_len].copy_from_slice(others);
        }
    }
}

#[inline(always)]
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
