//! Three forms, chosen by the extents and by what the adapter has: matrices of at most 4 x 4 one for each invocation; those whose
//! columns fit workgroup memory one for each workgroup; larger ones round by round of a tournament of blocks of columns, in
//! launches that return at once when the matrix is done. Nothing waits for the device.

mod backward;
mod small;

pub(super) use backward::svd_backward;

use super::{Extents, Vectors};
use crate::error::OpError;
use crate::gpu::{bind, row_ranges, unsupported, window};
use crate::linalg::stack::Stack;
use std::ops::Range;
use steropes_tensor::{Binding, Capabilities, DType, Gpu, Header, Kernel, Memory, Tensor, spread};

/// The longest side of a matrix that an invocation takes alone.
const SMALL: usize = 4;

/// The most singular values; beyond, launches would take minutes.
const MOST_VALUES: usize = 2048;

/// Sweeps of the form in blocks, for which launches are recorded; ten are rarely needed.
const BLOCK_SWEEPS: usize = 20;

/// The bits of NaN, which WGSL has no constant for.
const NAN: u32 = 0x7fc0_0000;

const TURN: &str = include_str!("gpu/turn.wgsl");
const REDUCE: &str = include_str!("gpu/reduce.wgsl");

pub(super) fn svd(
    op: &'static str,
    gpu: &Gpu,
    a: &Tensor,
    stack: &Stack,
    extents: Extents,
    shapes: &[Vec<usize>; 3],
) -> Result<[Tensor; 3], OpError> {
    if extents.values() > MOST_VALUES {
        let k = extents.values();
        let why = format!(
            "{k} singular values; its kernels are for at most {MOST_VALUES}, larger ones run on the CPU"
        );
        return Err(unsupported(op, gpu, why));
    }
    let results = [
        Tensor::on_gpu(gpu, op, DType::F32, &shapes[0])?,
        Tensor::on_gpu(gpu, op, DType::F32, &shapes[1])?,
        Tensor::on_gpu(gpu, op, DType::F32, &shapes[2])?,
    ];
    let run = Run { op, gpu, extents, a, results: &results };
    let bytes = extents.sizes().map(|size| size * 4);
    let row_bytes = [extents.rows * extents.columns * 4, bytes[0], bytes[1], bytes[2]];
    for matrices in row_ranges(op, gpu, stack.count(), &row_bytes)? {
        if extents.length() <= SMALL {
            run.small(&matrices)?;
        } else {
            run.large(&matrices)?;
        }
    }
    Ok(results)
}

/// How columns are kept in workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// Rows: those of a column, and those of the turns if they fit too.
    length: usize,
    /// Values from column to column.
    stride: usize,
    /// Invocations of a pair of columns.
    lanes: usize,
}

impl Tile {
    /// The tile for these extents, if there is one.
    fn choose(gpu: &Capabilities, extents: Extents) -> Option<Self> {
        /// Beyond, more invocations wait longer for each other than they save.
        const MOST_THREADS: usize = 512;
        let (length, width) = (extents.length(), extents.values());
        let (pairs, most) = (width.div_ceil(2), MOST_THREADS.min(gpu.workgroup_threads as usize));
        let lanes =
            [16, 8, 4, 2, 1].into_iter().find(|&lanes| pairs * lanes <= most && lanes <= length.max(2))?;
        let with_turns = (extents.vectors != Vectors::None).then_some(length + width);
        let fits = |length: usize| {
            // Neighbouring pairs of columns then begin in different banks.
            let padded = (length..length + 32).find(|stride| stride % 16 == 8).unwrap_or(length);
            [padded, length].into_iter().find_map(|stride| {
                // Products of the pairs, and whether a sweep turned anything.
                let bytes = 4 * (width * stride + 3 * pairs * lanes + 32);
                (bytes <= gpu.workgroup_bytes as usize).then_some(Self { length, stride, lanes })
            })
        };
        with_turns.and_then(fits).or_else(|| fits(length))
    }
}

/// Arrays of a form that works in several launches.
struct Scratch {
    columns: Memory,
    turns: Option<Memory>,
    scales: Memory,
}

struct Run<'a> {
    op: &'static str,
    gpu: &'a Gpu,
    extents: Extents,
    a: &'a Tensor,
    results: &'a [Tensor; 3],
}

impl Run<'_> {
    fn vectors(&self) -> bool {
        self.extents.vectors != Vectors::None
    }

    /// The windows of `a`, `u`, `s` and `vh` with their shifts.
    fn windows(&self, matrices: &Range<usize>) -> [(Binding<'_>, u32); 4] {
        let Extents { rows, columns, .. } = self.extents;
        let [u, s, vh] = self.extents.sizes();
        let [all_u, all_s, all_vh] = self.results;
        [(self.a, rows * columns), (all_u, u), (all_s, s), (all_vh, vh)].map(|(tensor, size)| {
            if size == 0 {
                return (bind(tensor), 0);
            }
            let window = window(tensor, size * 4, matrices);
            let shift = window.shift(4);
            (window.binding, shift)
        })
    }

    /// The header with the extents and what all kernels share.
    fn header(&self) -> Header {
        Header::new()
            .count("LENGTH", self.extents.length() as u32)
            .count("WIDTH", self.extents.values() as u32)
            .flag("TRANSPOSED", self.extents.transposed())
            .text(TURN)
    }

    /// The header with the extents of the results.
    fn result_header(&self) -> Header {
        self.header()
            .count("ROWS", self.extents.rows as u32)
            .count("COLUMNS", self.extents.columns as u32)
            .count("LEFT", self.extents.left() as u32)
            .count("RIGHT", self.extents.right() as u32)
    }

    /// Vectors as long as the longer side that are written.
    fn long_vectors(&self) -> usize {
        if self.extents.transposed() { self.extents.right() } else { self.extents.left() }
    }

    fn allocate(&self, values: usize) -> Result<Memory, OpError> {
        Ok(self.gpu.allocate(self.op, values as u64 * 4)?)
    }

    fn large(&self, matrices: &Range<usize>) -> Result<(), OpError> {
        let scratch = self.load(matrices)?;
        match Tile::choose(self.gpu.capabilities(), self.extents) {
            Some(tile) => self.in_workgroups(matrices.len(), tile, &scratch)?,
            None => self.in_blocks(matrices.len(), &scratch)?,
        }
        self.write(matrices, &scratch)
    }

    fn load(&self, matrices: &Range<usize>) -> Result<Scratch, OpError> {
        let (length, width, count) = (self.extents.length(), self.extents.values(), matrices.len());
        let scratch = Scratch {
            columns: self.allocate(count * length * width)?,
            turns: self.vectors().then(|| self.allocate(count * width * width)).transpose()?,
            scales: self.allocate(count)?,
        };
        let start = if self.vectors() {
            "@group(0) @binding(3) var<storage, read_write> turns: array<f32>;\n\
             fn start_turns(matrix: u32, thread: u32) {\n    \
             for (var i = thread; i < WIDTH * WIDTH; i += 128u) {\n        \
             turns[matrix * (WIDTH * WIDTH) + i] = select(0.0, 1.0, i % (WIDTH + 1u) == 0u);\n    }\n}\n"
        } else {
            "fn start_turns(matrix: u32, thread: u32) {}\n"
        };
        let kernel = Kernel::new("svd_load", &self.header().text(start), include_str!("gpu/load.wgsl"));
        let a = self.windows(matrices)[0];
        let mut bindings = vec![a.0, (&scratch.columns).into(), (&scratch.scales).into()];
        bindings.extend(scratch.turns.as_ref().map(Binding::from));
        self.gpu.launch(&kernel, &bindings, &[count as u32, a.1], spread(count as u64))?;
        Ok(scratch)
    }

    fn in_workgroups(&self, count: usize, tile: Tile, scratch: &Scratch) -> Result<(), OpError> {
        let turns = "@group(0) @binding(1) var<storage, read_write> turns: array<f32>;\n";
        let none = "fn turn_stored(turn: Turn, matrix: u32, p: u32, q: u32, lane: u32) {}\n";
        let inside = "fn load_turn(i: u32) -> f32 { return turns[i]; }\n\
                      fn store_turn(i: u32, x: f32) { turns[i] = x; }\n";
        let outside = "fn load_turn(i: u32) -> f32 { return 0.0; }\nfn store_turn(i: u32, x: f32) {}\n";
        let stored = "fn turn_stored(turn: Turn, matrix: u32, p: u32, q: u32, lane: u32) {\n    \
                      let first = matrix * (WIDTH * WIDTH);\n    \
                      for (var r = lane; r < WIDTH; r += LANES) {\n        \
                      let both = turn_pair(turn, turns[first + p * WIDTH + r], turns[first + q * WIDTH + r]);\n        \
                      turns[first + p * WIDTH + r] = both.x;\n        \
                      turns[first + q * WIDTH + r] = both.y;\n    }\n}\n";
        let meet = "fn meet() { workgroupBarrier(); }\n";
        let meet_all = "fn meet() { storageBarrier(); workgroupBarrier(); }\n";
        let header = self
            .header()
            .count("TILE_LENGTH", tile.length as u32)
            .count("STRIDE", tile.stride as u32)
            .count("PAIRS", self.extents.values().div_ceil(2) as u32)
            .count("LANES", tile.lanes as u32);
        let header = match self.vectors() {
            false => header.text(none).text(outside).text(meet),
            true if tile.length > self.extents.length() => {
                header.text(turns).text(none).text(inside).text(meet)
            }
            true => header.text(turns).text(stored).text(outside).text(meet_all),
        };
        let kernel = Kernel::new("svd_shared", &header, include_str!("gpu/shared.wgsl"));
        let mut bindings = vec![Binding::from(&scratch.columns)];
        bindings.extend(scratch.turns.as_ref().map(Binding::from));
        self.gpu.launch(&kernel, &bindings, &[count as u32], spread(count as u64))?;
        Ok(())
    }

    fn in_blocks(&self, count: usize, scratch: &Scratch) -> Result<(), OpError> {
        let pairs = self.extents.values().div_ceil(8);
        let kernel = self.blocks_kernel(pairs);
        let mut before = self.allocate(count)?;
        self.gpu.fill(&before, 1)?;
        for _ in 0..BLOCK_SWEEPS {
            let turned = self.allocate(count)?;
            self.gpu.clear(&turned)?;
            for round in 0..2 * pairs - 1 {
                let mut bindings = vec![(&scratch.columns).into(), (&before).into(), (&turned).into()];
                bindings.extend(scratch.turns.as_ref().map(Binding::from));
                let params = [count as u32, round as u32];
                self.gpu.launch(&kernel, &bindings, &params, spread((count * pairs) as u64))?;
            }
            before = turned;
        }
        Ok(())
    }

    fn blocks_kernel(&self, pairs: usize) -> Kernel {
        let capabilities = self.gpu.capabilities();
        let length = self.extents.length();
        let threads = 128.min(capabilities.workgroup_threads as usize);
        let others = 4 * (12 * threads + 12 * 8 + 16 + 64);
        let in_tile = 4 * 8 * length + others <= capabilities.workgroup_bytes as usize;
        let access = if in_tile {
            "var<workgroup> tile: array<f32, 8u * LENGTH>;\n\
             fn column_at(first: u32, c: u32, r: u32) -> f32 { return tile[c * LENGTH + r]; }\n\
             fn set_column(first: u32, c: u32, r: u32, x: f32) { tile[c * LENGTH + r] = x; }\n"
        } else {
            "fn column_at(first: u32, c: u32, r: u32) -> f32 { return columns[first + r]; }\n\
             fn set_column(first: u32, c: u32, r: u32, x: f32) { columns[first + r] = x; }\n"
        };
        let stored = if self.vectors() {
            "@group(0) @binding(3) var<storage, read_write> stored: array<f32>;\n\
             fn turn_stored(matrix: u32, blocks: vec2<u32>, thread: u32) {\n    \
             for (var r = thread; r < WIDTH; r += THREADS) {\n        \
             var old: array<f32, 8>;\n        \
             for (var c = 0u; c < 8u; c++) {\n            \
             let column = block_column(blocks, c);\n            \
             if (column < WIDTH) { old[c] = stored[(matrix * WIDTH + column) * WIDTH + r]; }\n        }\n        \
             for (var c = 0u; c < 8u; c++) {\n            \
             let column = block_column(blocks, c);\n            \
             var sum = 0.0;\n            \
             for (var k = 0u; k < 8u; k++) { sum = fma(old[k], together[k * 8u + c], sum); }\n            \
             if (column < WIDTH) { stored[(matrix * WIDTH + column) * WIDTH + r] = sum; }\n        }\n    }\n}\n"
        } else {
            "fn turn_stored(matrix: u32, blocks: vec2<u32>, thread: u32) {}\n"
        };
        let header = self
            .header()
            .count("PAIRS", pairs as u32)
            .count("THREADS", threads as u32)
            .flag("IN_TILE", in_tile)
            .text(access)
            .text(stored);
        Kernel::new("svd_blocks", &header, include_str!("gpu/blocks.wgsl"))
    }

    /// Singular values in order, then vectors, then those that complete a basis.
    fn write(&self, matrices: &Range<usize>, scratch: &Scratch) -> Result<(), OpError> {
        let (count, width) = (matrices.len(), self.extents.values());
        let columns = count * width;
        let (squares, ranks) = (self.allocate(columns)?, self.allocate(columns)?);
        let [_, u, s, vh] = self.windows(matrices);
        let kernel = Kernel::new("svd_lengths", &self.header(), include_str!("gpu/lengths.wgsl"));
        let bindings = [(&scratch.columns).into(), (&squares).into()];
        self.gpu.launch(&kernel, &bindings, &[columns as u32], spread(columns as u64))?;
        let kernel = Kernel::new("svd_values", &self.header(), include_str!("gpu/values.wgsl"));
        let bindings = [(&squares).into(), (&scratch.scales).into(), s.0, (&ranks).into()];
        let params = [columns as u32, s.1, NAN];
        self.gpu.launch(&kernel, &bindings, &params, spread(columns.div_ceil(64) as u64))?;
        let Some(turns) = &scratch.turns else { return Ok(()) };
        let header = self.result_header().count("THREADS", 64).text(REDUCE);
        let kernel = Kernel::new("svd_vectors", &header, include_str!("gpu/vectors.wgsl"));
        let bindings = [
            (&scratch.columns).into(),
            turns.into(),
            (&squares).into(),
            (&scratch.scales).into(),
            (&ranks).into(),
            u.0,
            vh.0,
        ];
        let params = [columns as u32, u.1, vh.1, NAN];
        self.gpu.launch(&kernel, &bindings, &params, spread(columns as u64))?;
        let header =
            self.header().count("COUNT", self.long_vectors() as u32).count("THREADS", 128).text(REDUCE);
        let kernel = Kernel::new("svd_complete", &header, include_str!("gpu/complete.wgsl"));
        let long = if self.extents.transposed() { vh } else { u };
        let shares = self.allocate(count * self.extents.length())?;
        let bindings = [s.0, (&scratch.scales).into(), long.0, (&shares).into()];
        let params = [count as u32, s.1, long.1, NAN];
        self.gpu.launch(&kernel, &bindings, &params, spread(count as u64))?;
        Ok(())
    }
}
