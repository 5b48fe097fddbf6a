//! `out = residual + activation(rows weights + bias)`, the one matrix product.
//!
//! Order of the loops: block of rows (packed once) > panel of weights (read once per block) > piece of the depth > panel of
//! rows > register tile. The sums of one block and one panel stay in the inner caches until the depth is done, then leave
//! through the epilogue, so that every value of the result is written exactly once.
//!
//! The order of the additions depends on the depth alone, so the result does not depend on the number of threads.

use super::math;
use super::pack::{AlignedVec, GroupUnit, Matrix, PackedWeights, RowSource, pack_rows, packed_len};
use super::quads::{self, RoundedRows};
use super::simd::{Kernel, Lane, Place, Simd};
use super::tiles::{PackedRows, Sums, TileUnit};
use rayon::prelude::*;
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// Rows that are packed together: more would mean fewer passes over the weights, but the block must stay in L2.
const BLOCK_ROWS: usize = 196;
/// Depth of a piece: 64 KB of a panel of weights then stay in L2 while all rows of the block use it. Every piece is summed
/// on its own, which also keeps rounding errors from growing with the whole depth.
const DEPTH_PIECE: usize = 512;
/// Tasks for each thread. Equal shares would let one busy core delay all others.
const TASKS_PER_THREAD: usize = 4;
/// Rows below which a block would read the weights too often for what it computes.
const LEAST_BLOCK_ROWS: usize = 48;
/// Columns below which a task would pack its rows too often for what it computes.
const LEAST_TASK_COLUMNS: usize = 128;
/// Multiply-adds below which handing work to other threads costs more than it saves (about 10 µs of one core).
const LEAST_PARALLEL_WORK: usize = 1 << 19;

/// What is applied to the finished product before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `x/2 (1 + erf(x / sqrt 2))`, the exact form.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// What is added last.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Residual<'a> {
    /// Nothing.
    Nothing,
    /// What the output holds; only with [`product_into`].
    Output,
    /// These values, in the shape of the output.
    Values(&'a [f32]),
}

/// What happens to a sum on its way to memory: `residual + activation(sum + bias)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a> {
    /// One value for each column.
    pub(crate) bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub(crate) activation: Activation,
    /// Added after the activation.
    pub(crate) residual: Residual<'a>,
}

impl<'a> Epilogue<'a> {
    /// Only a bias.
    pub(crate) fn bias(bias: Option<&'a [f32]>) -> Self {
        Self { bias, activation: Activation::Identity, residual: Residual::Nothing }
    }
}

/// The product as a new row-major `[rows, columns]`.
///
/// # Panics
/// If the depth of `source`, the length of the bias or that of the residual does not fit.
pub(crate) fn product(source: &dyn RowSource, weights: &PackedWeights, epilogue: Epilogue<'_>) -> Vec<f32> {
    assert!(!matches!(epilogue.residual, Residual::Output), "a new output holds nothing to add");
    let len = source.rows() * weights.columns();
    let mut out = Vec::with_capacity(len);
    Product { source, weights, epilogue, out: Output(out.as_mut_ptr()) }.run();
    // SAFETY: the capacity was reserved, and `run` writes every value.
    unsafe { out.set_len(len) };
    out
}

/// The product into row-major `[rows, columns]`.
///
/// # Panics
/// As [`product`], and if `out` has another length.
pub(crate) fn product_into(
    source: &dyn RowSource,
    weights: &PackedWeights,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    assert_eq!(out.len(), source.rows() * weights.columns(), "the output has rows times columns values");
    Product { source, weights, epilogue, out: Output(out.as_mut_ptr()) }.run();
}

/// The first value of an output that tasks share, each writing its own rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Output(pub(crate) *mut f32);

// SAFETY: tasks write disjoint parts and read only what they write.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

struct Product<'a> {
    source: &'a dyn RowSource,
    weights: &'a PackedWeights,
    epilogue: Epilogue<'a>,
    out: Output,
}

/// A part of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    rows: Range<usize>,
    panels: Range<usize>,
}

/// Memory that a thread keeps from task to task: a packed block of rows, a widened panel, and the sums of one block and panel.
#[derive(Default)]
struct Scratch {
    rows: AlignedVec,
    panel: AlignedVec,
    sums: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// All rows of a product in groups or as integers, which its tasks share.
    static ROUNDED: Cell<AlignedVec> = Cell::default();
}

impl Product<'_> {
    fn run(&self) {
        let (rows, columns, depth) = (self.source.rows(), self.weights.columns(), self.weights.depth());
        assert_eq!(self.source.segments() * self.source.segment_len(), depth, "rows as long as the depth");
        assert!(self.epilogue.bias.is_none_or(|b| b.len() == columns), "a bias for every column");
        if let Residual::Values(values) = self.epilogue.residual {
            assert_eq!(values.len(), rows * columns, "a residual in the shape of the output");
        }
        let isa = self.weights.isa();
        let work = rows * columns * depth.max(1);
        let threads = if work < LEAST_PARALLEL_WORK { 1 } else { rayon::current_num_threads() };
        let is_parallel = threads > 1;
        let int8 = self.weights.takes_int8().then(|| RoundedRows::new(rows));
        let mut memory = ROUNDED.take();
        match (self.weights.unit(), &int8) {
            (Some(GroupUnit::Quads(unit)), Some(int8)) => {
                let packed = int8.pack(unit, isa, self.source, is_parallel, &mut memory);
                self.run_parts(threads, &Rows::Packed(unit.tiles(), packed), Some(int8));
            }
            (Some(GroupUnit::Pairs(unit)), _) => {
                let packed = unit.pack_rows(isa, self.source, is_parallel, &mut memory);
                self.run_parts(threads, &Rows::Packed(unit.tiles(), packed), None);
            }
            (_, Some(int8)) => {
                let integers = int8.integers(isa, self.source, is_parallel, &mut memory);
                let integers = Matrix::new(integers, rows, depth);
                self.run_parts(threads, &Rows::Source(&integers), Some(int8));
            }
            _ => {
                let split = self.weights.split_unit(rows);
                let split = split.map(|u| (u, u.pack_rows(isa, self.source, is_parallel, &mut memory)));
                match split {
                    Some((unit, packed)) if packed.fits() => {
                        self.run_parts(threads, &Rows::Packed(unit.tiles(), packed), None);
                    }
                    _ => self.run_parts(threads, &Rows::Source(self.source), None),
                }
            }
        }
        ROUNDED.set(memory);
    }

    fn run_parts(&self, threads: usize, rows: &Rows<'_>, int8: Option<&RoundedRows>) {
        let [tile_rows, tile_columns] = self.weights.isa().run(TileSize);
        let blocks = match rows {
            Rows::Source(_) => {
                Blocks { tile: [tile_rows, tile_columns], rows: [LEAST_BLOCK_ROWS, BLOCK_ROWS] }
            }
            Rows::Packed(unit, _) => {
                Blocks { tile: [unit.tile_rows(), tile_columns], rows: unit.block_rows() }
            }
        };
        let (rows_count, panels) = (self.source.rows(), self.weights.panel_count());
        let blocks = match self.weights.made_at_once() {
            // All rows in every part, so that each panel is made once, if half of the wanted parts are left.
            Some(_) if panels * tile_columns >= LEAST_TASK_COLUMNS * wanted_parts(threads).div_ceil(2) => {
                Blocks { rows: [rows_count.max(1); 2], ..blocks }
            }
            _ => blocks,
        };
        let parts = parts(rows_count, panels, blocks, threads);
        let run = |part: &Part| {
            SCRATCH.with_borrow_mut(|scratch| {
                let part = part.clone();
                self.weights.isa().run(PartKernel { product: self, part, rows, int8, scratch });
            });
        };
        if threads == 1 {
            parts.iter().for_each(run);
        } else {
            // One part at a time: rayon's queue is what balances cores of unequal speed.
            parts.par_iter().with_max_len(1).for_each(run);
        }
    }

    /// Where the sums of these rows and a panel go.
    fn target<S: Simd>(&self, rows: &Range<usize>, panel: usize) -> Target {
        let (width, column) = (self.weights.columns(), panel * S::TILE_COLUMNS);
        let columns = S::TILE_COLUMNS.min(width - column);
        Target { out: self.out.0, width, row: rows.start, rows: rows.len(), column, columns }
    }
}

/// Asks an instruction set for the rows and columns of its tile.
struct TileSize;

impl Kernel for TileSize {
    type Output = [usize; 2];
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [usize; 2] {
        [S::TILE_ROWS, S::TILE_COLUMNS]
    }
}

/// What a part is made of.
#[derive(Clone, Copy)]
struct Blocks {
    /// Rows and columns of a tile.
    tile: [usize; 2],
    /// Least and most rows.
    rows: [usize; 2],
}

fn wanted_parts(threads: usize) -> usize {
    if threads == 1 { 1 } else { threads * TASKS_PER_THREAD }
}

/// Cuts the output into equal blocks of rows and, where those are too few for the threads, of panels.
fn parts(rows: usize, panels: usize, blocks: Blocks, threads: usize) -> Vec<Part> {
    let Blocks { tile: [tile_rows, tile_columns], rows: [least_rows, most_rows] } = blocks;
    if rows == 0 || panels == 0 {
        return Vec::new();
    }
    let wanted = wanted_parts(threads);
    let most_blocks = (rows / least_rows).max(1);
    let blocks = rows.div_ceil(most_rows).max(wanted.min(most_blocks));
    let block_rows = rows.div_ceil(blocks).next_multiple_of(tile_rows);
    let blocks = rows.div_ceil(block_rows);
    let most_pieces = (panels * tile_columns / LEAST_TASK_COLUMNS).max(1);
    let pieces = wanted.div_ceil(blocks).min(most_pieces);
    let piece_panels = panels.div_ceil(pieces);
    let mut parts = Vec::new();
    for first_row in (0..rows).step_by(block_rows) {
        for first_panel in (0..panels).step_by(piece_panels) {
            parts.push(Part {
                rows: first_row..rows.min(first_row + block_rows),
                panels: first_panel..panels.min(first_panel + piece_panels),
            });
        }
    }
    parts
}

/// The rows of a product as its parts take them.
enum Rows<'a> {
    /// To be packed in f32, part by part.
    Source(&'a dyn RowSource),
    /// In groups for a unit.
    Packed(TileUnit, PackedRows<'a>),
}

struct PartKernel<'a> {
    product: &'a Product<'a>,
    part: Part,
    rows: &'a Rows<'a>,
    /// What makes products of the sums if rows and weights are integers.
    int8: Option<&'a RoundedRows>,
    scratch: &'a mut Scratch,
}

impl Kernel for PartKernel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.rows {
            Rows::Source(source) => self.run_in_f32(s, *source),
            Rows::Packed(unit, packed) => self.run_in_groups(s, *unit, packed),
        }
    }
}

impl PartKernel<'_> {
    #[inline(always)]
    fn run_in_f32<S: Simd>(self, s: S, source: &dyn RowSource) {
        let weights = self.product.weights;
        let (rows, depth) = (&self.part.rows, weights.depth());
        let Scratch { rows: packed, panel: wide, sums, .. } = self.scratch;
        let packed = packed.reserve_len(packed_len::<S>(rows.len(), depth));
        pack_rows(s, source, rows.start, rows.len(), packed);
        let row_panels = rows.len().div_ceil(S::TILE_ROWS);
        let sums = sums.reserve_len(row_panels * S::TILE_ROWS * S::TILE_COLUMNS);
        for panel in self.part.panels.clone() {
            let columns = weights.f32_panel(s, panel, wide);
            block_times_panel(s, depth, packed, row_panels, columns, sums);
            if let Some(int8) = self.int8 {
                quads::scale(s, weights.panel(panel), int8, rows, true, sums);
            }
            finish(s, sums, &self.product.epilogue, &self.product.target::<S>(rows, panel));
        }
    }

    /// Rows are rounded as well.
    #[inline(always)]
    fn run_in_groups<S: Simd>(self, s: S, unit: TileUnit, packed: &PackedRows<'_>) {
        let Product { weights, epilogue, .. } = self.product;
        let Part { rows, panels } = &self.part;
        let Scratch { panel: wide, sums, .. } = self.scratch;
        let [_, block] = unit.block_rows();
        let block = block / unit.tile_rows() * unit.tile_rows();
        let [at_once, piece] = weights.made_at_once().unwrap_or([1, packed.groups()]);
        let rows_of = |rows: usize| rows.next_multiple_of(unit.tile_rows()) * S::TILE_COLUMNS;
        // Sums wait for the pieces of the depth that are still to come.
        let kept = if piece < packed.groups() { rows_of(rows.len()) } else { 0 };
        let sums = sums.reserve_len(if kept > 0 { at_once * kept } else { rows_of(block.min(rows.len())) });
        for first in panels.clone().step_by(at_once) {
            let panels = first..panels.end.min(first + at_once);
            for at in (0..packed.groups()).step_by(piece) {
                let depth = at..packed.groups().min(at + piece);
                let columns = weights.unit_panels(panels.clone(), depth.clone(), wide);
                let len = columns.len() / panels.len();
                for start in rows.clone().step_by(block) {
                    let block = start..rows.end.min(start + block);
                    for (i, columns) in columns.chunks_exact(len).enumerate() {
                        let sums = if kept > 0 {
                            &mut sums[i * kept + (start - rows.start) * S::TILE_COLUMNS..]
                        } else {
                            &mut *sums
                        };
                        let to = Sums { values: sums, stride: S::TILE_COLUMNS, accumulate: at > 0 };
                        unit.block_times_panel(block.clone(), packed, depth.clone(), columns, to);
                        if depth.end < packed.groups() {
                            continue;
                        }
                        if let Some(int8) = self.int8 {
                            quads::scale(s, weights.panel(first + i), int8, &block, false, sums);
                        }
                        finish(s, sums, epilogue, &self.product.target::<S>(&block, first + i));
                    }
                }
            }
        }
    }
}

/// All tiles of a packed block against one panel: `sums` becomes `[row_panels][TILE_ROWS][TILE_COLUMNS]`.
#[inline(always)]
pub(crate) fn block_times_panel<S: Simd>(
    s: S,
    depth: usize,
    rows: &[f32],
    row_panels: usize,
    panel: &[f32],
    sums: &mut [f32],
) {
    assert!(rows.len() >= row_panels * depth * S::TILE_ROWS, "all packed rows");
    assert!(panel.len() >= depth * S::TILE_COLUMNS, "a whole panel");
    assert!(sums.len() >= row_panels * S::TILE_ROWS * S::TILE_COLUMNS, "room for the sums");
    // Equal pieces. A depth of 0 is one empty piece, which writes zeros.
    let pieces = depth.div_ceil(DEPTH_PIECE).max(1);
    let step = depth.div_ceil(pieces);
    for piece in 0..pieces {
        let at = (piece * step).min(depth);
        let len = step.min(depth - at);
        for p in 0..row_panels {
            // SAFETY: the lengths were checked above.
            unsafe {
                let a = rows.as_ptr().add((p * depth + at) * S::TILE_ROWS);
                let b = panel.as_ptr().add(at * S::TILE_COLUMNS);
                let start = sums.as_mut_ptr().add(p * S::TILE_ROWS * S::TILE_COLUMNS);
                s.tile_packed(len, a, b, Place { start, stride: S::TILE_COLUMNS, accumulate: piece > 0 });
            }
        }
    }
}

/// The part of the output that a block and a panel make.
struct Target {
    out: *mut f32,
    width: usize,
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

/// Sends sums through the epilogue to their place.
#[inline(always)]
fn finish<S: Simd>(s: S, sums: &[f32], epilogue: &Epilogue<'_>, target: &Target) {
    for v in (0..target.columns).step_by(S::LANES) {
        let count = S::LANES.min(target.columns - v);
        let column = target.column + v;
        let bias = match epilogue.bias {
            // SAFETY: the bias has a value for every column, and `count` does not reach beyond them.
            Some(bias) => unsafe { s.load_part(bias[column..].as_ptr(), count, 0.0) },
            None => s.splat(0.0),
        };
        for r in 0..target.rows {
            let offset = (target.row + r) * target.width + column;
            // SAFETY: the block has `rows` rows of sums; row and column are inside the output and the residual has its
            // shape, which `Product::run` checked.
            unsafe {
                let x = s.load(sums.as_ptr().add(r * S::TILE_COLUMNS + v)) + bias;
                let mut y = match epilogue.activation {
                    Activation::Identity => x,
                    Activation::Gelu => math::gelu(s, x),
                    Activation::Relu => s.splat(0.0).max(x),
                };
                let place = target.out.add(offset);
                let residual = match epilogue.residual {
                    Residual::Nothing => std::ptr::null(),
                    Residual::Output => place.cast_const(),
                    Residual::Values(values) => values.as_ptr().add(offset),
                };
                if !residual.is_null() {
                    y = y + s.load_part(residual, count, 0.0);
                }
                s.store_part(place, count, y);
            }
        }
    }
}

pub(crate) mod tests {
    use super::{
        Activation, BLOCK_ROWS, Blocks, Epilogue, LEAST_BLOCK_ROWS, PackedWeights, Residual, RowSource,
        parts, product, product_into,
    };
    use crate::cpu::pack::Matrix;
    use crate::cpu::{Isa, with_isa};
    use steropes_testkit::inputs::normal;
    use steropes_testkit::{Case, unit_case};
    use steropes_testkit::{Tolerance, check_close};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case("product/unit/parts_cover_the_output_once", parts_cover_the_output_once),
            unit_case(
                "product/unit/segments_padding_floor_and_every_epilogue",
                segments_padding_floor_and_every_epilogue,
            ),
            unit_case(
                "product/unit/the_number_of_threads_changes_nothing",
                the_number_of_threads_changes_nothing,
            ),
        ]
    }

    fn parts_cover_the_output_once() {
        for rows in [0, 1, 13, 14, 15, 47, 48, 96, 196, 197, 432, 768, 5000] {
            for panels in [0, 1, 3, 4, 5, 32, 129] {
                for threads in [1, 2, 3, 16] {
                    let mut seen = vec![0; rows * panels];
                    let blocks = Blocks { tile: [14, 32], rows: [LEAST_BLOCK_ROWS, BLOCK_ROWS] };
                    for part in parts(rows, panels, blocks, threads) {
                        assert!(part.rows.len() <= BLOCK_ROWS && part.rows.start % 14 == 0, "{part:?}");
                        for row in part.rows {
                            part.panels.clone().for_each(|panel| seen[row * panels + panel] += 1);
                        }
                    }
                    assert!(seen.iter().all(|&n| n == 1), "{rows} rows, {panels} panels, {threads} threads");
                }
            }
        }
    }

    /// Rows of three segments, where every fifth segment is padding; negative values count as 0.
    struct Segments(Vec<f32>);

    impl Segments {
        const ROWS: usize = 61;
        const SEGMENTS: usize = 3;
        const LEN: usize = 19;

        fn is_padding(row: usize, segment: usize) -> bool {
            (row * Self::SEGMENTS + segment).is_multiple_of(5)
        }

        /// What the row reads like.
        fn value(&self, row: usize, i: usize) -> f64 {
            let padding = Self::is_padding(row, i / Self::LEN);
            if padding { 0.0 } else { f64::from(self.0[row * Self::SEGMENTS * Self::LEN + i]).max(0.0) }
        }
    }

    impl RowSource for Segments {
        fn rows(&self) -> usize {
            Self::ROWS
        }
        fn segments(&self) -> usize {
            Self::SEGMENTS
        }
        fn segment_len(&self) -> usize {
            Self::LEN
        }
        fn segment(&self, row: usize, segment: usize) -> Option<&[f32]> {
            let at = (row * Self::SEGMENTS + segment) * Self::LEN;
            (!Self::is_padding(row, segment)).then(|| &self.0[at..at + Self::LEN])
        }
        fn floor(&self) -> f32 {
            0.0
        }
    }

    fn segments_padding_floor_and_every_epilogue() {
        let (depth, columns) = (Segments::SEGMENTS * Segments::LEN, 45);
        let source = Segments(normal("product/x", Segments::ROWS * depth));
        let weight = normal("product/weight", columns * depth);
        let (bias, residual) =
            (normal("product/bias", columns), normal("product/r", Segments::ROWS * columns));
        let want: Vec<f64> = (0..Segments::ROWS * columns)
            .map(|i| {
                let (row, column) = (i / columns, i % columns);
                let product = |g| source.value(row, g) * f64::from(weight[column * depth + g]);
                let sum: f64 = f64::from(bias[column]) + (0..depth).map(product).sum::<f64>();
                f64::from(residual[i]) + sum.max(0.0)
            })
            .collect();
        for &isa in Isa::available() {
            let weights =
                with_isa(isa, || PackedWeights::from_fn(columns, depth, |c, g| weight[c * depth + g]));
            let mut epilogue = Epilogue {
                activation: Activation::Relu,
                residual: Residual::Values(&residual),
                ..Epilogue::bias(Some(&bias))
            };
            let added_to = epilogue;
            let added = product(&source, &weights, epilogue);
            check_close(&added, &want, Tolerance::Sum { depth }).unwrap();
            epilogue.residual = Residual::Output;
            let mut in_place = residual.clone();
            product_into(&source, &weights, epilogue, &mut in_place);
            assert_eq!(in_place, added, "{isa:?}");
            // int8 takes such rows as if they lay together.
            let int8 = with_isa(isa, || PackedWeights::int8_from_rows(&weight, columns, depth));
            let values = (0..Segments::ROWS * depth).map(|i| source.value(i / depth, i % depth) as f32);
            let values: Vec<f32> = values.collect();
            let together = product(&Matrix::new(&values, Segments::ROWS, depth), &int8, added_to);
            assert_eq!(product(&source, &int8, added_to), together, "{isa:?}");
        }
    }

    fn the_number_of_threads_changes_nothing() {
        let (rows, depth, columns) = (300, 777, 200);
        let x = normal("product/x", rows * depth);
        let weight = normal("product/weight", columns * depth);
        let weights = PackedWeights::from_fn(columns, depth, |c, g| weight[c * depth + g]);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product(&Matrix::new(&x, rows, depth), &weights, Epilogue::bias(None)))
        };
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(7));
    }
}
