//! Plain form, to be replaced by the register tile.

use rayon::prelude::*;

pub(super) struct Extents {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
}

pub(super) fn sdpa(q: &[f32], k: &[f32], v: &[f32], e: &Extents, scale: f32) -> Vec<f32> {
    let width = e.heads * e.head_dim;
    let mut out = vec![0.0; e.batch * e.queries * width];
    out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
        let b = row / e.queries;
        for h in 0..e.heads {
            let head = h * e.head_dim..(h + 1) * e.head_dim;
            let query = &q[row * width..][..width][head.clone()];
            let scores: Vec<f32> = (0..e.keys)
                .map(|j| {
                    let key = &k[(b * e.keys + j) * width..][..width][head.clone()];
                    scale * query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>()
                })
                .collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f32 = weights.iter().sum();
            let out = &mut out[head.clone()];
            for (j, w) in weights.iter().enumerate() {
                let value = &v[(b * e.keys + j) * width..][..width][head.clone()];
                out.iter_mut().zip(value).for_each(|(o, v)| *o += w / sum * v);
            }
        }
    });
    out
}
