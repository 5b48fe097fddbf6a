//! One task per head and range of queries, for the gradients of keys and values per head of those and range of keys. The other side is
//! packed once in a task. A block of a register tile's rows meets it in steps: scores, weights in their place, then weights times rows. Only
//! one step of scores exists at a time.

use super::{Attended, Bands, Extents, Mask, Problem};
use crate::attention::rows::Rows;
use crate::cpu::Isa;
use crate::cpu::math::exp2_weight;
use crate::cpu::pack::{AlignedVec, pack_column_panel, pack_rows, packed_len};
use crate::cpu::product::Output;
use crate::cpu::simd::{Kernel, Lane, MAX_TILE_ROWS, Place, Simd};
use crate::error::values;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Tokens in a step, a multiple of every tile's columns.
const STEP: usize = 384;
/// Row length of the scores: a power of two would put all rows into the same cache sets.
const SCORE_ROW: usize = STEP + 16;
/// Tasks for each thread, so that unequal cores and unequal parts of a causal mask finish together.
const TASKS_PER_THREAD: usize = 4;
/// Rows below which packing the other side again costs more than it gains.
const LEAST_TASK_ROWS: usize = 64;
/// Multiply-adds below which handing work to other threads costs more than it saves.
const LEAST_PARALLEL_WORK: usize = 1 << 19;
/// What a weight has at least, as a power of two.
const LEAST_WEIGHT: f32 = -126.0;

struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    mask: Mask<'a>,
    problem: &'a Problem<'a>,
    e: Extents,
}

impl<'a> Inputs<'a> {
    fn new(problem: &'a Problem<'a>) -> Self {
        let [q, k, v] = [problem.q, problem.k, problem.v].map(values);
        Self { q, k, v, mask: problem.mask, problem, e: problem.extents }
    }

    /// A head of what is shaped as the queries.
    fn query_rows(&self, values: &'a [f32], batch: usize, head: usize) -> Rows<'a> {
        self.rows(values, [self.e.queries, self.e.heads], [batch, head])
    }

    /// A head of what is shaped as the keys.
    fn key_rows(&self, values: &'a [f32], batch: usize, head: usize) -> Rows<'a> {
        self.rows(values, [self.e.keys, self.e.kv_heads], [batch, head])
    }

    fn rows(&self, values: &'a [f32], [tokens, heads]: [usize; 2], [batch, head]: [usize; 2]) -> Rows<'a> {
        let d = self.e.head_dim;
        Rows::of_head(values, (batch * tokens * heads + head) * d, tokens, [heads * d, d])
    }

    /// The keys that some queries may attend to.
    fn keys_of(&self, queries: &Range<usize>) -> Range<usize> {
        match (self.mask, self.problem.bands) {
            (Mask::Causal, _) => 0..self.e.keys.min(queries.end),
            (_, Some(bands)) => Bands::together(&bands.of_queries, queries.clone()),
            _ => 0..self.e.keys,
        }
    }

    /// The queries that may attend to some keys.
    fn queries_of(&self, keys: &Range<usize>) -> Range<usize> {
        match (self.mask, self.problem.bands) {
            (Mask::Causal, _) => keys.start.min(self.e.queries)..self.e.queries,
            (_, Some(bands)) => Bands::together(&bands.of_keys, keys.clone()),
            _ => 0..self.e.queries,
        }
    }

    /// Scales what a band of tokens has, from `first` on, and closes what is outside.
    #[inline(always)]
    fn mask_band(&self, [from, to]: [u32; 2], first: usize, row: &mut [f32]) {
        let [from, to] = [from, to].map(|token| (token as usize).saturating_sub(first).min(row.len()));
        row[..from].fill(f32::NEG_INFINITY);
        row[from..to].iter_mut().for_each(|x| *x *= self.problem.scale);
        row[to..].fill(f32::NEG_INFINITY);
    }

    fn bands(&self) -> &Bands {
        self.problem.bands.expect("sequences have bands")
    }

    /// Elements of the mask before those of a head.
    fn mask_start(&self, batch: usize, head: usize) -> usize {
        batch * self.problem.layout.batch + head * self.problem.layout.head
    }

    /// The scores of the query and `row.len()` keys from `first_key` on, scaled, with the mask.
    #[inline(always)]
    fn mask_query(&self, mask_start: usize, query: usize, first_key: usize, row: &mut [f32]) {
        let scale = self.problem.scale;
        let start = mask_start + query * self.problem.layout.query + first_key;
        match self.mask {
            Mask::None => row.iter_mut().for_each(|x| *x *= scale),
            Mask::Causal => {
                let visible = (query + 1).saturating_sub(first_key).min(row.len());
                row[..visible].iter_mut().for_each(|x| *x *= scale);
                row[visible..].fill(f32::NEG_INFINITY);
            }
            Mask::Boolean(mask) => {
                for (x, &open) in row.iter_mut().zip(&values::<u8>(mask)[start..]) {
                    *x = if open != 0 { *x * scale } else { f32::NEG_INFINITY };
                }
            }
            Mask::Additive(mask) => {
                for (x, &added) in row.iter_mut().zip(&values::<f32>(mask)[start..]) {
                    *x = *x * scale + added;
                }
            }
            Mask::Segments(_) => self.mask_band(self.bands().of_queries[query], first_key, row),
        }
    }

    /// As [`Inputs::mask_query`], for a key and the queries from `first_query` on.
    #[inline(always)]
    fn mask_key(&self, mask_start: usize, key: usize, first_query: usize, row: &mut [f32]) {
        let scale = self.problem.scale;
        let stride = self.problem.layout.query;
        let start = mask_start + first_query * stride + key;
        match self.mask {
            Mask::None => row.iter_mut().for_each(|x| *x *= scale),
            Mask::Causal => {
                let hidden = key.saturating_sub(first_query).min(row.len());
                row[..hidden].fill(f32::NEG_INFINITY);
                row[hidden..].iter_mut().for_each(|x| *x *= scale);
            }
            Mask::Boolean(mask) => {
                let mask = values::<u8>(mask);
                for (i, x) in row.iter_mut().enumerate() {
                    *x = if mask[start + i * stride] != 0 { *x * scale } else { f32::NEG_INFINITY };
                }
            }
            Mask::Additive(mask) => {
                let mask = values::<f32>(mask);
                for (i, x) in row.iter_mut().enumerate() {
                    *x = *x * scale + mask[start + i * stride];
                }
            }
            Mask::Segments(_) => self.mask_band(self.bands().of_keys[key], first_query, row),
        }
    }
}

pub(super) fn forward(problem: &Problem<'_>) -> (Vec<f32>, Vec<f32>) {
    let inputs = Inputs::new(problem);
    let e = inputs.e;
    let (mut out, mut lse) = (vec![0.0; inputs.q.len()], vec![0.0; e.batch * e.heads * e.queries]);
    let (out_at, lse_at) = (Output(out.as_mut_ptr()), Output(lse.as_mut_ptr()));
    tasks(e.batch, e.heads, e.queries, e.keys * e.head_dim, |part, scratch| {
        part.isa.run(Forward { inputs: &inputs, part, out: out_at, lse: lse_at, scratch });
    });
    (out, lse)
}

pub(super) fn backward(
    problem: &Problem<'_>,
    attended: &Attended,
    gradient: &super::Tensor,
) -> [Vec<f32>; 3] {
    let inputs = Inputs::new(problem);
    let e = inputs.e;
    let gradient = values::<f32>(gradient);
    let sides =
        Sides { gradient, lse: values(&attended.lse), deltas: &deltas(gradient, values(&attended.out), e) };
    let [mut dq, mut dk, mut dv] = [inputs.q, inputs.k, inputs.v].map(|values| vec![0.0; values.len()]);
    let [dq_at, dk_at, dv_at] = [&mut dq, &mut dk, &mut dv].map(|values| Output(values.as_mut_ptr()));
    tasks(e.batch, e.heads, e.queries, 2 * e.keys * e.head_dim, |part, scratch| {
        part.isa.run(QueryGradient { inputs: &inputs, sides: &sides, part, out: dq_at, scratch });
    });
    tasks(e.batch, e.kv_heads, e.keys, 2 * e.group() * e.queries * e.head_dim, |part, scratch| {
        part.isa.run(KeyGradient { inputs: &inputs, sides: &sides, part, out: [dk_at, dv_at], scratch });
    });
    [dq, dk, dv]
}

/// What the gradients need beside the inputs.
struct Sides<'a> {
    gradient: &'a [f32],
    lse: &'a [f32],
    /// `sum(gradient * out)` for each query, as `lse`.
    deltas: &'a [f32],
}

fn deltas(gradient: &[f32], out: &[f32], e: Extents) -> Vec<f32> {
    let delta = |i: usize| {
        let (batch, head, query) = (i / e.queries / e.heads, i / e.queries % e.heads, i % e.queries);
        let first = ((batch * e.queries + query) * e.heads + head) * e.head_dim;
        let pairs = gradient[first..][..e.head_dim].iter().zip(&out[first..][..e.head_dim]);
        pairs.map(|(&g, &y)| f64::from(g) * f64::from(y)).sum::<f64>() as f32
    };
    (0..e.batch * e.heads * e.queries).into_par_iter().with_min_len(64).map(delta).collect()
}

/// Some tokens of one head.
struct Part {
    batch: usize,
    head: usize,
    rows: Range<usize>,
    isa: Isa,
}

/// Runs `run` for the tokens of all heads in parts; `work` are multiply-adds for each token.
fn tasks(batch: usize, heads: usize, tokens: usize, work: usize, run: impl Fn(Part, &mut Scratch) + Sync) {
    if batch * heads * tokens == 0 {
        return;
    }
    let isa = Isa::current();
    let serial = batch * heads * tokens * work < LEAST_PARALLEL_WORK;
    let threads = if serial { 1 } else { rayon::current_num_threads() };
    let pieces = (threads * TASKS_PER_THREAD).div_ceil(batch * heads);
    let pieces = if serial { 1 } else { pieces.clamp(1, (tokens / LEAST_TASK_ROWS).max(1)) };
    // Whole blocks, so that only the last range has a partial one.
    let step = tokens.div_ceil(pieces).next_multiple_of(isa.run(TileRows));
    let pieces = tokens.div_ceil(step);
    let run = |task: usize| {
        let (head, first) = (task / pieces, task % pieces * step);
        let rows = first..tokens.min(first + step);
        let part = Part { batch: head / heads, head: head % heads, rows, isa };
        SCRATCH.with_borrow_mut(|scratch| run(part, scratch));
    };
    let count = batch * heads * pieces;
    if serial {
        (0..count).for_each(run);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(run);
    }
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
    /// Rows of the block.
    own: [AlignedVec; 2],
    /// The other side as columns.
    columns: [AlignedVec; 2],
    /// The other side as rows.
    rows: [AlignedVec; 2],
    scores: [AlignedVec; 2],
    sums: [AlignedVec; 2],
    shifts: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The rows as columns of a product: `[rows / C][head_dim][C]`, zeros behind the last.
#[inline(always)]
fn pack_columns<'a, S: Simd>(s: S, rows: &Rows<'_>, memory: &'a mut AlignedVec) -> &'a [f32] {
    let padded = rows.rows.next_multiple_of(S::TILE_COLUMNS);
    let out = memory.reserve_len(padded * rows.len);
    for first in (0..padded).step_by(S::TILE_COLUMNS) {
        pack_column_panel(s, rows, first, &mut out[first * rows.len..]);
    }
    out
}

/// Rows that weights are multiplied with: `[head_dim / C][rows][C]`, zeros for the padding of both.
struct PackedRows<'a> {
    panels: &'a [f32],
    rows: usize,
}

#[inline(always)]
fn pack_weighted<'a, S: Simd>(s: S, rows: &Rows<'_>, memory: &'a mut AlignedVec) -> PackedRows<'a> {
    let padded = rows.rows.next_multiple_of(S::TILE_COLUMNS);
    let padded_dim = rows.len.next_multiple_of(S::TILE_COLUMNS);
    let out = memory.reserve_len(padded * padded_dim);
    for token in 0..padded {
        for c in (0..padded_dim).step_by(S::LANES) {
            let count = S::LANES.min(rows.len.saturating_sub(c));
            let at = c / S::TILE_COLUMNS * padded * S::TILE_COLUMNS;
            let room = &mut out[at + token * S::TILE_COLUMNS + c % S::TILE_COLUMNS..][..S::LANES];
            let x = if token >= rows.rows || count == 0 {
                s.splat(0.0)
            } else {
                let from = &rows.row(token)[c..][..count];
                // SAFETY: `from` has `count` values.
                unsafe { s.load_part(from.as_ptr(), count, 0.0) }
            };
            // SAFETY: the room is a vector.
            unsafe { s.store(room.as_mut_ptr(), x) };
        }
    }
    PackedRows { panels: out, rows: padded }
}

/// Products of a block's rows and the columns `tokens`, whose first is the first of a panel.
#[inline(always)]
fn dots<S: Simd>(s: S, own: &[f32], columns: &[f32], depth: usize, tokens: &Range<usize>, out: &mut [f32]) {
    let panels = tokens.len().div_ceil(S::TILE_COLUMNS);
    let columns = &columns[tokens.start * depth..];
    assert!(own.len() >= S::TILE_ROWS * depth, "packed rows");
    assert!(columns.len() >= panels * S::TILE_COLUMNS * depth, "packed columns");
    assert!(out.len() >= S::TILE_ROWS * SCORE_ROW && tokens.len() <= STEP, "room for the products");
    for panel in 0..panels {
        // SAFETY: the lengths were checked above.
        unsafe {
            let columns = columns.as_ptr().add(panel * S::TILE_COLUMNS * depth);
            let start = out.as_mut_ptr().add(panel * S::TILE_COLUMNS);
            s.tile_packed(
                depth,
                own.as_ptr(),
                columns,
                Place { start, stride: SCORE_ROW, accumulate: false },
            );
        }
    }
}

/// `sums (+)= weights rows[tokens]` for a block's rows; weights behind the tokens, up to a whole panel, must be zeros.
#[inline(always)]
fn add_weighted<S: Simd>(
    s: S,
    weights: &[f32],
    rows: &PackedRows<'_>,
    tokens: &Range<usize>,
    sums: &mut [f32],
    accumulate: bool,
) {
    let depth = tokens.len().next_multiple_of(S::TILE_COLUMNS);
    let padded_dim = rows.panels.len() / rows.rows;
    assert!(weights.len() >= S::TILE_ROWS * SCORE_ROW && depth <= STEP, "a step of weights");
    assert!(sums.len() >= S::TILE_ROWS * padded_dim, "room for the sums");
    for c in (0..padded_dim).step_by(S::TILE_COLUMNS) {
        let panel = &rows.panels[c * rows.rows + tokens.start * S::TILE_COLUMNS..];
        assert!(panel.len() >= depth * S::TILE_COLUMNS, "a step of rows");
        let start = sums[c..].as_mut_ptr();
        let place = Place { start, stride: padded_dim, accumulate };
        // SAFETY: the panel was checked; weights and sums have a tile's rows.
        unsafe { s.tile_strided::<SCORE_ROW>(depth, weights.as_ptr(), panel.as_ptr(), place) };
    }
}

/// `e^x`, zero below the smallest normal number.
#[inline(always)]
fn weight<S: Simd>(s: S, x: S::F) -> S::F {
    let x = x * s.splat(std::f32::consts::LOG2_E);
    let least = s.splat(LEAST_WEIGHT);
    x.if_less(least, s.splat(0.0), exp2_weight(s, least.max(x)))
}

#[inline(always)]
fn largest_of<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    for c in (0..row.len()).step_by(S::LANES) {
        let rest = &row[c..];
        // SAFETY: the rest of the row, at least one value.
        let x = unsafe { s.load_part(rest.as_ptr(), rest.len().min(S::LANES), f32::NEG_INFINITY) };
        largest = largest.max(x);
    }
    largest.largest()
}

/// `e^(score - shift)` in place of a row of scores; returns their sum.
#[inline(always)]
fn weights_of_row<S: Simd>(s: S, row: &mut [f32], shift: f32) -> f32 {
    let (shift, mut sum) = (s.splat(shift), s.splat(0.0));
    for c in (0..row.len()).step_by(S::LANES) {
        let count = S::LANES.min(row.len() - c);
        // SAFETY: `count` values of the row; what stands behind them has the weight 0.
        unsafe {
            let p = row.as_mut_ptr().add(c);
            let x = weight(s, s.load_part(p, count, f32::NEG_INFINITY) - shift);
            sum = sum + x;
            s.store_part(p, count, x);
        }
    }
    sum.sum()
}

/// `e^(score - shifts[i])` in place of score `i`.
#[inline(always)]
fn weights_by_column<S: Simd>(s: S, row: &mut [f32], shifts: &[f32]) {
    assert_eq!(row.len(), shifts.len(), "a shift for each score");
    for c in (0..row.len()).step_by(S::LANES) {
        let count = S::LANES.min(row.len() - c);
        // SAFETY: `count` values of both.
        unsafe {
            let p = row.as_mut_ptr().add(c);
            let shift = s.load_part(shifts.as_ptr().add(c), count, 0.0);
            s.store_part(p, count, weight(s, s.load_part(p, count, 0.0) - shift));
        }
    }
}

/// Minus infinity, the logarithm of nothing, as a number that masked scores can lose.
#[inline(always)]
fn finite_shift(x: f32) -> f32 {
    if x == f32::NEG_INFINITY { 0.0 } else { x }
}

/// Writes rows of `stride` sums times a factor each to tokens of a head, `head_dim` values each.
///
/// # Safety
/// `out` must be writable for `head_dim` values at every `token_stride` for each factor.
#[inline(always)]
unsafe fn write_rows(
    sums: &[f32],
    stride: usize,
    factors: &[f32],
    out: *mut f32,
    token_stride: usize,
    head_dim: usize,
) {
    for (r, factor) in factors.iter().enumerate() {
        for (c, sum) in sums[r * stride..][..head_dim].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *out.add(r * token_stride + c) = sum * factor };
        }
    }
}

struct Forward<'a> {
    inputs: &'a Inputs<'a>,
    part: Part,
    out: Output,
    lse: Output,
    scratch: &'a mut Scratch,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { inputs, part: Part { batch, head, rows, .. }, out, lse, scratch } = self;
        let e = inputs.e;
        let limit = inputs.keys_of(&rows).end;
        let kv_head = head / e.group();
        let queries = inputs.query_rows(inputs.q, batch, head);
        let keys = inputs.key_rows(inputs.k, batch, kv_head).limited(limit);
        let value_rows = inputs.key_rows(inputs.v, batch, kv_head).limited(limit);
        let keys = pack_columns(s, &keys, &mut scratch.columns[0]);
        let value_rows = pack_weighted(s, &value_rows, &mut scratch.rows[0]);
        let padded_dim = e.head_dim.next_multiple_of(S::TILE_COLUMNS);
        let own = scratch.own[0].reserve_len(packed_len::<S>(S::TILE_ROWS, e.head_dim));
        let scores = scratch.scores[0].reserve_len(S::TILE_ROWS * SCORE_ROW);
        let sums = scratch.sums[0].reserve_len(S::TILE_ROWS * padded_dim);
        let mask_start = inputs.mask_start(batch, head);
        for first in rows.clone().step_by(S::TILE_ROWS) {
            let count = S::TILE_ROWS.min(rows.end - first);
            pack_rows(s, &queries, first, count, own);
            let mut largest = [f32::NEG_INFINITY; MAX_TILE_ROWS];
            let mut total = [0.0f32; MAX_TILE_ROWS];
            let seen = inputs.keys_of(&(first..first + count));
            // The first of a panel.
            let (start, end) = (seen.start / S::TILE_COLUMNS * S::TILE_COLUMNS, seen.end);
            if start >= end {
                sums.fill(0.0);
            }
            for first_key in (start..end).step_by(STEP) {
                let step = first_key..end.min(first_key + STEP);
                dots(s, own, keys, e.head_dim, &step, scores);
                for (r, row) in scores.chunks_exact_mut(SCORE_ROW).take(S::TILE_ROWS).enumerate() {
                    let (row, padding) = row.split_at_mut(step.len());
                    padding.fill(0.0);
                    if r >= count {
                        row.fill(0.0);
                        continue;
                    }
                    inputs.mask_query(mask_start, first + r, first_key, row);
                    let now = largest[r].max(largest_of(s, row));
                    let shift = finite_shift(now);
                    let shrink = (largest[r] - shift).exp();
                    largest[r] = now;
                    total[r] = total[r] * shrink + weights_of_row(s, row, shift);
                    if first_key > start && shrink != 1.0 {
                        sums[r * padded_dim..][..padded_dim].iter_mut().for_each(|x| *x *= shrink);
                    }
                }
                add_weighted(s, scores, &value_rows, &step, sums, first_key > start);
            }
            let mut factors = [0.0; MAX_TILE_ROWS];
            for r in 0..count {
                let row = (batch * e.heads + head) * e.queries + first + r;
                // A NaN is not nothing.
                factors[r] = if total[r] == 0.0 { 0.0 } else { 1.0 / total[r] };
                // SAFETY: this task alone writes the logarithms of these queries.
                unsafe { *lse.0.add(row) = largest[r] + total[r].ln() };
            }
            let start = ((batch * e.queries + first) * e.heads + head) * e.head_dim;
            // SAFETY: this task alone writes these rows of this head.
            unsafe {
                let out = out.0.add(start);
                write_rows(sums, padded_dim, &factors[..count], out, e.heads * e.head_dim, e.head_dim);
            }
        }
    }
}

struct QueryGradient<'a> {
    inputs: &'a Inputs<'a>,
    sides: &'a Sides<'a>,
    part: Part,
    out: Output,
    scratch: &'a mut Scratch,
}

impl Kernel for QueryGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { inputs, sides, part: Part { batch, head, rows, .. }, out, scratch } = self;
        let e = inputs.e;
        let limit = inputs.keys_of(&rows).end;
        let kv_head = head / e.group();
        let queries = inputs.query_rows(inputs.q, batch, head);
        let gradients = inputs.query_rows(sides.gradient, batch, head);
        let key_rows = inputs.key_rows(inputs.k, batch, kv_head).limited(limit);
        let value_rows = inputs.key_rows(inputs.v, batch, kv_head).limited(limit);
        let [key_memory, value_memory] = &mut scratch.columns;
        let keys = pack_columns(s, &key_rows, key_memory);
        let value_columns = pack_columns(s, &value_rows, value_memory);
        let key_rows = pack_weighted(s, &key_rows, &mut scratch.rows[0]);
        let padded_dim = e.head_dim.next_multiple_of(S::TILE_COLUMNS);
        let [own, own_gradients] =
            scratch.own.each_mut().map(|own| own.reserve_len(packed_len::<S>(S::TILE_ROWS, e.head_dim)));
        let [scores, of_weights] =
            scratch.scores.each_mut().map(|scores| scores.reserve_len(S::TILE_ROWS * SCORE_ROW));
        let sums = scratch.sums[0].reserve_len(S::TILE_ROWS * padded_dim);
        let mask_start = inputs.mask_start(batch, head);
        let scale = inputs.problem.scale;
        for first in rows.clone().step_by(S::TILE_ROWS) {
            let count = S::TILE_ROWS.min(rows.end - first);
            pack_rows(s, &queries, first, count, own);
            pack_rows(s, &gradients, first, count, own_gradients);
            let side = (batch * e.heads + head) * e.queries + first;
            let seen = inputs.keys_of(&(first..first + count));
            // The first of a panel.
            let (start, end) = (seen.start / S::TILE_COLUMNS * S::TILE_COLUMNS, seen.end);
            if start >= end {
                sums.fill(0.0);
            }
            for first_key in (start..end).step_by(STEP) {
                let step = first_key..end.min(first_key + STEP);
                dots(s, own, keys, e.head_dim, &step, scores);
                dots(s, own_gradients, value_columns, e.head_dim, &step, of_weights);
                let pairs = scores.chunks_exact_mut(SCORE_ROW).zip(of_weights.chunks_exact(SCORE_ROW));
                for (r, (row, of_weights)) in pairs.take(S::TILE_ROWS).enumerate() {
                    let (row, padding) = row.split_at_mut(step.len());
                    padding.fill(0.0);
                    if r >= count {
                        row.fill(0.0);
                        continue;
                    }
                    inputs.mask_query(mask_start, first + r, first_key, row);
                    weights_of_row(s, row, finite_shift(sides.lse[side + r]));
                    let delta = sides.deltas[side + r];
                    for (x, g) in row.iter_mut().zip(of_weights) {
                        *x = *x * (g - delta) * scale;
                    }
                }
                add_weighted(s, scores, &key_rows, &step, sums, first_key > start);
            }
            let start = ((batch * e.queries + first) * e.heads + head) * e.head_dim;
            let factors = [1.0; MAX_TILE_ROWS];
            // SAFETY: this task alone writes these rows of this head.
            unsafe {
                let out = out.0.add(start);
                write_rows(sums, padded_dim, &factors[..count], out, e.heads * e.head_dim, e.head_dim);
            }
        }
    }
}

struct KeyGradient<'a> {
    inputs: &'a Inputs<'a>,
    sides: &'a Sides<'a>,
    part: Part,
    out: [Output; 2],
    scratch: &'a mut Scratch,
}

impl Kernel for KeyGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { inputs, sides, part: Part { batch, head: kv_head, rows, .. }, out, scratch } = self;
        let e = inputs.e;
        let keys = inputs.key_rows(inputs.k, batch, kv_head);
        let value_rows = inputs.key_rows(inputs.v, batch, kv_head);
        let padded_dim = e.head_dim.next_multiple_of(S::TILE_COLUMNS);
        let [own_keys, own_values] =
            scratch.own.each_mut().map(|own| own.reserve_len(packed_len::<S>(S::TILE_ROWS, e.head_dim)));
        let [scores, of_weights] =
            scratch.scores.each_mut().map(|scores| scores.reserve_len(S::TILE_ROWS * SCORE_ROW));
        let padded_rows = rows.len().next_multiple_of(S::TILE_ROWS);
        let [key_sums, value_sums] =
            scratch.sums.each_mut().map(|sums| sums.reserve_len(padded_rows * padded_dim));
        key_sums.fill(0.0);
        value_sums.fill(0.0);
        let scale = inputs.problem.scale;
        for head in kv_head * e.group()..(kv_head + 1) * e.group() {
            let query_rows = inputs.query_rows(inputs.q, batch, head);
            let gradient_rows = inputs.query_rows(sides.gradient, batch, head);
            let [query_memory, gradient_memory] = &mut scratch.columns;
            let queries = pack_columns(s, &query_rows, query_memory);
            let gradients = pack_columns(s, &gradient_rows, gradient_memory);
            let [query_memory, gradient_memory] = &mut scratch.rows;
            let query_rows = pack_weighted(s, &query_rows, query_memory);
            let gradient_rows = pack_weighted(s, &gradient_rows, gradient_memory);
            let side = (batch * e.heads + head) * e.queries;
            let shifts = scratch.shifts.reserve_len(e.queries);
            for (shift, &lse) in shifts.iter_mut().zip(&sides.lse[side..]) {
                *shift = finite_shift(lse);
            }
            let deltas = &sides.deltas[side..][..e.queries];
            let mask_start = inputs.mask_start(batch, head);
            for first in rows.clone().step_by(S::TILE_ROWS) {
                let count = S::TILE_ROWS.min(rows.end - first);
                pack_rows(s, &keys, first, count, own_keys);
                pack_rows(s, &value_rows, first, count, own_values);
                let sums_at = (first - rows.start) * padded_dim;
                let seen_by = inputs.queries_of(&(first..first + count));
                // The first of a panel.
                let from = seen_by.start / S::TILE_COLUMNS * S::TILE_COLUMNS;
                for first_query in (from..seen_by.end).step_by(STEP) {
                    let step = first_query..seen_by.end.min(first_query + STEP);
                    dots(s, own_keys, queries, e.head_dim, &step, scores);
                    dots(s, own_values, gradients, e.head_dim, &step, of_weights);
                    for (r, row) in scores.chunks_exact_mut(SCORE_ROW).take(S::TILE_ROWS).enumerate() {
                        let (row, padding) = row.split_at_mut(step.len());
                        padding.fill(0.0);
                        if r >= count {
                            row.fill(0.0);
                            continue;
                        }
                        inputs.mask_key(mask_start, first + r, first_query, row);
                        weights_by_column(s, row, &shifts[step.clone()]);
                    }
                    add_weighted(s, scores, &gradient_rows, &step, &mut value_sums[sums_at..], true);
                    let pairs = scores.chunks_exact_mut(SCORE_ROW).zip(of_weights.chunks_exact(SCORE_ROW));
                    for (row, of_weights) in pairs.take(S::TILE_ROWS) {
                        let row = &mut row[..step.len()];
                        for ((x, g), delta) in row.iter_mut().zip(of_weights).zip(&deltas[step.clone()]) {
                            *x = *x * (g - delta) * scale;
                        }
                    }
                    add_weighted(s, scores, &query_rows, &step, &mut key_sums[sums_at..], true);
                }
            }
        }
        let start = ((batch * e.keys + rows.start) * e.kv_heads + kv_head) * e.head_dim;
        for (out, sums) in out.into_iter().zip([&*key_sums, &*value_sums]) {
            for r in 0..rows.len() {
                // SAFETY: this task alone writes these rows of this head.
                unsafe {
                    let out = out.0.add(start + r * e.kv_heads * e.head_dim);
                    write_rows(&sums[r * padded_dim..], padded_dim, &[1.0], out, 0, e.head_dim);
                }
            }
        }
    }
}
