//! Products of int8, in groups of four along the depth, by instructions that multiply those ([`super::tiles`]).
//!
//! A weight is an integer of -127 to 127 times the scale of its column, the largest magnitude of the column divided by 127. A value of
//! a row is an integer times a scale of the row, so that sums are exact in i32 and become f32 by one factor for each row and column.
//!
//! Few channels of a transformer are much larger than the rest and would make the scale of a row coarse. Such outliers of a row are 0
//! among its integers and are added in f32. Which they are depends on the row alone: what is above 8 times the mean magnitude of
//! the row, or above 16 times if that is more than a 32nd of the row, or else above 32 times, which is less than a 32nd of any row. NaN and
//! infinities are outliers too, and so stay what they are.
//!
//! Without such an instruction the integers of rows and weights are multiplied and summed in f32, exactly up to sums of 2^24: the
//! rounding is the same on every CPU.
//!
//! A panel of `C` columns is `[groups][C]`, then `C` scales in f32, then `C` integers which are subtracted from the sums.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unreachable_code, reason = "a unit is a type without values on other CPUs")
)]

use super::isa::Isa;
use super::pack::{AlignedVec, RowSource};
use super::simd::{Kernel, Simd};
use super::tiles::{Factors, PackedRows, Registers, STEP_GROUPS, TileUnit, each_chunk};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;
use std::sync::OnceLock;

/// The largest integer.
const LARGEST: f32 = 127.0;
/// The longest depth whose sums fit 32 bits.
pub(crate) const MAX_DEPTH: usize = (i32::MAX / (127 * 127)) as usize;
/// A row whose integers would stand for less than this is computed in f32 throughout: the inverse of its scale might be no f32.
const LEAST: f32 = 1e-30;
/// Added to a number of at most 2^22, this leaves the nearest integer in the lower bits, ties to even.
const SHIFT: f32 = 12_582_912.0;
/// The same for f64: without it, rounding is a library call on CPUs without SSE4.1.
const WIDE_SHIFT: f64 = 6_755_399_441_055_744.0;
/// Values that are looked at together, so that additions have the same order on every CPU.
const LANES: usize = 64;

/// Groups of four of a padded depth, one step at least.
fn groups(depth: usize) -> usize {
    depth.max(1).next_multiple_of(4 * STEP_GROUPS) / 4
}

/// Groups of 32 bits in a panel, scales and what is subtracted included.
pub(super) fn panel_len(depth: usize, panel_columns: usize) -> usize {
    (groups(depth) + 2) * panel_columns
}

/// A unit that multiplies groups of four int8. A value exists only for what was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuadUnit(TileUnit);

impl QuadUnit {
    /// The unit with these registers, if this CPU has it beside AVX-512.
    pub(super) fn detect(registers: Registers) -> Option<Self> {
        TileUnit::detect(registers, Factors::Int8).map(Self)
    }

    /// What multiplies packed rows and panels.
    pub(super) fn tiles(self) -> TileUnit {
        self.0
    }

    /// What is added to the integers of rows: AVX-512 takes them without a sign.
    fn offset(self) -> u8 {
        match self.0.registers() {
            #[cfg(target_arch = "x86_64")]
            Registers::Amx => 0,
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => 128,
        }
    }
}

/// Rows of `depth` weights as columns in panels, with zeros behind the last column and the last value of a column. A column with a
/// value that is not finite gives NaN.
pub(super) fn pack(
    weight: &[f32],
    [columns, depth]: [usize; 2],
    panel_columns: usize,
    unit: Option<QuadUnit>,
) -> AlignedVec {
    let len = panel_len(depth, panel_columns);
    let offset = unit.map_or(0, |unit| i32::from(unit.offset()));
    let mut panels = AlignedVec::zeros(columns.div_ceil(panel_columns) * len);
    panels.as_mut_slice().par_chunks_exact_mut(len).enumerate().for_each(|(panel, out)| {
        let (groups, ends) = out.split_at_mut(len - 2 * panel_columns);
        let (scales, corrections) = ends.split_at_mut(panel_columns);
        let quads: &mut [[i8; 4]] = bytemuck::cast_slice_mut(groups);
        let corrections: &mut [i32] = bytemuck::cast_slice_mut(corrections);
        let first = panel * panel_columns;
        for c in 0..panel_columns.min(columns - first) {
            let column = &weight[(first + c) * depth..][..depth];
            let largest = column.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let is_finite = column.iter().all(|v| v.is_finite());
            scales[c] = if is_finite { largest / LARGEST } else { f32::NAN };
            let factor = if largest > 0.0 { f64::from(LARGEST) / f64::from(largest) } else { 0.0 };
            let mut sum = 0;
            for (i, &value) in column.iter().enumerate() {
                let integer = (f64::from(value) * factor + WIDE_SHIFT - WIDE_SHIFT) as i8;
                quads[i / 4 * panel_columns + c][i % 4] = integer;
                sum += i32::from(integer);
            }
            corrections[c] = offset * sum;
        }
    });
    panels
}

/// The integers of a panel in f32, `[depth rounded up][C]`.
#[inline(always)]
pub(super) fn widen<'m, S: Simd>(_: S, panel: &[f32], depth: usize, memory: &'m mut AlignedVec) -> &'m [f32] {
    let columns = S::TILE_COLUMNS;
    let wide = memory.reserve_len(groups(depth) * 4 * columns);
    for (group, rows) in panel.chunks_exact(columns).zip(wide.chunks_exact_mut(4 * columns)) {
        for (place, row) in rows.chunks_exact_mut(columns).enumerate() {
            for (x, quad) in row.iter_mut().zip(group) {
                *x = integer(quad.to_bits(), place);
            }
        }
    }
    wide
}

/// Integer `place` of a group of four.
#[inline(always)]
fn integer(quad: u32, place: usize) -> f32 {
    ((quad << (24 - 8 * place)).cast_signed() >> 24) as f32
}

/// What became of a row beside its integers.
struct Rounded {
    scale: f32,
    /// Where they are along the depth, and their values.
    outliers: Vec<(u32, f32)>,
}

/// What became of all rows of a product beside their integers.
pub(crate) struct RoundedRows(Vec<OnceLock<Rounded>>);

impl RoundedRows {
    /// Room for so many rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self((0..rows).map(|_| OnceLock::new()).collect())
    }

    /// All rows of `source`, rounded to int8 and laid out for [`TileUnit::block_times_panel`], on all threads or one.
    pub(super) fn pack<'m>(
        &self,
        unit: QuadUnit,
        isa: Isa,
        source: &dyn RowSource,
        is_parallel: bool,
        memory: &'m mut AlignedVec,
    ) -> PackedRows<'m> {
        let groups = groups(source.segments() * source.segment_len());
        let form = Form::Bytes { offset: unit.offset() };
        unit.0.pack_rows(isa, source.rows(), groups, is_parallel, memory, |first, stride, out| {
            isa.run(RoundRows { source, first, stride, form, rounded: self, out });
        })
    }

    /// The integers of all rows of `source` as a matrix, on all threads or one.
    pub(super) fn integers<'m>(
        &self,
        isa: Isa,
        source: &dyn RowSource,
        is_parallel: bool,
        memory: &'m mut AlignedVec,
    ) -> &'m [f32] {
        let depth = source.segments() * source.segment_len();
        // A row without values is looked at too.
        let stride = depth.max(1);
        let values = memory.reserve_len(source.rows() * stride);
        each_chunk(values, stride, is_parallel, |first, out| {
            isa.run(RoundRows { source, first, stride, form: Form::F32, rounded: self, out });
        });
        &values[..source.rows() * depth]
    }
}

/// How integers of rows are written.
#[derive(Clone, Copy)]
enum Form {
    /// Four in a group, with this added.
    Bytes { offset: u8 },
    /// As f32.
    F32,
}

/// Rounds the rows from `first` on that `out` has room for, with `stride` groups from one to the next, and zeros behind the depth;
/// anything for rows behind the last.
struct RoundRows<'a> {
    source: &'a dyn RowSource,
    first: usize,
    stride: usize,
    form: Form,
    rounded: &'a RoundedRows,
    out: &'a mut [f32],
}

thread_local! {
    /// A row, its segments one after the other.
    static ROW: Cell<AlignedVec> = Cell::default();
}

impl Kernel for RoundRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { source, first, stride, form, rounded, out } = self;
        let mut memory = ROW.take();
        let gathered = memory.reserve_len(source.segments() * source.segment_len());
        let rows = rounded.0.get(first..).unwrap_or_default();
        for (r, (out, note)) in out.chunks_exact_mut(stride).zip(rows).enumerate() {
            let row = whole_row(source, first + r, gathered);
            let (rounding, outliers) = Rounding::of(row);
            match form {
                Form::Bytes { offset } => {
                    let bytes: &mut [u8] = bytemuck::cast_slice_mut(out);
                    let (bytes, behind) = bytes.split_at_mut(row.len());
                    for (byte, &x) in bytes.iter_mut().zip(row) {
                        *byte = (rounding.shifted(x).to_bits() as u8).wrapping_add(offset);
                    }
                    behind.fill(0);
                }
                Form::F32 => {
                    for (integer, &x) in out.iter_mut().zip(row) {
                        *integer = rounding.shifted(x) - SHIFT;
                    }
                }
            }
            note.get_or_init(|| Rounded { scale: rounding.scale, outliers });
        }
        ROW.set(memory);
    }
}

/// A row where it lies, or its segments one after the other in `out`.
#[inline(always)]
fn whole_row<'a>(source: &'a dyn RowSource, row: usize, out: &'a mut [f32]) -> &'a [f32] {
    let (len, floor) = (source.segment_len(), source.floor());
    if source.segments() == 1
        && floor == f32::NEG_INFINITY
        && let Some(values) = source.segment(row, 0)
    {
        return values;
    }
    for segment in 0..source.segments() {
        let to = &mut out[segment * len..][..len];
        match source.segment(row, segment) {
            Some(values) => {
                for (to, &x) in to.iter_mut().zip(values) {
                    *to = if x < floor { floor } else { x };
                }
            }
            None => to.fill(0.0),
        }
    }
    out
}

/// How the values of a row become integers.
#[derive(Clone, Copy)]
struct Rounding {
    /// What an integer is a multiple of.
    scale: f32,
    /// Its inverse.
    factor: f32,
    /// The largest magnitude that is no outlier.
    threshold: f32,
}

impl Rounding {
    /// That of a row, and the outliers of the row.
    #[inline(always)]
    fn of(row: &[f32]) -> (Self, Vec<(u32, f32)>) {
        let (mut threshold, mut largest) = (8.0 * mean(row), largest(row, f32::INFINITY));
        // Not so if there is a NaN or an infinity.
        let is_plain = largest <= threshold && threshold < f32::INFINITY;
        if !is_plain {
            threshold = outlier_threshold(row);
            largest = self::largest(row, threshold);
        }
        let is_tiny = largest < LEAST;
        let rounding = if is_tiny {
            Self { scale: 0.0, factor: 0.0, threshold: 0.0 }
        } else {
            Self { scale: largest / LARGEST, factor: LARGEST / largest, threshold }
        };
        let outliers = if is_plain && !is_tiny { Vec::new() } else { rounding.outliers(row) };
        (rounding, outliers)
    }

    #[inline(always)]
    fn outliers(&self, row: &[f32]) -> Vec<(u32, f32)> {
        let mut outliers = Vec::new();
        for (chunk, values) in row.chunks(LANES).enumerate() {
            // Most have none, which vectors find out.
            if values.iter().fold(true, |are, &x| are & self.is_ordinary(x)) {
                continue;
            }
            for (i, &x) in values.iter().enumerate() {
                if !self.is_ordinary(x) {
                    outliers.push(((chunk * LANES + i) as u32, x));
                }
            }
        }
        outliers
    }

    #[inline(always)]
    fn is_ordinary(&self, x: f32) -> bool {
        x.abs() <= self.threshold
    }

    /// The integer of a value, 0 for outliers, and [`SHIFT`].
    #[inline(always)]
    fn shifted(&self, x: f32) -> f32 {
        let x = if self.is_ordinary(x) { x } else { 0.0 };
        x * self.factor + SHIFT
    }
}

/// Above which magnitude a value is an outlier, by the finite values of the row.
#[inline(always)]
fn outlier_threshold(row: &[f32]) -> f32 {
    let sum = folded(row, |sum, x| sum + if x.is_finite() { x.abs() } else { 0.0 }, |a, b| a + b);
    let mean = sum / row.len().max(1) as f32;
    for threshold in [8.0 * mean, 16.0 * mean] {
        let above = row.iter().map(|x| u32::from(x.is_finite() & (x.abs() > threshold))).sum::<u32>();
        if above as usize * 32 <= row.len() {
            return threshold.min(f32::MAX);
        }
    }
    (32.0 * mean).min(f32::MAX)
}

/// The mean magnitude.
#[inline(always)]
fn mean(row: &[f32]) -> f32 {
    folded(row, |sum, x| sum + x.abs(), |a, b| a + b) / row.len().max(1) as f32
}

/// The largest magnitude up to `most`.
#[inline(always)]
fn largest(row: &[f32], most: f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    folded(row, |m, x| if x.abs() <= most { larger(m, x.abs()) } else { m }, larger)
}

/// `step` over the row in [`LANES`] lanes, each from 0 on, then `join` over the lanes: in the same order on every CPU.
#[inline(always)]
fn folded(row: &[f32], step: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for values in row.chunks_exact(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(values) {
            *lane = step(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(row.chunks_exact(LANES).remainder()) {
        *lane = step(*lane, x);
    }
    for half in [32, 16, 8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        for (low, &high) in low.iter_mut().zip(&*high) {
            *low = join(*low, high);
        }
    }
    lanes[0]
}

/// Sums of the integers of `rows` and a panel become products, in place: scaled, and what the outliers add.
#[inline(always)]
pub(super) fn scale<S: Simd>(
    _: S,
    panel: &[f32],
    rounded: &RoundedRows,
    rows: &Range<usize>,
    is_f32: bool,
    sums: &mut [f32],
) {
    let columns = S::TILE_COLUMNS;
    let (groups, ends) = panel.split_at(panel.len() - 2 * columns);
    let (scales, corrections) = ends.split_at(columns);
    for (sums, row) in sums.chunks_exact_mut(columns).zip(&rounded.0[rows.clone()]) {
        let row = row.get().expect("every row was rounded");
        for ((sum, scale), correction) in sums.iter_mut().zip(scales).zip(corrections) {
            let bits = sum.to_bits().wrapping_sub(correction.to_bits()).cast_signed();
            let whole = if is_f32 { *sum } else { bits as f32 };
            *sum = whole * (row.scale * scale);
        }
        for &(at, x) in &row.outliers {
            let at = at as usize;
            let group = &groups[at / 4 * columns..][..columns];
            for ((sum, scale), quad) in sums.iter_mut().zip(scales).zip(group) {
                *sum += x * (integer(quad.to_bits(), at % 4) * scale);
            }
        }
    }
}

pub(crate) mod tests {
    use super::{Isa, Rounding, SHIFT};
    use crate::cpu::pack::{Matrix, PackedWeights};
    use crate::cpu::product::{Epilogue, product};
    use crate::cpu::with_isa;
    use steropes_testkit::inputs::normal;
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case(
                "quads/unit/outliers_are_at_most_a_32nd_of_a_row",
                outliers_are_at_most_a_32nd_of_a_row,
            ),
            unit_case(
                "quads/unit/what_is_not_finite_is_an_outlier_beside_those_that_are",
                what_is_not_finite_is_an_outlier_beside_those_that_are,
            ),
            unit_case(
                "quads/unit/every_instruction_set_gives_the_same_bits",
                every_instruction_set_gives_the_same_bits,
            ),
        ]
    }

    /// `count` of 64 values are `size`, the others 1.
    fn rounded(count: usize, size: f32) -> (Rounding, Vec<(u32, f32)>) {
        let row: Vec<f32> = (0..64).map(|i| if i < count { -size } else { 1.0 }).collect();
        Rounding::of(&row)
    }

    fn outliers_are_at_most_a_32nd_of_a_row() {
        // 8 times the mean, which is 9/8.
        assert!(rounded(1, 9.0).1.is_empty());
        let (rounding, outliers) = rounded(1, 17.0);
        assert_eq!((rounding.scale, outliers), (1.0 / 127.0, vec![(0, -17.0)]));
        let (rounding, outliers) = rounded(2, 17.0);
        assert_eq!((rounding.scale, outliers), (1.0 / 127.0, vec![(0, -17.0), (1, -17.0)]));
        // Three of 64 are more than a 32nd; above 16 times the mean there is none.
        let (rounding, outliers) = rounded(3, 17.0);
        assert_eq!((rounding.scale, outliers.len()), (17.0 / 127.0, 0));
        // Three above 16 times the mean, none above 32 times.
        let (rounding, outliers) = rounded(3, 1e3);
        assert_eq!((rounding.scale, outliers.len()), (1e3 / 127.0, 0));
    }

    fn what_is_not_finite_is_an_outlier_beside_those_that_are() {
        let mut row = vec![1.0f32; 64];
        (row[7], row[8], row[63]) = (f32::NEG_INFINITY, 50.0, f32::NAN);
        let (rounding, outliers) = Rounding::of(&row);
        assert_eq!(rounding.scale, 1.0 / 127.0);
        assert_eq!(outliers.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [7, 8, 63]);
        assert!(outliers[2].1.is_nan());
        assert!(row.iter().all(|&x| (rounding.shifted(x) - SHIFT).abs() <= 127.0));
    }

    fn every_instruction_set_gives_the_same_bits() {
        // Sums of integers stay below 2^24.
        let (rows, depth, columns) = (70, 700, 75);
        let mut x = normal("quads/x", rows * depth);
        (0..rows).step_by(4).for_each(|row| x[row * depth + row] = 77.0);
        x[5 * depth..][..depth].fill(0.0);
        let weight = normal("quads/weight", columns * depth);
        let on = |isa| {
            let weights = with_isa(isa, || PackedWeights::int8_from_rows(&weight, columns, depth));
            product(&Matrix::new(&x, rows, depth), &weights, Epilogue::bias(None))
        };
        let want = on(Isa::available()[0]);
        assert!(want.iter().any(|&y| y != 0.0));
        for &isa in Isa::available() {
            assert!(on(isa) == want, "{}", isa.name());
        }
    }
}
