//! Weights that stay in blocks of 32 integers with a scale ([`crate::linalg::quantize`]) until a panel of them is multiplied.
//!
//! A panel of `C` columns is cut along its depth into steps of 32: `C` scales in f16, then the integers, those of q8 as `[32][C]`
//! and those of q4 as `[16][C]`, a byte for the depths `2g` (lower half) and `2g + 1`. So a vector of columns lies together, as the
//! register tile and pairs of bf16 want it, and a panel has as many bytes as its blocks.

use super::pack::AlignedVec;
use super::pairs;
use super::simd::Simd;
use crate::linalg::quantize::{BLOCK_LEN, BlockFormat, BlockQ4, BlockQ8, Blocks, QuantizedMatrix};
use rayon::prelude::*;

/// Steps of a depth, one at least, as many as [`pairs::groups`] is made of.
fn steps(depth: usize) -> usize {
    const { assert!(pairs::DEPTH_STEP == BLOCK_LEN) };
    pairs::groups(depth) / (BLOCK_LEN / 2)
}

/// Groups of 32 bits in a panel.
pub(super) fn panel_len(format: BlockFormat, depth: usize, panel_columns: usize) -> usize {
    steps(depth) * panel_columns * format.block_bytes() / 4
}

/// The rows of a matrix as columns in panels, with zeros behind the last column and the last value of a column.
pub(super) fn pack(matrix: &QuantizedMatrix, panel_columns: usize) -> AlignedVec {
    let [columns, depth] = matrix.shape();
    let len = panel_len(matrix.format(), depth, panel_columns);
    let mut panels = AlignedVec::zeros(columns.div_ceil(panel_columns) * len);
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(panels.as_mut_slice());
    let row_blocks = depth.div_ceil(BLOCK_LEN);
    let step_bytes = panel_columns * matrix.format().block_bytes();
    bytes.par_chunks_mut(4 * len).enumerate().for_each(|(panel, out)| {
        let first = panel * panel_columns;
        for c in 0..panel_columns.min(columns.saturating_sub(first)) {
            let blocks = (first + c) * row_blocks..(first + c + 1) * row_blocks;
            let steps = out.chunks_exact_mut(step_bytes);
            match matrix.blocks() {
                Blocks::Q8(all) => {
                    steps.zip(&all[blocks]).for_each(|(step, b)| place_q8(b, step, c, panel_columns));
                }
                Blocks::Q4(all) => {
                    steps.zip(&all[blocks]).for_each(|(step, b)| place_q4(b, step, c, panel_columns));
                }
            }
        }
    });
    panels
}

fn place_q8(block: &BlockQ8, step: &mut [u8], column: usize, panel_columns: usize) {
    let (scales, integers) = step.split_at_mut(2 * panel_columns);
    scales[2 * column..][..2].copy_from_slice(&block.scale.to_le_bytes());
    for (i, &value) in block.values.iter().enumerate() {
        integers[i * panel_columns + column] = value.cast_unsigned();
    }
}

fn place_q4(block: &BlockQ4, step: &mut [u8], column: usize, panel_columns: usize) {
    let (scales, integers) = step.split_at_mut(2 * panel_columns);
    scales[2 * column..][..2].copy_from_slice(&block.scale.to_le_bytes());
    for g in 0..BLOCK_LEN / 2 {
        integers[g * panel_columns + column] = block.number(2 * g) | block.number(2 * g + 1) << 4;
    }
}

/// A panel in f32, `[depth rounded up to 32][C]`, exactly.
#[inline(always)]
pub(super) fn widen<'m, S: Simd>(
    _: S,
    format: BlockFormat,
    panel: &[f32],
    depth: usize,
    memory: &'m mut AlignedVec,
) -> &'m [f32] {
    let columns = S::TILE_COLUMNS;
    let wide = memory.reserve_len(steps(depth) * BLOCK_LEN * columns);
    let bytes: &[u8] = bytemuck::cast_slice(panel);
    let steps = bytes.chunks_exact(columns * format.block_bytes());
    for (step, out) in steps.zip(wide.chunks_exact_mut(BLOCK_LEN * columns)) {
        let (halves, integers) = step.split_at(2 * columns);
        let mut scales = [0.0; MOST_COLUMNS];
        for (scale, half) in scales.iter_mut().zip(halves.chunks_exact(2)) {
            *scale = half_to_f32(u16::from_le_bytes([half[0], half[1]]));
        }
        let scales = &scales[..columns];
        match format {
            BlockFormat::Q8 => {
                for (row, integers) in out.chunks_exact_mut(columns).zip(integers.chunks_exact(columns)) {
                    for ((x, &integer), scale) in row.iter_mut().zip(integers).zip(scales) {
                        *x = f32::from(integer.cast_signed()) * scale;
                    }
                }
            }
            BlockFormat::Q4 => {
                for (rows, pairs) in out.chunks_exact_mut(2 * columns).zip(integers.chunks_exact(columns)) {
                    let (low, high) = rows.split_at_mut(columns);
                    for ((x, &pair), scale) in low.iter_mut().zip(pairs).zip(scales) {
                        *x = (f32::from(pair & 15) - 8.0) * scale;
                    }
                    for ((x, &pair), scale) in high.iter_mut().zip(pairs).zip(scales) {
                        *x = (f32::from(pair >> 4) - 8.0) * scale;
                    }
                }
            }
        }
    }
    wide
}

/// More columns than any tile has.
const MOST_COLUMNS: usize = 64;

/// A finite f16 exactly, also a small one, without a branch.
#[inline(always)]
fn half_to_f32(bits: u16) -> f32 {
    // 2^112: the difference of the biases of both exponents.
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// Pairs in a panel of 32 columns.
pub(super) fn pairs_len(depth: usize) -> usize {
    pairs::groups(depth) * 32
}

/// A panel of 32 columns in pairs of bf16, `[groups][32]`, each value rounded once; for a unit that multiplies them.
pub(super) fn widen_pairs(
    _: pairs::PairUnit,
    format: BlockFormat,
    panel: &[f32],
    depth: usize,
    wide: &mut [f32],
) {
    assert!(wide.len() >= pairs_len(depth), "room for a panel");
    assert!(panel.len() >= panel_len(format, depth, 32), "a whole panel");
    // SAFETY: a unit exists only if the CPU has the instructions; the lengths are those of the steps.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        match format {
            BlockFormat::Q8 => x86::pairs_of_q8(steps(depth), panel, wide),
            BlockFormat::Q4 => x86::pairs_of_q4(steps(depth), panel, wide),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "a dozen instructions, all with their own prefix")]
    use std::arch::x86_64::*;

    /// Two vectors of 16 depths, each of 16 columns, to 16 pairs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn paired(low: __m512, high: __m512) -> __m512i {
        let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
        // SAFETY: both types are 512 bits.
        let (order, halves) = unsafe {
            let halves = _mm512_cvtne2ps_pbh(high, low);
            (
                std::mem::transmute::<[u16; 32], __m512i>(order),
                std::mem::transmute::<__m512bh, __m512i>(halves),
            )
        };
        _mm512_permutexvar_epi16(order, halves)
    }

    /// # Safety
    /// The CPU must have the features named here; `panel` must hold `steps` steps of 32 columns and `out` have room for their pairs.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn pairs_of_q8(steps: usize, panel: &[f32], out: &mut [f32]) {
        let (mut from, mut to) = (panel.as_ptr().cast::<u8>(), out.as_mut_ptr());
        for _ in 0..steps {
            // SAFETY: the caller vouches for both slices: a step has 64 bytes of scales and 32 x 32 of integers.
            unsafe {
                let scales = [0, 1].map(|v| _mm512_cvtph_ps(_mm256_loadu_si256(from.add(32 * v).cast())));
                for g in 0..16 {
                    for (v, &scale) in scales.iter().enumerate() {
                        let row = |r: usize| {
                            let bytes = _mm_loadu_si128(from.add(64 + r * 32 + v * 16).cast());
                            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), scale)
                        };
                        let pairs = paired(row(2 * g), row(2 * g + 1));
                        _mm512_storeu_si512(to.add(g * 32 + v * 16).cast(), pairs);
                    }
                }
                from = from.add(64 + 32 * 32);
                to = to.add(16 * 32);
            }
        }
    }

    /// # Safety
    /// As [`pairs_of_q8`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn pairs_of_q4(steps: usize, panel: &[f32], out: &mut [f32]) {
        // The value of each number: a permutation by numbers looks only at their 4 lower bits.
        let table: [f32; 16] = std::array::from_fn(|n| n as f32 - 8.0);
        // SAFETY: the table has 16 values.
        let table = unsafe { _mm512_loadu_ps(table.as_ptr()) };
        let (mut from, mut to) = (panel.as_ptr().cast::<u8>(), out.as_mut_ptr());
        for _ in 0..steps {
            // SAFETY: the caller vouches for both slices: a step has 64 bytes of scales and 16 x 32 of integers.
            unsafe {
                let scales = [0, 1].map(|v| _mm512_cvtph_ps(_mm256_loadu_si256(from.add(32 * v).cast())));
                for g in 0..16 {
                    for (v, &scale) in scales.iter().enumerate() {
                        let bytes = _mm_loadu_si128(from.add(64 + g * 32 + v * 16).cast());
                        let numbers = _mm512_cvtepu8_epi32(bytes);
                        let low = _mm512_permutexvar_ps(numbers, table);
                        let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(numbers), table);
                        let pairs = paired(_mm512_mul_ps(low, scale), _mm512_mul_ps(high, scale));
                        _mm512_storeu_si512(to.add(g * 32 + v * 16).cast(), pairs);
                    }
                }
                from = from.add(64 + 16 * 32);
                to = to.add(16 * 32);
            }
        }
    }
}
