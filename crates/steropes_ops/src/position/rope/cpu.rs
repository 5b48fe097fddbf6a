//! Ranges of tokens are shared among threads; all heads of a token turn by the same rows of the tables. Halves turn by whole
//! vectors, neighbours in a loop that the compiler makes vectors of.

use super::{RopePairs, Turn};
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use crate::error::values;
use rayon::prelude::*;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// Turns `x`, `[batch, seq, heads, head_dim]`; token `t` of all takes row `rows[t % rows.len()]`.
pub(super) fn rope(x: &mut [f32], shape: &[usize], rows: &[usize], turn: &Turn<'_>) {
    let (head_dim, half) = (shape[3], turn.half());
    if x.is_empty() || half == 0 {
        return;
    }
    let width = shape[2] * head_dim;
    let (cos, sin) = (values(turn.cos), values(turn.sin));
    let (pairs, direction) = (turn.pairs, turn.direction());
    let isa = Isa::current();
    let tokens = (TASK / width).max(1);
    let run = |(task, x): (usize, &mut [f32])| {
        let first = task * tokens;
        isa.run(Tokens { x, first, rows, cos, sin, half, width, head_dim, pairs, direction });
    };
    if x.len() <= TASK {
        x.chunks_mut(tokens * width).enumerate().for_each(run);
    } else {
        x.par_chunks_mut(tokens * width).enumerate().for_each(run);
    }
}

struct Tokens<'a> {
    x: &'a mut [f32],
    /// The first token among all.
    first: usize,
    rows: &'a [usize],
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
    width: usize,
    head_dim: usize,
    pairs: RopePairs,
    direction: f32,
}

impl Kernel for Tokens<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let half = self.half;
        for (i, token) in self.x.chunks_exact_mut(self.width).enumerate() {
            let row = self.rows[(self.first + i) % self.rows.len()];
            let (cos, sin) = (&self.cos[row * half..][..half], &self.sin[row * half..][..half]);
            for head in token.chunks_exact_mut(self.head_dim) {
                match self.pairs {
                    RopePairs::Halves => halves(s, &mut head[..2 * half], cos, sin, self.direction),
                    RopePairs::Neighbours => neighbours(&mut head[..2 * half], cos, sin, self.direction),
                }
            }
        }
    }
}

/// Turns `(head[i], head[i + half])`.
#[inline(always)]
fn halves<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let half = cos.len();
    assert!(head.len() == 2 * half && sin.len() == half, "pairs and their angles");
    let direction = s.splat(direction);
    let (u, cos, sin) = (head.as_mut_ptr(), cos.as_ptr(), sin.as_ptr());
    for i in (0..half).step_by(S::LANES) {
        let count = S::LANES.min(half - i);
        // SAFETY: `count` values from `i` on are inside the tables and both halves.
        unsafe {
            let (pu, pv) = (u.add(i), u.add(half + i));
            let (u, v) = (s.load_part(pu, count, 0.0), s.load_part(pv, count, 0.0));
            let cos = s.load_part(cos.add(i), count, 0.0);
            let sin = s.load_part(sin.add(i), count, 0.0) * direction;
            s.store_part(pu, count, u * cos - v * sin);
            s.store_part(pv, count, v * cos + u * sin);
        }
    }
}

/// Turns `(head[2 i], head[2 i + 1])`.
#[inline(always)]
fn neighbours(head: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (u, v, sin) = (pair[0], pair[1], sin * direction);
        pair[0] = u * cos - v * sin;
        pair[1] = v * cos + u * sin;
    }
}
