//! Weights that stay in groups of numbers of four bits with a range ([`GroupedMatrix`]) until a panel of them is multiplied.
//!
//! A panel of `C` columns is cut along its depth into groups: `C` scales and `C` lowest values in f32, then the numbers as `[group / 2][C]`,
//! a byte for the depths `2g` (lower half) and `2g + 1`. So a vector of columns lies together, and a panel has as many bytes as its
//! groups.

use super::pack::AlignedVec;
use super::simd::Simd;
use crate::linalg::quantize::GroupedMatrix;
use rayon::prelude::*;

/// f32 of one group of a panel.
fn group_len(group: usize, panel_columns: usize) -> usize {
    panel_columns * (2 + group / 8)
}

/// f32 of a panel.
pub(super) fn panel_len(group: usize, depth: usize, panel_columns: usize) -> usize {
    depth.div_ceil(group) * group_len(group, panel_columns)
}

/// The rows of a matrix as columns in panels, with zeros behind the last column.
pub(super) fn pack(matrix: &GroupedMatrix, panel_columns: usize) -> AlignedVec {
    let ([columns, depth], group) = (matrix.shape(), matrix.group());
    let len = panel_len(group, depth, panel_columns);
    let mut panels = AlignedVec::zeros(columns.div_ceil(panel_columns) * len);
    panels.as_mut_slice().par_chunks_mut(len.max(1)).enumerate().for_each(|(panel, out)| {
        let first = panel * panel_columns;
        for (g, out) in out.chunks_exact_mut(group_len(group, panel_columns)).enumerate() {
            let (ranges, numbers) = out.split_at_mut(2 * panel_columns);
            let numbers: &mut [u8] = bytemuck::cast_slice_mut(numbers);
            for c in 0..panel_columns.min(columns.saturating_sub(first)) {
                let range = matrix.range(first + c, g);
                (ranges[c], ranges[panel_columns + c]) = (range.scale, range.low);
                for i in 0..group / 2 {
                    let number = |half: usize| matrix.number(first + c, g * group + 2 * i + half);
                    numbers[i * panel_columns + c] = number(0) | number(1) << 4;
                }
            }
        }
    });
    panels
}

/// A panel in f32, `[depth rounded up to the group][C]`, each value rounded as the instruction set does.
#[inline(always)]
pub(super) fn widen<'m, S: Simd>(
    _: S,
    group: usize,
    panel: &[f32],
    depth: usize,
    memory: &'m mut AlignedVec,
) -> &'m [f32] {
    let columns = S::TILE_COLUMNS;
    let wide = memory.reserve_len(depth.div_ceil(group) * group * columns);
    let groups = panel.chunks_exact(group_len(group, columns));
    for (from, out) in groups.zip(wide.chunks_exact_mut(group * columns)) {
        let (ranges, numbers) = from.split_at(2 * columns);
        let (scales, lows) = ranges.split_at(columns);
        let numbers: &[u8] = bytemuck::cast_slice(numbers);
        for (rows, pairs) in out.chunks_exact_mut(2 * columns).zip(numbers.chunks_exact(columns)) {
            let (first, second) = rows.split_at_mut(columns);
            for (c, &pair) in pairs.iter().enumerate() {
                first[c] = f32::from(pair & 15) * scales[c] + lows[c];
                second[c] = f32::from(pair >> 4) * scales[c] + lows[c];
            }
        }
    }
    wide
}
