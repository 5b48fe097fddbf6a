//! Operands of the register tile: weights packed once, rows packed block by block.
//!
//! Both become panels of groups of 32 bits: one f32, or two bf16 or four int8 of neighbouring depth. Weights are
//! `[columns / C][groups][C]` and rows `[rows / R][groups][R]` for a tile of `R x C`, padded with zeros. Weights in blocks have
//! panels of their own ([`blocks`]), which are widened to these one by one.

use super::blocks;
use super::groups;
use super::isa::Isa;
use super::pairs::{self, PairUnit};
use super::quads::{self, QuadUnit};
use super::simd::{Kernel, MAX_TILE_ROWS, Simd};
use super::tiles::STEP_GROUPS;
use crate::linalg::quantize::{BlockFormat, GroupedMatrix, QuantizedMatrix};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

/// A cache line, so that panels are aligned to 64 bytes.
#[derive(Clone, Copy, Debug, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// f32 memory that starts on a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlignedVec(Vec<Line>);

impl AlignedVec {
    /// At least `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self(bytemuck::zeroed_vec(len.div_ceil(16)))
    }

    /// Makes room for `len` values; what they are is left open.
    pub(crate) fn reserve_len(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() * 16 < len {
            *self = Self::zeros(len);
        }
        &mut self.as_mut_slice()[..len]
    }

    /// All values.
    pub(crate) fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    /// All values, to write.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// How packed weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// With what multiplies them in parts, if they are such that it can.
    F32(Option<PairUnit>),
    /// Two values in a group, the lower half first.
    Bf16,
    /// Four integers in a group, with a scale for each column ([`quads`]).
    Int8,
    /// Integers with scales.
    Blocks(BlockFormat),
    /// Numbers in groups of so many with a range ([`groups`]).
    Groups(usize),
}

/// What multiplies groups of more than one value.
#[derive(Clone, Copy)]
pub(crate) enum GroupUnit {
    /// bf16.
    Pairs(PairUnit),
    /// int8.
    Quads(QuadUnit),
}

/// The right operand of a product, `[columns / C][groups][C]`, aligned to 64 bytes and padded with zeros.
///
/// It remembers the instruction set that it was packed for; the product runs on that one.
#[derive(Clone, Debug)]
pub(crate) struct PackedWeights {
    isa: Isa,
    depth: usize,
    columns: usize,
    panel_columns: usize,
    held: Held,
    panels: AlignedVec,
}

impl PackedWeights {
    /// Packs `weight(column, depth)` for [`Isa::current`]. A linear layer reads `[column * depth + i]`, a convolution
    /// whatever its depth (tap, channel) means.
    pub(crate) fn from_fn(columns: usize, depth: usize, weight: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let isa = Isa::current();
        let panel_columns = isa.run(TileColumns);
        let mut panels = AlignedVec::zeros(columns.div_ceil(panel_columns) * depth * panel_columns);
        let panel_len = (depth * panel_columns).max(1);
        panels.as_mut_slice().par_chunks_mut(panel_len).enumerate().for_each(|(panel, out)| {
            let first = panel * panel_columns;
            for c in 0..panel_columns.min(columns.saturating_sub(first)) {
                for i in 0..depth {
                    out[i * panel_columns + c] = weight(first + c, i);
                }
            }
        });
        Self::of_f32(isa, [columns, depth], panel_columns, panels)
    }

    /// Packs the rows of `source` as columns, as a linear layer stores its weight: `[columns, depth]`.
    pub(crate) fn from_rows(source: &dyn RowSource) -> Self {
        let isa = Isa::current();
        let panel_columns = isa.run(TileColumns);
        let (columns, depth) = (source.rows(), source.segments() * source.segment_len());
        let panel_len = depth * panel_columns;
        let mut panels = AlignedVec::zeros(columns.div_ceil(panel_columns) * panel_len);
        if panel_len > 0 {
            panels.as_mut_slice().par_chunks_exact_mut(panel_len).enumerate().for_each(|(panel, out)| {
                isa.run(ColumnPanel { source, first: panel * panel_columns, out });
            });
        }
        Self::of_f32(isa, [columns, depth], panel_columns, panels)
    }

    fn of_f32(isa: Isa, [columns, depth]: [usize; 2], panel_columns: usize, panels: AlignedVec) -> Self {
        /// Of fewer, taking rows apart costs more than it gains.
        const LEAST_SPLIT_COLUMNS: usize = 512;
        let fits = || pairs::fits(largest_magnitude(panels.as_slice()));
        let split = isa.split_unit().filter(|_| columns >= LEAST_SPLIT_COLUMNS && fits());
        Self { isa, depth, columns, panel_columns, held: Held::F32(split), panels }
    }

    /// Packs rows of `depth` bf16 as columns: `weight` is `[columns, depth]`. It stays bf16 in memory.
    pub(crate) fn from_bf16_rows(weight: &[bf16], columns: usize, depth: usize) -> Self {
        let isa = Isa::current();
        let panel_columns = isa.run(TileColumns);
        let panel_len = pairs::groups(depth) * panel_columns;
        let mut panels = AlignedVec::zeros(columns.div_ceil(panel_columns) * panel_len);
        // Instruction sets with a unit for pairs transpose any 32 bits, so two values of a row pass as one.
        if let Ok(pairs) = bytemuck::try_cast_slice(weight)
            && depth.is_multiple_of(2)
            && isa.pair_unit().is_some()
        {
            let source = Matrix::new(pairs, columns, depth / 2);
            panels.as_mut_slice().par_chunks_exact_mut(panel_len).enumerate().for_each(|(panel, out)| {
                isa.run(ColumnPanel { source: &source, first: panel * panel_columns, out });
            });
            return Self { isa, depth, columns, panel_columns, held: Held::Bf16, panels };
        }
        let pairs: &mut [[bf16; 2]] = bytemuck::cast_slice_mut(panels.as_mut_slice());
        pairs.par_chunks_mut(panel_len).enumerate().for_each(|(panel, out)| {
            let rows = weight.chunks_exact(depth.max(1)).skip(panel * panel_columns).take(panel_columns);
            for (c, row) in rows.enumerate() {
                for (i, &value) in row.iter().enumerate() {
                    out[i / 2 * panel_columns + c][i % 2] = value;
                }
            }
        });
        Self { isa, depth, columns, panel_columns, held: Held::Bf16, panels }
    }

    /// Packs rows of `depth` values as columns, rounded to int8 with a scale for each: `weight` is `[columns, depth]`.
    pub(crate) fn int8_from_rows(weight: &[f32], columns: usize, depth: usize) -> Self {
        assert!(depth <= quads::MAX_DEPTH, "sums that fit 32 bits");
        let isa = Isa::current();
        let panel_columns = isa.run(TileColumns);
        let panels = quads::pack(weight, [columns, depth], panel_columns, isa.quad_unit());
        Self { isa, depth, columns, panel_columns, held: Held::Int8, panels }
    }

    /// Packs the rows of a matrix in blocks as columns. It stays in blocks in memory.
    pub(crate) fn from_blocks(matrix: &QuantizedMatrix) -> Self {
        let isa = Isa::current();
        let panel_columns = isa.run(TileColumns);
        let [columns, depth] = matrix.shape();
        let (held, panels) = (Held::Blocks(matrix.format()), blocks::pack(matrix, panel_columns));
        Self { isa, depth, columns, panel_columns, held, panels }
    }

    /// Packs the rows of a matrix in groups as columns. It stays in groups in memory.
    pub(crate) fn from_groups(matrix: &GroupedMatrix) -> Self {
        let isa = Isa::current();
        let panel_columns = isa.run(TileColumns);
        let [columns, depth] = matrix.shape();
        let (held, panels) = (Held::Groups(matrix.group()), groups::pack(matrix, panel_columns));
        Self { isa, depth, columns, panel_columns, held, panels }
    }

    /// The unit that multiplies them; `None` if they are multiplied in f32.
    pub(crate) fn unit(&self) -> Option<GroupUnit> {
        match self.held {
            Held::F32(_) | Held::Groups(_) => None,
            Held::Bf16 | Held::Blocks(_) => self.isa.pair_unit().map(GroupUnit::Pairs),
            Held::Int8 => self.isa.quad_unit().map(GroupUnit::Quads),
        }
    }

    /// What multiplies them in parts, as good as in f32, for so many rows; `None` if they are multiplied otherwise.
    pub(crate) fn split_unit(&self, rows: usize) -> Option<PairUnit> {
        /// Fewer take less time than making parts of the weights for them.
        const LEAST_ROWS: usize = 64;
        match self.held {
            Held::F32(split) => split.filter(|_| rows >= LEAST_ROWS),
            _ => None,
        }
    }

    /// Whether rows are rounded to int8 to be multiplied with them.
    pub(crate) fn takes_int8(&self) -> bool {
        self.held == Held::Int8
    }

    /// The instruction set that the panels are made for.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows of the matrix: the length of the sums.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// How many panels there are.
    pub(crate) fn panel_count(&self) -> usize {
        self.columns.div_ceil(self.panel_columns)
    }

    /// Panel `index` as it is held, `[groups][C]`.
    pub(crate) fn panel(&self, index: usize) -> &[f32] {
        let len = match self.held {
            Held::F32(_) => self.depth * self.panel_columns,
            Held::Bf16 => pairs::groups(self.depth) * self.panel_columns,
            Held::Int8 => quads::panel_len(self.depth, self.panel_columns),
            Held::Blocks(format) => blocks::panel_len(format, self.depth, self.panel_columns),
            Held::Groups(group) => groups::panel_len(group, self.depth, self.panel_columns),
        };
        &self.panels.as_slice()[index * len..][..len]
    }

    /// Groups of a cut of some panels for a unit, `[groups][C]` for each panel. If they are not held like that, they are made in `memory`.
    pub(crate) fn unit_panels<'a>(
        &'a self,
        panels: Range<usize>,
        groups: Range<usize>,
        memory: &'a mut AlignedVec,
    ) -> &'a [f32] {
        let len = groups.len() * self.panel_columns;
        match (self.held, self.isa.pair_unit()) {
            (Held::Blocks(format), Some(unit)) => {
                assert_eq!(len, blocks::pairs_len(self.depth), "whole panels");
                let wide = memory.reserve_len(panels.len() * len);
                for (to, panel) in wide.chunks_exact_mut(len).zip(panels) {
                    blocks::widen_pairs(unit, format, self.panel(panel), self.depth, to);
                }
                wide
            }
            (Held::F32(Some(unit)), _) => {
                let wide = memory.reserve_len(panels.len() * len);
                let values = |groups: usize| groups * 2 / unit.tiles().parts() * self.panel_columns;
                for (to, panel) in wide.chunks_exact_mut(len).zip(panels) {
                    let panel = self.panel(panel);
                    unit.split_panel(&panel[values(groups.start)..panel.len().min(values(groups.end))], to);
                }
                wide
            }
            _ => {
                let len = self.panel(panels.start).len();
                &self.panels.as_slice()[panels.start * len..panels.end * len]
            }
        }
    }

    /// How many panels and groups are worth making at once for a unit before rows are multiplied by them, or `None` if they are
    /// held as it takes them.
    pub(crate) fn made_at_once(&self) -> Option<[usize; 2]> {
        /// Bytes beside which a block of rows has room in L2; rows in parts come in smaller blocks.
        const BLOCKS: usize = 512 << 10;
        const PARTS: usize = 768 << 10;
        /// Steps of the depth whose parts are made together: of more, L2 would hold fewer panels and rows.
        const MOST_STEPS: usize = 32;
        let panels = |bytes: usize, groups: usize| (bytes / (4 * groups * self.panel_columns)).max(1);
        match self.held {
            Held::Blocks(_) => {
                let groups = pairs::groups(self.depth);
                Some([panels(BLOCKS, groups), groups])
            }
            Held::F32(Some(unit)) => {
                let step = STEP_GROUPS * unit.tiles().parts();
                let steps = unit.groups(self.depth) / step;
                let groups = steps.div_ceil(steps.div_ceil(MOST_STEPS)) * step;
                Some([panels(PARTS, groups), groups])
            }
            _ => None,
        }
    }

    /// Panel `index` in f32, `[depth][C]`; one that is held otherwise is widened into `memory`, int8 without its scales.
    #[inline(always)]
    pub(crate) fn f32_panel<'a, S: Simd>(
        &'a self,
        s: S,
        index: usize,
        memory: &'a mut AlignedVec,
    ) -> &'a [f32] {
        let panel = self.panel(index);
        match self.held {
            Held::F32(_) => return panel,
            Held::Blocks(format) => return blocks::widen(s, format, panel, self.depth, memory),
            Held::Groups(group) => return groups::widen(s, group, panel, self.depth, memory),
            Held::Int8 => return quads::widen(s, panel, self.depth, memory),
            Held::Bf16 => {}
        }
        let columns = self.panel_columns;
        let wide = memory.reserve_len(self.depth * columns);
        for (group, rows) in panel.chunks_exact(columns).zip(wide.chunks_mut(2 * columns)) {
            let (low, high) = rows.split_at_mut(columns);
            for (x, pair) in low.iter_mut().zip(group) {
                *x = f32::from_bits(pair.to_bits() << 16);
            }
            for (x, pair) in high.iter_mut().zip(group) {
                *x = f32::from_bits(pair.to_bits() & 0xffff_0000);
            }
        }
        wide
    }
}

/// The largest of the magnitudes, an infinity also for NaN.
fn largest_magnitude(values: &[f32]) -> f32 {
    // Without the sign they are in order as integers.
    let largest = |values: &[f32]| values.iter().map(|v| v.to_bits() << 1 >> 1).max().unwrap_or(0);
    let bits = values.par_chunks(1 << 16).map(largest).max().unwrap_or(0);
    f32::from_bits(bits.min(f32::INFINITY.to_bits()))
}

/// Asks an instruction set for the columns of its tile.
struct TileColumns;

impl Kernel for TileColumns {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_COLUMNS
    }
}

/// Packs one panel of columns.
struct ColumnPanel<'a> {
    source: &'a dyn RowSource,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for ColumnPanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        pack_column_panel(s, self.source, self.first, self.out);
    }
}

/// Rows `first ..` of `source` as a panel of columns `[depth][C]`, zeros behind the last row.
#[inline(always)]
pub(crate) fn pack_column_panel<S: Simd>(s: S, source: &dyn RowSource, first: usize, out: &mut [f32]) {
    let (segments, len) = (source.segments(), source.segment_len());
    assert!(out.len() >= segments * len * S::TILE_COLUMNS, "room for a panel");
    for segment in 0..segments {
        for c in (0..S::TILE_COLUMNS).step_by(S::LANES) {
            let mut starts = [std::ptr::null(); MAX_TILE_ROWS];
            let valid = source.rows().saturating_sub(first + c).min(S::LANES);
            for (r, start) in starts.iter_mut().enumerate().take(valid) {
                if let Some(values) = source.segment(first + c + r, segment) {
                    assert_eq!(values.len(), len, "every segment has the same length");
                    *start = values.as_ptr();
                }
            }
            for i in (0..len).step_by(S::LANES) {
                // SAFETY: each pointer is null or has `len` values, and the room was checked.
                unsafe {
                    let place = out.as_mut_ptr().add((segment * len + i) * S::TILE_COLUMNS + c);
                    s.transpose(&starts, S::LANES.min(len - i), source.floor(), place, S::TILE_COLUMNS);
                }
                for start in starts.iter_mut().filter(|start| !start.is_null()) {
                    *start = start.wrapping_add(S::LANES);
                }
            }
        }
    }
}

/// The left operand of a product: where its rows lie, as runs of contiguous values.
///
/// A matrix has one segment in each row. A 3x3 convolution over an image `[height, width, channels]` has nine segments of
/// `channels` values, so that its patches exist only as the addresses that are read while packing.
pub(crate) trait RowSource: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Segments in a row.
    fn segments(&self) -> usize;

    /// Values in a segment. `segments * segment_len` is the depth of the product.
    fn segment_len(&self) -> usize;

    /// Segment `segment` of `row`, [`RowSource::segment_len`] values, or `None` for zeros (padding).
    fn segment(&self, row: usize, segment: usize) -> Option<&[f32]>;

    /// Values below are raised to this as they are read: 0 makes a ReLU of it.
    fn floor(&self) -> f32 {
        f32::NEG_INFINITY
    }
}

/// A row-major matrix as a [`RowSource`].
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]` from its values.
    ///
    /// # Panics
    /// If there are not as many values.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix has rows times columns values");
        Self { values, rows, columns }
    }
}

impl RowSource for Matrix<'_> {
    fn rows(&self) -> usize {
        self.rows
    }
    fn segments(&self) -> usize {
        1
    }
    fn segment_len(&self) -> usize {
        self.columns
    }
    fn segment(&self, row: usize, _: usize) -> Option<&[f32]> {
        Some(&self.values[row * self.columns..][..self.columns])
    }
}

/// Values that [`pack_rows`] writes for so many rows, which is a little more than the panels hold.
#[inline(always)]
pub(crate) fn packed_len<S: Simd>(rows: usize, depth: usize) -> usize {
    rows.div_ceil(S::TILE_ROWS) * S::TILE_ROWS * depth + 16
}

/// Packs `rows` rows from `first` on as `[rows / R][depth][R]`, zeros below the last row.
#[inline(always)]
pub(crate) fn pack_rows<S: Simd>(s: S, source: &dyn RowSource, first: usize, rows: usize, out: &mut [f32]) {
    let (segments, segment_len) = (source.segments(), source.segment_len());
    let panel_len = segments * segment_len * S::TILE_ROWS;
    assert!(out.len() >= packed_len::<S>(rows, segments * segment_len), "room for the packed rows");
    for panel in 0..rows.div_ceil(S::TILE_ROWS) {
        let first = first + panel * S::TILE_ROWS;
        let valid = S::TILE_ROWS.min(rows - panel * S::TILE_ROWS);
        for segment in 0..segments {
            let at = panel * panel_len + segment * segment_len * S::TILE_ROWS;
            let mut starts = [std::ptr::null(); MAX_TILE_ROWS];
            for (r, start) in starts.iter_mut().enumerate().take(valid) {
                if let Some(values) = source.segment(first + r, segment) {
                    assert_eq!(values.len(), segment_len, "every segment has the same length");
                    *start = values.as_ptr();
                }
            }
            // SAFETY: each pointer is null or has `segment_len` values; the room was checked, and each vector that is
            // stored starts inside its panel and ends less than 16 values behind it.
            unsafe { interleave(s, &starts, segment_len, source.floor(), out.as_mut_ptr().add(at)) };
        }
    }
}

/// Writes `out[g * TILE_ROWS + r]` = value `g` of row `r`. A vector may be wider than the tile has rows left: what it writes
/// beyond is overwritten by the next group, or lies behind the last one.
///
/// # Safety
/// `starts` must be null or readable for `len` values; `out` must be writable for `len * TILE_ROWS + 16` values.
#[inline(always)]
pub(super) unsafe fn interleave<S: Simd>(
    s: S,
    starts: &[*const f32; MAX_TILE_ROWS],
    len: usize,
    floor: f32,
    out: *mut f32,
) {
    let mut at = 0;
    while at < len {
        let count = S::LANES.min(len - at);
        let mut r = 0;
        while r < S::TILE_ROWS {
            let mut rows = [std::ptr::null(); MAX_TILE_ROWS];
            for (row, start) in rows.iter_mut().zip(&starts[r..]).take(S::LANES) {
                // A null row stays null: it stands for zeros.
                *row = if start.is_null() { *start } else { start.wrapping_add(at) };
            }
            // SAFETY: the caller's promise.
            unsafe { s.transpose(&rows, count, floor, out.add(at * S::TILE_ROWS + r), S::TILE_ROWS) };
            r += S::LANES;
        }
        at += S::LANES;
    }
}
