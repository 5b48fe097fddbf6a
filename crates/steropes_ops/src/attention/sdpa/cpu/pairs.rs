//! One head with products of pairs of bf16. Queries, keys, values and weights are rounded; scores and sums are f32.

use super::{MAX_ROWS, Part, Rows, Running, SCORE_ROW, STEP, weigh};
use crate::attention::sdpa::Extents;
use crate::cpu::Isa;
use crate::cpu::pairs::{DEPTH_STEP, PairUnit, groups};
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::tiles::{COLUMNS, Sums};

/// Tiles of queries in a block: each call into the unit sets its registers up.
const BLOCK_TILES: usize = 2;

/// Queries that meet the keys together.
pub(super) fn block_rows(unit: PairUnit) -> usize {
    BLOCK_TILES * unit.tiles().tile_rows()
}

pub(super) struct HeadKernel<'a> {
    pub(super) part: Part<'a>,
    pub(super) isa: Isa,
    pub(super) unit: PairUnit,
    pub(super) scratch: &'a mut super::Scratch,
}

impl Kernel for HeadKernel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { part, isa, unit, scratch } = self;
        let super::Inputs { extents: Extents { keys, head_dim, .. }, scale, .. } = *part.inputs;
        let (q, [key_head, value_head]) = (part.queries(), part.keys_and_values());
        let packed_keys = unit.pack_columns(isa, &key_head, &mut scratch.keys);
        let packed_values = unit.pack_depth(&value_head, &mut scratch.values);
        let [key_panel, value_panel] = [head_dim, keys].map(|depth| groups(depth) * COLUMNS);
        let (block, width) = (block_rows(unit), head_dim.next_multiple_of(COLUMNS));
        assert!(block <= MAX_ROWS, "room for the maxima of a block");
        let scores = scratch.scores.reserve_len(block * SCORE_ROW);
        let sums = scratch.sums.reserve_len(block * width);
        for first in part.queries.clone().step_by(block) {
            let rows = block.min(part.queries.end - first);
            let queries = Rows { values: &q.values[first * q.stride..], rows, ..q };
            let queries = unit.pack_rows(isa, &queries, false, &mut scratch.queries);
            let mut running = Running::START;
            for first_key in (0..keys).step_by(STEP) {
                let step = STEP.min(keys - first_key);
                for at in (0..step).step_by(COLUMNS) {
                    let panel = &packed_keys[(first_key + at) / COLUMNS * key_panel..];
                    let to = Sums { values: &mut scores[at..], stride: SCORE_ROW, accumulate: false };
                    let depth = 0..queries.groups();
                    unit.tiles().block_times_panel(0..rows, &queries, depth, panel, to);
                }
                let sums_so_far = (first_key > 0).then_some(&mut sums[..rows * width]);
                weigh(s, rows, scores, step, scale, &mut running, sums_so_far);
                // Padding takes part with the scores of zero keys as weights, of which zero values make nothing.
                let depth = step.next_multiple_of(DEPTH_STEP);
                let weights = Rows { values: scores, rows, stride: SCORE_ROW, len: depth };
                let weights = unit.pack_rows(isa, &weights, false, &mut scratch.weights);
                for c in (0..width).step_by(COLUMNS) {
                    let panel = &packed_values[c / COLUMNS * value_panel + first_key / 2 * COLUMNS..];
                    let to = Sums { values: &mut sums[c..], stride: width, accumulate: first_key > 0 };
                    let depth = 0..weights.groups();
                    unit.tiles().block_times_panel(0..rows, &weights, depth, panel, to);
                }
            }
            part.write(s, first, rows, sums, width, &running);
        }
    }
}
