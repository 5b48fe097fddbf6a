//! Tokens are shared among threads; all heads of a token turn by the same rows of the tables.

use super::rope3d_axis_width;
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// Turns the heads `some` of every token's `heads` heads. Token `t` of all takes row `t mod rows` of the tables.
pub(super) fn rope3d(
    x: &mut [f32],
    [heads, head_dim]: [usize; 2],
    some: &Range<usize>,
    cos: &[f32],
    sin: &[f32],
) {
    let turned = 3 * rope3d_axis_width(head_dim);
    if x.is_empty() || turned == 0 {
        return;
    }
    let width = heads * head_dim;
    let some = some.start * head_dim..some.end * head_dim;
    let isa = Isa::current();
    let tokens = (TASK / width).max(1);
    let run = |(task, x): (usize, &mut [f32])| {
        let first = task * tokens;
        isa.run(Tokens { x, first, cos, sin, width, head_dim, turned, some: some.clone() });
    };
    if x.len() <= TASK {
        run((0, x));
    } else {
        x.par_chunks_mut(tokens * width).enumerate().for_each(run);
    }
}

struct Tokens<'a> {
    x: &'a mut [f32],
    /// The first token among all.
    first: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    width: usize,
    head_dim: usize,
    /// Values of a head that turn.
    turned: usize,
    /// The values of a token that belong to heads that turn.
    some: Range<usize>,
}

impl Kernel for Tokens<'_> {
    type Output = ();
    // Written for vectors of any length: the compiler makes them of the pairs.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rows = self.cos.len() / self.head_dim;
        for (i, token) in self.x.chunks_exact_mut(self.width).enumerate() {
            let row = (self.first + i) % rows * self.head_dim;
            let (cos, sin) = (&self.cos[row..][..self.turned], &self.sin[row..][..self.turned]);
            for head in token[self.some.clone()].chunks_exact_mut(self.head_dim) {
                let pairs = head[..self.turned].chunks_exact_mut(2);
                for ((pair, cos), sin) in pairs.zip(cos.chunks_exact(2)).zip(sin.chunks_exact(2)) {
                    let (u, v) = (pair[0], pair[1]);
                    pair[0] = u * cos[0] - v * sin[0];
                    pair[1] = v * cos[1] + u * sin[1];
                }
            }
        }
    }
}
