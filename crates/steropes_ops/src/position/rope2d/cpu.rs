//! Sines and cosines once for each position that occurs, in f64; then tokens are shared among threads and all heads of a
//! token turn by the same vectors of them.

use super::Turn;
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// Turns the heads `some` of every token's `heads` heads.
pub(super) fn rope2d(x: &mut [f32], positions: &[i64], heads: usize, some: &Range<usize>, turn: Turn) {
    if x.is_empty() {
        return;
    }
    let width = x.len() / (positions.len() / 2);
    let head_dim = width / heads;
    let some = some.start * head_dim..some.end * head_dim;
    let turns = Turns::new(positions, head_dim / 4, turn);
    let isa = Isa::current();
    let tokens = (TASK / width).max(1);
    let run = |(x, positions): (&mut [f32], &[i64])| {
        isa.run(Tokens { x, positions, turns: &turns, width, some: some.clone() });
    };
    if x.len() <= TASK {
        run((x, positions));
    } else {
        x.par_chunks_mut(tokens * width).zip(positions.par_chunks(tokens * 2)).for_each(run);
    }
}

/// Sines and cosines of every position that occurs.
struct Turns {
    /// The positions, ascending, each once.
    positions: Vec<i64>,
    /// For each: `quarter` cosines, then `quarter` sines.
    values: Vec<f32>,
    quarter: usize,
}

impl Turns {
    fn new(positions: &[i64], quarter: usize, turn: Turn) -> Self {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        let sign = if turn.backwards { -1.0 } else { 1.0 };
        let frequencies: Vec<f64> = (0..quarter).map(|i| sign * turn.frequency(i, quarter)).collect();
        let mut values = Vec::with_capacity(positions.len() * 2 * quarter);
        for &position in &positions {
            let angles = || frequencies.iter().map(|w| position as f64 * w);
            values.extend(angles().map(|a| a.cos() as f32));
            values.extend(angles().map(|a| a.sin() as f32));
        }
        Self { positions, values, quarter }
    }

    /// Cosines and sines of a position.
    fn at(&self, position: i64) -> (&[f32], &[f32]) {
        let index = self.positions.binary_search(&position).expect("the table has every position");
        self.values[index * 2 * self.quarter..][..2 * self.quarter].split_at(self.quarter)
    }
}

struct Tokens<'a> {
    x: &'a mut [f32],
    positions: &'a [i64],
    turns: &'a Turns,
    width: usize,
    /// The values of a token that turn.
    some: Range<usize>,
}

impl Kernel for Tokens<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let quarter = self.turns.quarter;
        for (token, position) in self.x.chunks_exact_mut(self.width).zip(self.positions.chunks_exact(2)) {
            for (axis, &position) in position.iter().enumerate() {
                let (cos, sin) = self.turns.at(position);
                for head in token[self.some.clone()].chunks_exact_mut(4 * quarter) {
                    let (u, v) = head[axis * 2 * quarter..][..2 * quarter].split_at_mut(quarter);
                    turn(s, u, v, cos, sin);
                }
            }
        }
    }
}

/// `(u, v)` becomes `(u cos - v sin, v cos + u sin)`; four slices of one length.
#[inline(always)]
fn turn<S: Simd>(s: S, u: &mut [f32], v: &mut [f32], cos: &[f32], sin: &[f32]) {
    let len = u.len();
    assert!(v.len() == len && cos.len() == len && sin.len() == len, "pairs and their angles");
    let pairs = Pairs { u: u.as_mut_ptr(), v: v.as_mut_ptr(), cos: cos.as_ptr(), sin: sin.as_ptr() };
    let whole = len / S::LANES * S::LANES;
    // SAFETY: every slice has `len` values.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            pairs.turn(s, i, S::LANES);
        }
        if whole < len {
            pairs.turn(s, whole, len - whole);
        }
    }
}

struct Pairs {
    u: *mut f32,
    v: *mut f32,
    cos: *const f32,
    sin: *const f32,
}

impl Pairs {
    /// Turns `count` pairs (at most a vector) from `i` on.
    ///
    /// # Safety
    /// All four must have them.
    #[inline(always)]
    unsafe fn turn<S: Simd>(&self, s: S, i: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let (u, v) = (s.load_part(self.u.add(i), count, 0.0), s.load_part(self.v.add(i), count, 0.0));
            let (cos, sin) =
                (s.load_part(self.cos.add(i), count, 0.0), s.load_part(self.sin.add(i), count, 0.0));
            s.store_part(self.u.add(i), count, u * cos - v * sin);
            s.store_part(self.v.add(i), count, v * cos + u * sin);
        }
    }
}
