//! One task per head and range of queries. A block of queries meets the keys in steps: scores, running maximum and sum, weights
//! in the place of the scores, then the weights times the values. Only one step of scores exists at a time. In f32 a block is
//! a register tile, whose scores stay in L1; for products of bf16 ([`pairs`]) it is larger.

mod pairs;

use super::{Arguments, Extents, Heads};
use crate::attention::rows::Rows;
use crate::cpu::Isa;
use crate::cpu::math::{exp, exp2_weight};
use crate::cpu::pack::{AlignedVec, pack_column_panel, pack_rows, packed_len};
use crate::cpu::pairs::PairUnit;
use crate::cpu::product::Output;
use crate::cpu::simd::{Kernel, Lane, Place, Simd};
use crate::error::values;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Keys in a step, a multiple of every tile's columns: a tile's rows of scores are 21 KB, which L1 holds.
const STEP: usize = 384;
/// Row length of the scores: a power of two would put all rows into the same cache sets.
const SCORE_ROW: usize = STEP + 16;
/// Tasks for each thread, so that unequal cores finish together.
const TASKS_PER_THREAD: usize = 3;
/// Queries below which packing the keys and values of a head again costs more than it gains.
const LEAST_TASK_QUERIES: usize = 64;
/// Multiply-adds below which handing work to other threads costs more than it saves (about 10 µs of one core).
const LEAST_PARALLEL_WORK: usize = 1 << 19;

struct Inputs<'a> {
    q: Side<'a>,
    k: Side<'a>,
    v: Side<'a>,
    extents: Extents,
    scale: f32,
}

/// Values `[batch, tokens, all heads, head_dim]`.
#[derive(Clone, Copy)]
struct Side<'a> {
    values: &'a [f32],
    /// Values of a token, and those before the first of the heads meant.
    token: usize,
    before: usize,
}

impl<'a> Side<'a> {
    fn new(heads: &Heads<'a>) -> Self {
        Self { values: values(heads.tensor), token: heads.token(), before: heads.before() }
    }

    fn head(self, tokens: usize, head_dim: usize, [batch, head]: [usize; 2]) -> Rows<'a> {
        let first = batch * tokens * self.token + self.before + head * head_dim;
        Rows::of_head(self.values, first, tokens, [self.token, head_dim])
    }
}

/// Products as pairs of bf16 if there is a unit.
pub(super) fn sdpa(arguments: &Arguments<'_>, extents: Extents, unit: Option<PairUnit>) -> Vec<f32> {
    let Arguments { q, k, v, scale } = arguments;
    let Extents { batch, queries, keys, heads, head_dim } = extents;
    let len = batch * queries * heads * head_dim;
    if len == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(len);
    let target = Output(out.as_mut_ptr());
    let inputs = Inputs { q: Side::new(q), k: Side::new(k), v: Side::new(v), extents, scale: *scale };
    let isa = Isa::current();
    let threads = if len * keys < LEAST_PARALLEL_WORK { 1 } else { rayon::current_num_threads() };
    let pieces = (threads * TASKS_PER_THREAD).div_ceil(batch * heads);
    let pieces = if threads == 1 { 1 } else { pieces.clamp(1, (queries / LEAST_TASK_QUERIES).max(1)) };
    // Whole blocks, so that only the last range has a partial one.
    let block = unit.map_or_else(|| isa.run(TileRows), pairs::block_rows);
    let step = queries.div_ceil(pieces).next_multiple_of(block);
    let run = |task: usize| {
        let pieces = queries.div_ceil(step);
        let (head, first) = (task / pieces, task % pieces * step);
        let queries = first..queries.min(first + step);
        let (batch, head) = (head / heads, head % heads);
        let part = Part { inputs: &inputs, batch, head, queries, out: target };
        SCRATCH.with_borrow_mut(|scratch| match unit {
            Some(unit) => isa.run(pairs::HeadKernel { part, isa, unit, scratch }),
            None => isa.run(HeadKernel { part, scratch }),
        });
    };
    let tasks = batch * heads * queries.div_ceil(step);
    if threads == 1 {
        (0..tasks).for_each(run);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(run);
    }
    // SAFETY: the capacity was reserved, and the tasks cover every query of every head.
    unsafe { out.set_len(len) };
    out
}

/// Asks an instruction set for the rows of its tile.
struct TileRows;

impl Kernel for TileRows {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_ROWS
    }
}

/// Memory that a thread keeps from task to task.
#[derive(Default)]
struct Scratch {
    keys: AlignedVec,
    values: AlignedVec,
    queries: AlignedVec,
    scores: AlignedVec,
    /// Weights that were rounded.
    weights: AlignedVec,
    sums: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Some queries of one head.
struct Part<'a> {
    inputs: &'a Inputs<'a>,
    batch: usize,
    head: usize,
    queries: Range<usize>,
    out: Output,
}

impl<'a> Part<'a> {
    fn queries(&self) -> Rows<'a> {
        let Inputs { q, extents: e, .. } = *self.inputs;
        q.head(e.queries, e.head_dim, [self.batch, self.head])
    }

    fn keys_and_values(&self) -> [Rows<'a>; 2] {
        let Inputs { k, v, extents: e, .. } = *self.inputs;
        [k, v].map(|side| side.head(e.keys, e.head_dim, [self.batch, self.head]))
    }

    /// Writes rows of sums, `width` values each, over those of the weights to queries `first ..`.
    #[inline(always)]
    fn write<S: Simd>(&self, s: S, first: usize, rows: usize, sums: &[f32], width: usize, running: &Running) {
        let e = self.inputs.extents;
        let row = (self.batch * e.queries + first) * e.heads + self.head;
        for r in 0..rows {
            // SAFETY: this task alone writes these rows of this head, `head_dim` values each.
            unsafe {
                let out = self.out.0.add((row + r * e.heads) * e.head_dim);
                write_row(s, &sums[r * width..], 1.0 / running.sum[r], out, e.head_dim);
            }
        }
    }
}

struct HeadKernel<'a> {
    part: Part<'a>,
    scratch: &'a mut Scratch,
}

/// Most rows of a block.
const MAX_ROWS: usize = 64;

/// The running maximum and sum of each row of a block. The maximum is that of the scaled scores.
struct Running {
    largest: [f32; MAX_ROWS],
    sum: [f32; MAX_ROWS],
}

impl Running {
    const START: Self = Self { largest: [f32::NEG_INFINITY; MAX_ROWS], sum: [0.0; MAX_ROWS] };
}

impl Kernel for HeadKernel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { part, scratch } = self;
        let Inputs { extents: Extents { keys, head_dim, .. }, scale, .. } = *part.inputs;
        let (q, [key_head, value_head]) = (part.queries(), part.keys_and_values());
        let padded_keys = keys.next_multiple_of(S::TILE_COLUMNS);
        let padded_dim = head_dim.next_multiple_of(S::TILE_COLUMNS);
        let packed_keys = scratch.keys.reserve_len(padded_keys * head_dim);
        for first in (0..padded_keys).step_by(S::TILE_COLUMNS) {
            pack_column_panel(s, &key_head, first, &mut packed_keys[first * head_dim..]);
        }
        let packed_values = scratch.values.reserve_len(padded_keys * padded_dim);
        pack_values(s, &value_head, packed_values);
        let packed_queries = scratch.queries.reserve_len(packed_len::<S>(S::TILE_ROWS, head_dim));
        let scores = scratch.scores.reserve_len(S::TILE_ROWS * SCORE_ROW);
        let sums = scratch.sums.reserve_len(S::TILE_ROWS * padded_dim);
        for first in part.queries.clone().step_by(S::TILE_ROWS) {
            let rows = S::TILE_ROWS.min(part.queries.end - first);
            pack_rows(s, &q, first, rows, packed_queries);
            let mut running = Running::START;
            for first_key in (0..keys).step_by(STEP) {
                let step = STEP.min(keys - first_key);
                let key_panels = &packed_keys[first_key * head_dim..];
                scores_of(s, packed_queries, key_panels, head_dim, step, scores);
                let sums_so_far = (first_key > 0).then_some(&mut *sums);
                weigh(s, S::TILE_ROWS, scores, step, scale, &mut running, sums_so_far);
                // Padding takes part with the scores of zero keys as weights, of which zero values make nothing.
                let depth = step.next_multiple_of(S::TILE_COLUMNS);
                for c in (0..padded_dim).step_by(S::TILE_COLUMNS) {
                    let panel = &packed_values[c * padded_keys + first_key * S::TILE_COLUMNS..];
                    assert!(panel.len() >= depth * S::TILE_COLUMNS, "a step of values");
                    let start = sums[c..].as_mut_ptr();
                    let place = Place { start, stride: padded_dim, accumulate: first_key > 0 };
                    // SAFETY: the panel was checked; scores and sums have a tile's rows.
                    unsafe { s.tile_strided::<SCORE_ROW>(depth, scores.as_ptr(), panel.as_ptr(), place) };
                }
            }
            part.write(s, first, rows, sums, padded_dim, &running);
        }
    }
}

/// Values as `[head_dim / C][keys][C]`, zeros for the padding of both.
#[inline(always)]
fn pack_values<S: Simd>(s: S, values: &Rows<'_>, out: &mut [f32]) {
    let padded_keys = values.rows.next_multiple_of(S::TILE_COLUMNS);
    for token in 0..padded_keys {
        for c in (0..values.len.next_multiple_of(S::TILE_COLUMNS)).step_by(S::LANES) {
            let count = S::LANES.min(values.len.saturating_sub(c));
            let at = c / S::TILE_COLUMNS * padded_keys * S::TILE_COLUMNS;
            let room = &mut out[at + token * S::TILE_COLUMNS + c % S::TILE_COLUMNS..][..S::LANES];
            let x = if token >= values.rows || count == 0 {
                s.splat(0.0)
            } else {
                let from = &values.row(token)[c..][..count];
                // SAFETY: `from` has `count` values.
                unsafe { s.load_part(from.as_ptr(), count, 0.0) }
            };
            // SAFETY: the room is a vector.
            unsafe { s.store(room.as_mut_ptr(), x) };
        }
    }
}

/// Unscaled scores of a tile's rows against a step of keys.
#[inline(always)]
fn scores_of<S: Simd>(s: S, queries: &[f32], keys: &[f32], head_dim: usize, step: usize, scores: &mut [f32]) {
    let panels = step.div_ceil(S::TILE_COLUMNS);
    assert!(queries.len() >= S::TILE_ROWS * head_dim, "packed queries");
    assert!(keys.len() >= panels * S::TILE_COLUMNS * head_dim, "packed keys");
    assert!(scores.len() >= S::TILE_ROWS * SCORE_ROW && step <= STEP, "room for the scores");
    for panel in 0..panels {
        // SAFETY: the lengths were checked above.
        unsafe {
            let b = keys.as_ptr().add(panel * S::TILE_COLUMNS * head_dim);
            let start = scores.as_mut_ptr().add(panel * S::TILE_COLUMNS);
            s.tile_packed(
                head_dim,
                queries.as_ptr(),
                b,
                Place { start, stride: SCORE_ROW, accumulate: false },
            );
        }
    }
}

/// Replaces scores by weights `e^(scale score - maximum)`, except in the padding, and brings the running maximum and sum
/// up to date. `sums`, weighted with the old maximum, shrink to the new one.
#[inline(always)]
fn weigh<S: Simd>(
    s: S,
    rows: usize,
    scores: &mut [f32],
    step: usize,
    scale: f32,
    running: &mut Running,
    sums: Option<&mut [f32]>,
) {
    let mut shrink = running.largest;
    for r in 0..rows {
        let row = &scores[r * SCORE_ROW..][..step];
        running.largest[r] = running.largest[r].max(largest_scaled(s, row, scale));
        shrink[r] -= running.largest[r];
    }
    // All rows in one vector or a few: an exponential per row would cost more than it looks.
    for r in (0..rows).step_by(S::LANES) {
        let part = &mut shrink[r..][..S::LANES];
        // SAFETY: a vector of `shrink`.
        unsafe { s.store(part.as_mut_ptr(), exp(s, s.load(part.as_ptr()))) };
    }
    for r in 0..rows {
        let row = &mut scores[r * SCORE_ROW..][..step];
        let sum = weights_in_place(s, row, scale, running.largest[r]);
        running.sum[r] = running.sum[r] * shrink[r] + sum;
    }
    if let Some(sums) = sums {
        let width = sums.len() / rows;
        for r in 0..rows {
            // Most steps do not raise the maximum.
            if shrink[r] == 1.0 {
                continue;
            }
            let row = &mut sums[r * width..][..width];
            let factor = s.splat(shrink[r]);
            for c in (0..width).step_by(S::LANES) {
                let part = &mut row[c..][..S::LANES];
                // SAFETY: a vector of the row, whose width is a multiple of it.
                unsafe { s.store(part.as_mut_ptr(), s.load(part.as_ptr()) * factor) };
            }
        }
    }
}

/// The largest of `scale score`; for a negative scale that belongs to the smallest score.
#[inline(always)]
fn largest_scaled<S: Simd>(s: S, row: &[f32], scale: f32) -> f32 {
    let factor = s.splat(scale);
    let mut largest = [s.splat(f32::NEG_INFINITY); 2];
    let pairs = row.len() / (2 * S::LANES) * 2 * S::LANES;
    for c in (0..pairs).step_by(2 * S::LANES) {
        // SAFETY: two vectors of the row.
        unsafe {
            largest[0] = largest[0].max(s.load(row.as_ptr().add(c)) * factor);
            largest[1] = largest[1].max(s.load(row.as_ptr().add(c + S::LANES)) * factor);
        }
    }
    let mut result = largest[0].max(largest[1]).largest();
    for c in (pairs..row.len()).step_by(S::LANES) {
        let rest = &row[c..];
        // SAFETY: the rest of the row, at least one value.
        let x = unsafe { s.load_part(rest.as_ptr(), rest.len().min(S::LANES), rest[0]) };
        result = result.max((x * factor).largest());
    }
    result
}

/// `e^(scale score - largest)` in place of a row of scores; returns their sum.
#[inline(always)]
fn weights_in_place<S: Simd>(s: S, row: &mut [f32], scale: f32, largest: f32) -> f32 {
    // e^x = 2^(x log2 e), with the factor folded into the multiply-add.
    let factor = s.splat(scale * std::f32::consts::LOG2_E);
    let shift = s.splat(-largest * std::f32::consts::LOG2_E);
    let mut sum = s.splat(0.0);
    let whole = row.len() / S::LANES * S::LANES;
    for c in (0..whole).step_by(S::LANES) {
        // SAFETY: a vector of the row.
        unsafe {
            let p = row.as_mut_ptr().add(c);
            let weight = exp2_weight(s, s.load(p).mul_add(factor, shift));
            sum = sum + weight;
            s.store(p, weight);
        }
    }
    if whole < row.len() {
        let count = row.len() - whole;
        // SAFETY: `count` values of the row.
        unsafe {
            let p = row.as_mut_ptr().add(whole);
            s.store_part(p, count, exp2_weight(s, s.load_part(p, count, 0.0).mul_add(factor, shift)));
            sum = sum + s.load_part(p, count, 0.0);
        }
    }
    sum.sum()
}

/// A row of sums times `factor` as `head_dim` values of the output.
///
/// # Safety
/// `out` must be writable for `head_dim` values.
#[inline(always)]
unsafe fn write_row<S: Simd>(s: S, sums: &[f32], factor: f32, out: *mut f32, head_dim: usize) {
    let factor = s.splat(factor);
    for c in (0..head_dim).step_by(S::LANES) {
        let count = S::LANES.min(head_dim - c);
        let part = &sums[c..][..S::LANES];
        // SAFETY: `part` is a vector, and the caller vouches for `out`.
        unsafe {
            s.store_part(out.add(c), count, s.load(part.as_ptr()) * factor);
        }
    }
}
