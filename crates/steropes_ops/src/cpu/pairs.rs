//! Products of bf16 by instructions that multiply pairs of them ([`super::tiles`]).
//!
//! A group of 32 bits holds the values `2g` (lower half) and `2g + 1` of the depth. Products of two bf16 are exact in f32; sums are
//! f32. Without such an instruction the weights are widened and everything is computed in f32 ([`super::product`]).

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused_variables, dead_code, reason = "a unit is a type without values on other CPUs")
)]

use super::isa::Isa;
use super::pack::{AlignedVec, RowSource};
use super::tiles::{COLUMNS, Factors, PackedRows, Registers, STEP_GROUPS, TileUnit};
#[cfg(target_arch = "x86_64")]
use {
    super::pack::{Matrix, pack_column_panel},
    super::simd::{Kernel, Simd},
    std::cell::Cell,
};

/// Depth is padded with zeros to a multiple of this.
pub(crate) const DEPTH_STEP: usize = 2 * STEP_GROUPS;

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

    /// What multiplies packed rows and panels.
    pub(crate) fn tiles(self) -> TileUnit {
        self.0
    }

    /// All rows of `source`, rounded to bf16 and laid out for [`TileUnit::block_times_panel`], on all threads or one.
    pub(crate) fn pack_rows<'m>(
        self,
        isa: Isa,
        source: &dyn RowSource,
        is_parallel: bool,
        memory: &'m mut AlignedVec,
    ) -> PackedRows<'m> {
        let groups = groups(source.segments() * source.segment_len());
        self.0.pack_rows(isa, source.rows(), groups, is_parallel, memory, |first, stride, out| {
            #[cfg(target_arch = "x86_64")]
            round_rows(source, first, stride, out);
        })
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
                let part = pair.map(|row| &row[c.min(row.len())..(c + COLUMNS).min(row.len())]);
                let out = &mut packed[c / COLUMNS * panel + g * COLUMNS..][..COLUMNS];
                // SAFETY: a unit exists only if the CPU has the instruction.
                #[cfg(target_arch = "x86_64")]
                unsafe {
                    x86::round_pair(part, out);
                }
            }
        }
        packed
    }
}

/// Rows from `first` on as bf16, `stride` groups from row to row, with zeros behind the depth; anything for rows behind the last.
#[cfg(target_arch = "x86_64")]
fn round_rows(source: &dyn RowSource, first: usize, stride: usize, out: &mut [f32]) {
    let (segments, len) = (source.segments(), source.segment_len());
    let rows = source.rows().saturating_sub(first);
    for (r, row) in out.chunks_exact_mut(stride).enumerate().take(rows) {
        let halves: &mut [u16] = bytemuck::cast_slice_mut(row);
        for segment in 0..segments {
            let to = &mut halves[segment * len..][..len];
            match source.segment(first + r, segment) {
                // SAFETY: a unit exists only if the CPU has the instruction.
                Some(values) => unsafe { x86::round(values, source.floor(), to) },
                None => to.fill(0),
            }
        }
        halves[segments * len..2 * groups(segments * len)].fill(0);
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
        round_rows(source, first, groups, rounded);
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

    /// Rounds to the nearest bf16; values below `floor` count as `floor`.
    ///
    /// # Safety
    /// The CPU must have the features named here.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round(values: &[f32], floor: f32, to: &mut [u16]) {
        let floor = _mm512_set1_ps(floor);
        let (mut at, len) = (0, values.len().min(to.len()));
        while at < len {
            let left = (len - at).min(32);
            let mask = if left == 32 { u32::MAX } else { (1 << left) - 1 };
            // SAFETY: the mask leaves out what is behind the end.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask as u16, values.as_ptr().add(at));
                let high = _mm512_maskz_loadu_ps((mask >> 16) as u16, values.as_ptr().wrapping_add(at + 16));
                let pairs = _mm512_cvtne2ps_pbh(_mm512_max_ps(floor, high), _mm512_max_ps(floor, low));
                let bits = std::mem::transmute::<__m512bh, __m512i>(pairs);
                _mm512_mask_storeu_epi16(to.as_mut_ptr().add(at).cast(), mask, bits);
            }
            at += left;
        }
    }

    /// Rounds up to 32 values of two rows, of which one may be shorter or absent, to the nearest bf16: pairs of a column, the
    /// first row in the lower half, and zeros behind the end.
    ///
    /// # Safety
    /// The CPU must have the features named here.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round_pair(rows: [&[f32]; 2], out: &mut [f32]) {
        for (i, out) in out.chunks_exact_mut(16).enumerate() {
            let [low, high] = rows.map(|row| {
                let left = &row[(i * 16).min(row.len())..];
                let mask = if left.len() >= 16 { u16::MAX } else { (1 << left.len()) - 1 };
                // SAFETY: the mask leaves out what is behind the end.
                let bits = unsafe { _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, left.as_ptr())) };
                // SAFETY: both types are 256 bits.
                _mm512_cvtepu16_epi32(unsafe { std::mem::transmute::<__m256bh, __m256i>(bits) })
            });
            let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            // SAFETY: a chunk is a vector.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs) };
        }
    }
}
