//! Products of bf16 by instructions that multiply pairs of them ([`super::tiles`]).
//!
//! A group of 32 bits holds the values `2g` (lower half) and `2g + 1` of the depth. Products of two bf16 are exact in f32; sums are
//! f32. Without such an instruction the weights are widened and everything is computed in f32 ([`super::product`]).
//!
//! # f32 by the same instructions
//!
//! An f32 is the sum of three bf16: the nearest to it, the nearest to the rest, and what is left then, of which 8 digits remain. So
//! a product is that of nine pairs, of which three are below 2^-24 of it and are left out ("Leveraging the bfloat16 Artificial
//! Intelligence Datatype For Higher-Precision Computations", Henry, Tang and Heinecke, 2019). AMX does sixteen times the work of
//! f32 in a step and so gains by six products for one. It counts numbers below 2^-126 as 0, and so do the last parts of numbers
//! below 2^-102: rows or weights that are all small, or that are so large that a product of parts could overflow, and what is not
//! finite, do not pass ([`fits`]); those products are computed in f32.
//!
//! A step of 32 values is there three times, one part after the other.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused_variables, dead_code, reason = "a unit is a type without values on other CPUs")
)]

use super::isa::Isa;
use super::pack::{AlignedVec, RowSource};
use super::tiles::{COLUMNS, Factors, PackedRows, Registers, STEP_GROUPS, TileUnit};
use std::sync::atomic::AtomicU32;
#[cfg(target_arch = "x86_64")]
use {
    super::pack::{Matrix, pack_column_panel},
    super::simd::{Kernel, Simd},
    std::cell::Cell,
    std::ops::Range,
    std::sync::atomic::Ordering,
};

/// Depth is padded with zeros to a multiple of this.
pub(crate) const DEPTH_STEP: usize = 2 * STEP_GROUPS;

/// Whether numbers of which this is the largest magnitude can be multiplied in parts, as good as in f32.
pub(super) fn fits(largest: f32) -> bool {
    /// 2^60: a product has room for 256 like it.
    const MOST: f32 = (1u64 << 60) as f32;
    largest == 0.0 || (1.0 / MOST..=MOST).contains(&largest)
}

/// Pairs of a padded depth, one step at least.
pub(crate) fn groups(depth: usize) -> usize {
    depth.max(1).next_multiple_of(DEPTH_STEP) / 2
}

/// A unit that multiplies pairs of bf16. A value exists only for what was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairUnit(TileUnit);

impl PairUnit {
    /// The unit with these registers, if this CPU has it beside AVX-512.
    pub(super) fn detect(registers: Registers) -> Option<Self> {
        TileUnit::detect(registers, Factors::Bf16).map(Self)
    }

    /// The unit that multiplies f32 in parts, if this CPU gains by it.
    pub(super) fn detect_split(registers: Registers) -> Option<Self> {
        TileUnit::detect(registers, Factors::Split).map(Self)
    }

    /// Groups of so many values.
    pub(super) fn groups(self, depth: usize) -> usize {
        groups(depth) * self.0.parts()
    }

    /// What multiplies packed rows and panels.
    pub(crate) fn tiles(self) -> TileUnit {
        self.0
    }

    /// All rows of `source`, rounded to bf16 or in parts, and laid out for [`TileUnit::block_times_panel`], on all threads or one.
    pub(crate) fn pack_rows<'m>(
        self,
        isa: Isa,
        source: &dyn RowSource,
        is_parallel: bool,
        memory: &'m mut AlignedVec,
    ) -> PackedRows<'m> {
        let (groups, parts) = (self.groups(source.segments() * source.segment_len()), self.0.parts());
        let largest = AtomicU32::new(0);
        let fill = |first, stride, out: &mut [f32]| {
            #[cfg(target_arch = "x86_64")]
            largest.fetch_max(round_rows(parts, source, first, stride, out).to_bits(), Ordering::Relaxed);
        };
        let mut packed = self.0.pack_rows(isa, source.rows(), groups, is_parallel, memory, fill);
        packed.fits = parts == 1 || fits(f32::from_bits(largest.into_inner()));
        packed
    }

    /// The rows of `source` as columns, rounded to bf16: panels `[rows / 32][groups][32]`, with zeros behind the last row.
    pub(crate) fn pack_columns<'m>(
        self,
        isa: Isa,
        source: &dyn RowSource,
        memory: &'m mut AlignedVec,
    ) -> &'m [f32] {
        let (groups, panels) =
            (groups(source.segments() * source.segment_len()), source.rows().div_ceil(COLUMNS));
        let packed = memory.reserve_len(panels * groups * COLUMNS);
        #[cfg(target_arch = "x86_64")]
        for (panel, out) in packed.chunks_exact_mut(groups * COLUMNS).enumerate() {
            isa.run(RoundedColumns { source, first: panel * COLUMNS, groups, out });
        }
        packed
    }

    /// A panel `[depth][32]` in parts.
    pub(super) fn split_panel(self, panel: &[f32], out: &mut [f32]) {
        assert_eq!(out.len(), self.groups(panel.len() / COLUMNS) * COLUMNS, "room for the groups");
        // SAFETY: a unit exists only if the CPU has the instruction; the lengths were checked.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            x86::split_panel(panel, out);
        }
    }

    /// The rows of `source` as depth, rounded to bf16: panels `[columns / 32][groups of rows][32]`, padded with zeros.
    pub(crate) fn pack_depth<'m>(self, source: &dyn RowSource, memory: &'m mut AlignedVec) -> &'m [f32] {
        let (rows, columns) = (source.rows(), source.segment_len());
        assert_eq!(source.segments(), 1, "a row is one segment");
        let panel = groups(rows) * COLUMNS;
        let packed = memory.reserve_len(columns.div_ceil(COLUMNS) * panel);
        for g in 0..groups(rows) {
            let row = |i: usize| if i < rows { source.segment(i, 0).unwrap_or_default() } else { &[] };
            let pair = [row(2 * g), row(2 * g + 1)];
            for c in (0..columns).step_by(COLUMNS) {
                let pair = pair.map(|row| &row[c.min(row.len())..(c + COLUMNS).min(row.len())]);
                let out = &mut packed[c / COLUMNS * panel + g * COLUMNS..][..COLUMNS];
                // SAFETY: a unit exists only if the CPU has the instruction.
                #[cfg(target_arch = "x86_64")]
                unsafe {
                    x86::round_pair::<1>(pair, out);
                }
            }
        }
        packed
    }
}

/// Rows from `first` on as bf16 or in parts, `stride` groups from row to row, with zeros behind the depth; anything for rows behind the
/// last. Returns the largest magnitude, an infinity also for NaN.
#[cfg(target_arch = "x86_64")]
fn round_rows(parts: usize, source: &dyn RowSource, first: usize, stride: usize, out: &mut [f32]) -> f32 {
    let (segments, len) = (source.segments(), source.segment_len());
    let rows = source.rows().saturating_sub(first);
    let (depth, padded) = (segments * len, groups(segments * len) * 2);
    let mut largest = 0.0f32;
    for (r, row) in out.chunks_exact_mut(stride).enumerate().take(rows) {
        let halves: &mut [u16] = &mut bytemuck::cast_slice_mut(row)[..padded * parts];
        for segment in 0..segments {
            let at = segment * len;
            let values = source.segment(first + r, segment);
            let Some(values) = values else {
                zero(halves, parts, at..at + len);
                continue;
            };
            assert!(at + values.len() <= padded, "a row has its segments");
            // SAFETY: a unit exists only if the CPU has the instruction; the room was checked.
            largest = largest.max(unsafe {
                match parts {
                    1 => x86::round::<1>(values, source.floor(), at, halves),
                    _ => x86::round::<3>(values, source.floor(), at, halves),
                }
            });
        }
        zero(halves, parts, depth..padded);
    }
    largest
}

/// Zeros for values `range` of a row.
#[cfg(target_arch = "x86_64")]
fn zero(halves: &mut [u16], parts: usize, range: Range<usize>) {
    for i in range {
        for part in 0..parts {
            halves[(i / DEPTH_STEP * parts + part) * DEPTH_STEP + i % DEPTH_STEP] = 0;
        }
    }
}

/// Rows `first ..` as a panel of columns, `[groups][32]`.
#[cfg(target_arch = "x86_64")]
struct RoundedColumns<'a> {
    source: &'a dyn RowSource,
    first: usize,
    groups: usize,
    out: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for RoundedColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { source, first, groups, out } = self;
        assert_eq!(S::TILE_COLUMNS, COLUMNS, "panels of AVX-512");
        let mut memory = ROUNDED.take();
        let rounded = memory.reserve_len(COLUMNS * groups);
        round_rows(1, source, first, groups, rounded);
        let rows = COLUMNS.min(source.rows() - first);
        // The bits of a pair pass as those of an f32 would: nothing is below the floor.
        pack_column_panel(s, &Matrix::new(&rounded[..rows * groups], rows, groups), 0, out);
        ROUNDED.set(memory);
    }
}

#[cfg(target_arch = "x86_64")]
thread_local! {
    /// Rows that become columns, before their groups lie together.
    static ROUNDED: Cell<AlignedVec> = Cell::default();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "a dozen instructions, all with their own prefix")]
    use std::arch::x86_64::*;

    /// The nearest bf16, or the `PARTS` whose sum it is.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn parts<const PARTS: usize>(mut x: __m512) -> [__m256i; PARTS] {
        std::array::from_fn(|_| {
            // SAFETY: both types are 256 bits.
            let part = unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
            x = _mm512_sub_ps(x, widened(part));
            part
        })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn widened(halves: __m256i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }

    /// Writes values of a row from `at` on, those below `floor` as `floor`: steps of 32, each with its first parts before the others.
    /// Returns the largest magnitude, an infinity also for NaN; 0 for one part.
    ///
    /// # Safety
    /// The CPU must have the features named here, and `row` room for the steps that are touched.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn round<const PARTS: usize>(
        values: &[f32],
        floor: f32,
        at: usize,
        row: &mut [u16],
    ) -> f32 {
        let floor = _mm512_set1_ps(floor);
        let mut largest = _mm512_setzero_si512();
        let mut from = 0;
        while from < values.len() {
            let (step, place) = ((at + from) / 32, (at + from) % 32);
            // Not over the end of half a step.
            let len = (values.len() - from).min(16 - place % 16);
            let mask = u16::MAX >> (16 - len);
            // SAFETY: the mask leaves out what is behind the end.
            unsafe {
                let x = _mm512_max_ps(floor, _mm512_maskz_loadu_ps(mask, values.as_ptr().add(from)));
                if PARTS > 1 {
                    // Without the sign they are in order as integers.
                    let magnitude = _mm512_slli_epi32::<1>(_mm512_castps_si512(x));
                    largest = _mm512_mask_max_epu32(largest, mask, largest, magnitude);
                }
                let to = row.as_mut_ptr().add(step * 32 * PARTS + place);
                for (part, bits) in parts::<PARTS>(x).into_iter().enumerate() {
                    _mm256_mask_storeu_epi16(to.add(part * 32).cast(), mask, bits);
                }
            }
            from += len;
        }
        f32::from_bits((_mm512_reduce_max_epu32(largest) >> 1).min(f32::INFINITY.to_bits()))
    }

    /// Up to 32 values of two rows, of which one may be shorter or absent: pairs of a column, the first row in the lower half, and
    /// zeros behind the end; one part or three, each with so much room as a step takes.
    ///
    /// # Safety
    /// The CPU must have the features named here, and `out` room for the parts.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round_pair<const PARTS: usize>(rows: [&[f32]; 2], out: &mut [f32]) {
        for v in [0, 16] {
            let [low, high] = rows.map(|row| {
                let left = &row[v.min(row.len())..];
                let mask = if left.len() >= 16 { u16::MAX } else { (1 << left.len()) - 1 };
                // SAFETY: the mask leaves out what is behind the end.
                parts::<PARTS>(unsafe { _mm512_maskz_loadu_ps(mask, left.as_ptr()) })
            });
            for (part, (low, high)) in low.into_iter().zip(high).enumerate() {
                let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
                let pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(low), high);
                // SAFETY: the caller vouches for the room.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(part * 512 + v).cast(), pairs) };
            }
        }
    }

    /// Rows of 32 values as steps `[3][16][32]` of pairs, with zeros behind the last row.
    ///
    /// # Safety
    /// The CPU must have the features named here, and `out` room for whole steps.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn split_panel(panel: &[f32], out: &mut [f32]) {
        let mut rows = panel.chunks_exact(32);
        for step in out.chunks_exact_mut(3 * 512) {
            for g in 0..16 {
                let pair = [rows.next().unwrap_or_default(), rows.next().unwrap_or_default()];
                // SAFETY: a step has room for the parts of its pairs.
                unsafe { round_pair::<3>(pair, &mut step[g * 32..]) };
            }
        }
    }
}
