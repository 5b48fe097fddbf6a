//! Bands of 16 rows of the result, which read whole cache lines; bands are shared among threads.

use crate::cpu::lanes::Real;
use rayon::prelude::*;

/// Rows of a band: a cache line of f32.
const BAND: usize = 16;
/// Values below which one thread is enough.
const LEAST_PARALLEL: usize = 1 << 15;

pub(super) fn transpose<T: Real>(x: &[T], [rows, columns]: [usize; 2]) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    if x.is_empty() {
        return y;
    }
    let bands = columns.div_ceil(BAND);
    let band = |(line, y): (usize, &mut [T])| {
        let first = line % bands * BAND;
        let x = &x[line / bands * rows * columns..][..rows * columns];
        for block in (0..rows).step_by(BAND) {
            for (c, y) in y.chunks_exact_mut(rows).enumerate() {
                for r in block..rows.min(block + BAND) {
                    y[r] = x[r * columns + first + c];
                }
            }
        }
    };
    let matrices = y.chunks_mut(rows * columns);
    let mut all: Vec<(usize, &mut [T])> =
        matrices.flat_map(|matrix| matrix.chunks_mut(BAND * rows)).enumerate().collect();
    if x.len() <= LEAST_PARALLEL {
        all.into_iter().for_each(band);
    } else {
        let least = (LEAST_PARALLEL / (BAND * rows)).max(1);
        all.par_drain(..).with_min_len(least).for_each(band);
    }
    y
}
