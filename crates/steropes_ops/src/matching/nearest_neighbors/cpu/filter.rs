//! The 8-bit filter: integer scores of rounded vectors decide which blocks of rows need exact scores.
//!
//! With `q'`, `k'` the rounded vectors and `s` the f32 score of a row (a chain of `depth` fused multiply-adds),
//!
//! ```text
//! |s - q'.k'| <= |q||k - k'| + |q - q'||k'| + gamma |q||k| + tiny      gamma = depth u / (1 - depth u), u = 2^-24
//! ```
//!
//! by Cauchy-Schwarz and the standard bound on the rounding of a sum; `tiny` covers underflow. The norms of the
//! rounding errors are computed, not assumed. A block is skipped for a query only if its largest
//! `q'.k'` plus this bound is below an exact score already found, so neither the best row nor an equal one can be
//! skipped. `q'.k'` is an integer times the two steps of rounding; one step for all rows makes the integers comparable.

use super::exact;
use super::{Best, Lines, Metric, Pass, Work, score};
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::{Isa, Kind};
use rayon::prelude::*;

/// A form of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// 14 rows x 32 queries; rows in 8 bits, stored plus 128 because `vpdpbusd` wants one unsigned side.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// 5 rows x 16 queries; rows in 7 bits, stored plus 64, so that pairs of products fit 16 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 8 rows x 12 queries; signed.
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
    /// 4 rows x 4 queries; signed.
    Scalar,
}

/// How the bytes of the rows are made.
#[derive(Clone, Copy, Debug)]
struct Code {
    /// The largest absolute value.
    largest: f32,
    /// Added to every value.
    offset: i32,
    /// Rows of a tile.
    rows: usize,
}

impl Form {
    /// The form for an instruction set; `None` where it would be no faster than the exact kernel.
    pub(super) fn of(isa: Isa) -> Option<Self> {
        match isa.kind() {
            // Without VNNI the 8-bit products of AVX2 are no faster than f32 in 512 bits.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => is_x86_feature_detected!("avx512vnni").then_some(Self::Avx512Vnni),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => Some(Self::Avx2),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => std::arch::is_aarch64_feature_detected!("dotprod").then_some(Self::NeonDotprod),
            Kind::Plain => Some(Self::Scalar),
        }
    }

    fn code(self) -> Code {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Code { largest: 127.0, offset: 128, rows: 14 },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Code { largest: 63.0, offset: 64, rows: 5 },
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => Code { largest: 127.0, offset: 0, rows: 8 },
            Self::Scalar => Code { largest: 127.0, offset: 0, rows: 4 },
        }
    }
}

/// The rounded rows.
#[derive(Debug)]
pub(super) struct Rows {
    form: Form,
    /// `[row][group]`, four bytes to a group; the last tile is filled with copies of the last row.
    groups: Vec<i32>,
    groups_per_row: usize,
    /// The value of one step of the bytes.
    step: f32,
    /// The largest norm of a rounding error, of a rounded row and of a row.
    error: f64,
    rounded: f64,
    norm: f64,
}

/// Rows rounded by one task.
const BLOCK: usize = 1024;
/// Deeper rows would overflow 32-bit sums.
const DEEPEST: usize = 32768;

impl Rows {
    /// Rounds the rows; `None` where the bound would mean nothing: values that are not finite, or so large that
    /// f32 scores may overflow, or rows that are too deep.
    pub(super) fn new(rows: &[f32], depth: usize, isa: Isa) -> Option<Self> {
        let form = Form::of(isa)?;
        let largest = rows.par_chunks(4096).map(largest_abs).reduce(|| 0.0, f32::max);
        if depth > DEEPEST || !largest.is_finite() {
            return None;
        }
        let code = form.code();
        let step = if largest / code.largest > f32::MIN_POSITIVE { largest / code.largest } else { 1.0 };
        let groups_per_row = depth.div_ceil(4);
        let count = rows.len() / depth;
        let mut groups = vec![0; count * groups_per_row];
        let norms = groups
            .par_chunks_mut(BLOCK * groups_per_row)
            .zip(rows.par_chunks(BLOCK * depth))
            .map(|(out, rows)| isa.run(RoundRows { rows, depth, step, code, out }))
            .reduce(|| [0.0; 3], |a, b| std::array::from_fn(|n| f64::max(a[n], b[n])));
        for _ in count..count.next_multiple_of(code.rows) {
            groups.extend_from_within(groups.len() - groups_per_row..);
        }
        let [error, rounded, norm] = norms.map(f64::sqrt);
        Some(Self { form, groups, groups_per_row, step, error, rounded, norm })
    }

    /// The best row of the range for each query. With `may_give_up`, the rest of the range goes to the exact
    /// kernel once too many blocks had to be evaluated.
    pub(super) fn best_rows(&self, pass: &Pass<'_>, isa: Isa, may_give_up: bool) -> (Vec<Best>, Work) {
        let state = match self.form {
            // SAFETY: a form is made only where its instructions were detected.
            #[cfg(target_arch = "x86_64")]
            Form::Avx512Vnni => unsafe { super::avx512::filtered(self, pass, may_give_up) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Form::Avx2 => unsafe { super::avx2::filtered(self, pass, may_give_up) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Form::NeonDotprod => unsafe { super::neon::filtered(self, pass, may_give_up) },
            Form::Scalar => super::scalar::filtered(self, pass, may_give_up),
        };
        let (mut best, next_row) = (state.best, state.next_row);
        let work = Work { seen: state.seen, rechecked: state.rechecked, gave_up: next_row < pass.end };
        if work.gave_up {
            let rest = exact::best_rows(&Pass { start: next_row, ..*pass }, isa);
            best.iter_mut().zip(rest).for_each(|(best, rest)| best.merge(rest));
        }
        (best, work)
    }
}

/// The largest absolute value; NaN or infinite if a value is.
fn largest_abs(values: &[f32]) -> f32 {
    let largest = values.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    // x * 0 is 0 or NaN, and a sum keeps a NaN, which the maximum loses.
    let spoiled: f32 = values.iter().map(|v| v * 0.0).sum();
    if spoiled == 0.0 { largest } else { f32::INFINITY }
}

/// Rounding to the nearest integer by an addition: `f32::round_ties_even` is a call where SSE 4.1 is not assumed.
/// Which way a tie goes does not matter, because the error is computed afterwards.
const ROUNDER: f32 = 12_582_912.0; // 1.5 * 2^23

/// `x / step` to the nearest integer of at most `largest`.
#[inline(always)]
fn round(x: f32, inverse: f32, largest: f32) -> f32 {
    (x * inverse).clamp(-largest, largest) + ROUNDER - ROUNDER
}

/// Some rows to round, compiled with the vectors that there are; the largest squares of [`round_row`].
struct RoundRows<'a> {
    rows: &'a [f32],
    depth: usize,
    step: f32,
    code: Code,
    out: &'a mut [i32],
}

impl Kernel for RoundRows<'_> {
    type Output = [f64; 3];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [f64; 3] {
        let mut largest = [0.0f64; 3];
        let outs = self.out.chunks_exact_mut(self.depth.div_ceil(4));
        for (row, out) in self.rows.chunks_exact(self.depth).zip(outs) {
            let squares = round_row(row, self.step, self.code, out);
            for n in 0..3 {
                largest[n] = largest[n].max(squares[n]);
            }
        }
        largest
    }
}

/// Writes the bytes of a row; the squares of the norms of its rounding error, of the rounded and of the given row.
#[inline(always)]
fn round_row(row: &[f32], step: f32, code: Code, out: &mut [i32]) -> [f64; 3] {
    let inverse = 1.0 / step;
    // Four sums of each kind, one per byte of a group: independent, hence vectors.
    let mut sums = [[0.0f64; 4]; 3];
    for (values, out) in row.chunks(4).zip(out) {
        let mut four = [0.0; 4];
        four[..values.len()].copy_from_slice(values);
        let mut bytes = [0; 4];
        for e in 0..4 {
            let rounded = round(four[e], inverse, code.largest);
            bytes[e] = (rounded as i32 + code.offset) as u8;
            // Exact in f64: 8 bits times 24 bits.
            let back = f64::from(rounded) * f64::from(step);
            let value = f64::from(four[e]);
            let error = value - back;
            sums[0][e] += error * error;
            sums[1][e] += back * back;
            sums[2][e] += value * value;
        }
        *out = i32::from_le_bytes(bytes);
    }
    sums.map(|sums| sums.iter().sum())
}

/// The queries of a pass and what has been found for them.
pub(super) struct State<'a> {
    pass: &'a Pass<'a>,
    /// `[panel][group][lane]`.
    packed: Lines<i32>,
    panels: usize,
    /// Per lane: a block must be evaluated when its largest integer score reaches this.
    limit: Vec<i32>,
    best: Vec<Best>,
    /// The bound of the module's text, the value of one integer step, and the integer score of a zero row.
    bound: Vec<f64>,
    unit: Vec<f64>,
    bias: Vec<i32>,
    seen: u64,
    rechecked: u64,
    /// The first row that was not looked at.
    next_row: usize,
}

impl<'a> State<'a> {
    fn new(rows: &Rows, pass: &'a Pass<'a>, width: usize) -> Self {
        let count = pass.queries.len() / pass.depth;
        let panels = count.div_ceil(width);
        let mut state = Self {
            pass,
            packed: Lines::zeros(panels * rows.groups_per_row * width),
            panels,
            // Lanes without a query never ask for an evaluation.
            limit: vec![i32::MAX; panels * width],
            best: vec![Best::NONE; count],
            bound: vec![0.0; count],
            unit: vec![0.0; count],
            bias: vec![0; count],
            seen: 0,
            rechecked: 0,
            next_row: pass.start,
        };
        for i in 0..count {
            state.prepare_query(rows, i, width);
        }
        state
    }

    fn prepare_query(&mut self, rows: &Rows, i: usize, width: usize) {
        let depth = self.pass.depth;
        let query = &self.pass.queries[i * depth..(i + 1) * depth];
        let largest = largest_abs(query);
        if !largest.is_finite() {
            // The bound means nothing here; such queries are rare enough for one row at a time.
            let range = self.pass.start..self.pass.end;
            for j in range {
                let row = &self.pass.rows[j * depth..(j + 1) * depth];
                self.best[i].merge(Best { score: score(Metric::Dot, query, row), index: j as u32 });
            }
            return;
        }
        let step = if largest / 127.0 > f32::MIN_POSITIVE { largest / 127.0 } else { 1.0 };
        let mut groups = vec![0; rows.groups_per_row];
        let code = Code { largest: 127.0, offset: 0, rows: 0 };
        let [error, _, norm] = round_row(query, step, code, &mut groups).map(f64::sqrt);
        let mut sum = 0;
        for (g, group) in groups.into_iter().enumerate() {
            sum += group.to_le_bytes().iter().map(|b| i32::from(*b as i8)).sum::<i32>();
            *self.packed.slot((i / width * rows.groups_per_row + g) * width + i % width) = group;
        }
        let roundings = depth as f64 * 2f64.powi(-24);
        let gamma = roundings / (1.0 - roundings);
        let tiny = depth as f64 * 2f64.powi(-149);
        // The factor covers the roundings of the norms themselves in f64.
        let bound =
            (norm * rows.error + error * rows.rounded + gamma * norm * rows.norm) * (1.0 + 1e-9) + tiny;
        let overflows = norm * rows.norm > f64::from(f32::MAX) / 2.0;
        self.bound[i] = if overflows { f64::INFINITY } else { bound };
        self.unit[i] = f64::from(step) * f64::from(rows.step);
        self.bias[i] = sum * rows.form.code().offset;
        self.limit[i] = i32::MIN;
    }

    /// Evaluates the rows `start..end` for query `i`.
    #[inline(always)]
    fn evaluate(&mut self, i: usize, start: usize, end: usize) {
        self.rechecked += 1;
        let depth = self.pass.depth;
        let query = &self.pass.queries[i * depth..(i + 1) * depth];
        let mut best = self.best[i];
        for (j, row) in (start..end).zip(self.pass.rows[start * depth..end * depth].chunks_exact(depth)) {
            best.merge(Best { score: score(Metric::Dot, query, row), index: j as u32 });
        }
        if best.score > self.best[i].score {
            self.best[i] = best;
            // A block is skipped if every integer score is below this, hence below the quotient.
            let limit = ((f64::from(best.score) - self.bound[i]) / self.unit[i]).floor();
            self.limit[i] = limit.clamp(-1e9, 1e9) as i32 + self.bias[i];
            if self.bound[i] == f64::INFINITY {
                self.limit[i] = i32::MIN;
            }
        }
    }
}

/// What the kernel needs from a vector of i32, each of them also four bytes.
///
/// # Safety
/// The methods may only run on a CPU with the instructions of the implementation; pointers must cover
/// [`ByteLanes::COUNT`] values.
pub(super) trait ByteLanes: Copy {
    const COUNT: usize;
    unsafe fn splat(x: i32) -> Self;
    unsafe fn load(p: *const i32) -> Self;
    /// `self` plus the four products of the bytes of a row (coded as the form says) and of a query (signed).
    unsafe fn add_products(self, row: Self, query: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// A bit per lane: whether `self` is at least the limit.
    unsafe fn reached(self, limit: *const i32) -> u32;
    /// [`State::evaluate`], compiled apart with the instructions of the form.
    unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize);
}

/// [`State::evaluate`] for the wrappers that carry the instructions of a form.
///
/// # Safety
/// As [`ByteLanes`].
#[inline(always)]
pub(super) unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
    state.evaluate(i, start, end);
}

/// Tiles per chunk: with 14 rows of 24 bytes 8 KB, which stay in L1 while the panels pass by.
const CHUNK_TILES: usize = 24;

/// Looks at all rows of the pass, or gives up and says so in `next_row`.
///
/// # Safety
/// The CPU must have the instructions of `L`, and the caller must be compiled with them.
#[inline(always)]
pub(super) unsafe fn filtered<'a, L: ByteLanes, const ROWS: usize, const VECTORS: usize>(
    rows: &Rows,
    pass: &'a Pass<'a>,
    may_give_up: bool,
) -> State<'a> {
    // SAFETY: passed on to the caller.
    unsafe {
        match rows.groups_per_row {
            6 => scan::<L, ROWS, VECTORS, 6>(rows, pass, may_give_up),
            _ => scan::<L, ROWS, VECTORS, 0>(rows, pass, may_give_up),
        }
    }
}

#[inline(always)]
unsafe fn scan<'a, L: ByteLanes, const ROWS: usize, const VECTORS: usize, const GROUPS: usize>(
    rows: &Rows,
    pass: &'a Pass<'a>,
    may_give_up: bool,
) -> State<'a> {
    let groups = if GROUPS == 0 { rows.groups_per_row } else { GROUPS };
    let width = L::COUNT * VECTORS;
    let mut state = State::new(rows, pass, width);
    // Tiles are cut at multiples of ROWS in the database, so the first and the last may reach out of the range.
    let tiles = (pass.start / ROWS)..pass.end.div_ceil(ROWS);
    let all = (tiles.len() * state.best.len()) as u64;
    for first in tiles.clone().step_by(CHUNK_TILES) {
        let last = (first + CHUNK_TILES).min(tiles.end);
        for panel in 0..state.panels {
            for tile in first..last {
                // SAFETY: the panel, the tile (the last one is padded) and the limits of a panel exist.
                let reached = unsafe {
                    let queries = state.packed.as_ptr().add(panel * groups * width);
                    let tile_rows = rows.groups.as_ptr().add(tile * ROWS * groups);
                    let limit = state.limit.as_ptr().add(panel * width);
                    tile_reached::<L, ROWS, VECTORS>(queries, tile_rows, groups, limit)
                };
                for (v, mut lanes) in reached.into_iter().enumerate() {
                    while lanes != 0 {
                        let query = panel * width + v * L::COUNT + lanes.trailing_zeros() as usize;
                        let start = (tile * ROWS).max(pass.start);
                        let end = ((tile + 1) * ROWS).min(pass.end);
                        // SAFETY: passed on to the caller.
                        unsafe { L::evaluate(&mut state, query, start, end) };
                        lanes &= lanes - 1;
                    }
                }
            }
        }
        state.seen += ((last - first) * state.best.len()) as u64;
        state.next_row = (last * ROWS).min(pass.end);
        if may_give_up && does_not_pay(state.rechecked, state.seen, all) {
            break;
        }
    }
    state
}

/// About one block in fifty evaluated costs as much as the filter saves; some more are forgiven at the start, when the
/// best scores are still low.
fn does_not_pay(rechecked: u64, seen: u64, all: u64) -> bool {
    rechecked > seen / 50 + all / 200
}

/// Which lanes of a panel have a score in the tile that reaches their limit, one mask per vector.
#[inline(always)]
unsafe fn tile_reached<L: ByteLanes, const ROWS: usize, const VECTORS: usize>(
    queries: *const i32,
    rows: *const i32,
    groups: usize,
    limit: *const i32,
) -> [u32; VECTORS] {
    // SAFETY: the caller's buffers cover a panel, a tile and its limits.
    unsafe {
        let mut sums = [[L::splat(0); VECTORS]; ROWS];
        for group in 0..groups {
            let mut query = [L::splat(0); VECTORS];
            for (v, query) in query.iter_mut().enumerate() {
                *query = L::load(queries.add((group * VECTORS + v) * L::COUNT));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = L::splat(*rows.add(r * groups + group));
                for (sum, query) in sums.iter_mut().zip(query) {
                    *sum = sum.add_products(row, query);
                }
            }
        }
        let mut reached = [0; VECTORS];
        for v in 0..VECTORS {
            let mut largest = sums[0][v];
            for sums in &sums[1..] {
                largest = largest.max(sums[v]);
            }
            reached[v] = largest.reached(limit.add(v * L::COUNT));
        }
        reached
    }
}
