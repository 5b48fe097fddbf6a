//! One task per token: its angles are computed once in f64 and shared by all heads.

use rayon::prelude::*;

pub(super) fn rope2d(x: &mut [f32], positions: &[u32], heads: usize, head_dim: usize, base: f32) {
    let quarter = head_dim / 4;
    if quarter == 0 || heads == 0 {
        return;
    }
    let frequencies: Vec<f64> =
        (0..quarter).map(|i| f64::from(base).powf(-(i as f64) / quarter as f64)).collect();
    x.par_chunks_mut(heads * head_dim).zip(positions.par_chunks(2)).for_each(|(token, position)| {
        let turns: Vec<(f32, f32)> = position
            .iter()
            .flat_map(|&p| frequencies.iter().map(move |w| (f64::from(p) * w).sin_cos()))
            .map(|(sin, cos)| (sin as f32, cos as f32))
            .collect();
        for head in token.chunks_exact_mut(head_dim) {
            for (axis, turns) in turns.chunks_exact(quarter).enumerate() {
                let (u, v) = head[axis * 2 * quarter..][..2 * quarter].split_at_mut(quarter);
                for ((u, v), (sin, cos)) in u.iter_mut().zip(v).zip(turns) {
                    (*u, *v) = (*u * cos - *v * sin, *v * cos + *u * sin);
                }
            }
        }
    });
}
