//! 3x3 convolutions with stride 1 and padding 1 as Winograd's F(4x4, 3x3).
//!
//! A tile of 4x4 results comes from 6x6 inputs `d` and the 3x3 kernel `g` as `Aᵀ ((Bᵀ d B) ∘ (G g Gᵀ)) A`. Summed over the
//! channels, each of the 36 places of `∘` is a matrix product `[tiles, inputs] [inputs, outputs]`: 36 products for 16
//! results instead of 144.
//!
//! The matrices interpolate at 0, ±a, ±b and infinity (Toom-Cook). The usual a = 1, b = 2 is two to five times less exact than
//! pairs with `ab` near 1, which keep the entries of all three matrices of similar size. Here a = 3/4, b = 3/2, whose powers are
//! exact in f32. Measured against f64 on normal data with weights transformed in f64 (in f32, as here, it is the same to within
//! 4 %), the error's root mean square relative to the result's, in brackets the largest error relative to the largest result:
//!
//! | inputs | this | one sum in f32 |
//! |---|---|---|
//! | 32 | 6.1e-7 (1.3e-6) | 3.0e-7 (5.1e-7) |
//! | 64 | 8.2e-7 (1.5e-6) | 3.0e-7 (5.3e-7) |
//! | 128 | 8.3e-7 (1.5e-6) | 3.5e-7 (5.4e-7) |
//! | 256 | 8.5e-7 (1.5e-6) | 3.8e-7 (5.1e-7) |
//! | 768 | 8.9e-7 (1.4e-6) | 4.0e-7 (5.4e-7) |
//!
//! Parallel plan: a task is a block of tiles. It transforms its inputs to `[chunk][place][tile][CHUNK]`, which the register
//! tile reads as it is (no packing), multiplies place by place into `[place][tile][outputs]` and transforms those to
//! results. A block is sized so that both stay in the second-level cache. Before that each call transforms the weights, a task for
//! each panel of outputs.
//!
//! The largest maps of a dense prediction head need not exist ([`Between`]): a tile interpolates its own inputs, and what it
//! becomes goes through the last 1x1 convolution before it is written.

use super::cpu::Fused;
use super::narrow::{self, Narrow};
use crate::cpu::pack::{AlignedVec, PackedWeights};
use crate::cpu::product::Output;
use crate::cpu::simd::{Kernel, Lane, Place, Simd};
use crate::vision::resize_bilinear::{Tap, mix, taps};
use rayon::prelude::*;
use std::cell::{Cell, RefCell};

/// Results on a side of a tile.
const OUT: usize = 4;
/// Inputs on a side of a tile.
const SIDE: usize = 6;
/// Weights on a side of a kernel.
const KERNEL: usize = 3;
/// Weights of a kernel.
const TAPS: usize = KERNEL * KERNEL;
/// Products of a tile.
const PLACES: usize = SIDE * SIDE;
/// Values after each place's matrix. Without them all 36 would fall on the same few sets of the first-level cache.
const GAP: usize = 16;

/// The interpolation points besides 0 and infinity are ±`A` and ±`B`.
const A: f32 = 0.75;
const B: f32 = 1.5;

/// Bytes that the transformed inputs and the products of a block may take.
const BLOCK_BYTES: usize = 640 << 10;
/// Tiles of a block at most: more would not read the weights any less often to notice.
const MOST_BLOCK_TILES: usize = 112;

/// Transformed weights that a thread keeps the memory of from call to call: those of 256 inputs and outputs.
const MOST_KEPT: usize = PLACES * 256 * 256;

#[derive(Debug)]
pub(super) struct Winograd {
    /// `[taps][inputs]` in each panel of outputs. Transformed they would take four times as much memory, and transforming them takes
    /// less than a hundredth of a call.
    weights: PackedWeights,
    inputs: usize,
    outputs: usize,
}

impl Winograd {
    /// Packs `weight` `[outputs, inputs, 3, 3]`.
    pub(super) fn new(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        let tap_of = |o: usize, d: usize| weight[(o * inputs + d % inputs) * TAPS + d / inputs];
        Self { weights: PackedWeights::from_fn(outputs, TAPS * inputs, tap_of), inputs, outputs }
    }

    /// `G g Gᵀ` as `[places][inputs][C]` for each panel of outputs.
    fn transformed<'m>(&self, memory: &'m mut AlignedVec) -> &'m [f32] {
        let panels = self.weights.panel_count();
        if panels == 0 {
            return &[];
        }
        // Nine taps become 36 places.
        let len = self.weights.panel(0).len() / TAPS * PLACES;
        let transformed = memory.reserve_len(panels * len);
        transformed.par_chunks_exact_mut(len).enumerate().for_each(|(panel, places)| {
            self.weights.isa().run(TransformWeights { taps: self.weights.panel(panel), places });
        });
        transformed
    }

    /// The convolution of `x` `[batch, height, width, inputs]`, or `between` a resizing of it and a 1x1 convolution; those have no
    /// residual.
    pub(super) fn conv2d(
        &self,
        x: &[f32],
        [batch, height, width]: [usize; 3],
        bias: Option<&[f32]>,
        fused: &Fused<'_>,
        between: Option<&Between<'_>>,
    ) -> Vec<f32> {
        assert!(between.is_none() || fused.residual.is_none(), "no residual before a 1x1 convolution");
        let resize = between.map(|between| Resize::new([height, width], between.size));
        let [height, width] = between.map_or([height, width], |between| between.size);
        let len = batch
            * height
            * width
            * between.and_then(|b| b.pointwise).map_or(self.outputs, |(p, _)| p.outputs());
        let mut y = Vec::with_capacity(len);
        let grid = [height.div_ceil(OUT), width.div_ceil(OUT)];
        let tiles = batch * grid[0] * grid[1];
        let isa = self.weights.isa();
        let sizes = isa.run(Sizes { conv: self, tiles });
        let zeros = vec![0.0; self.inputs];
        let image = Image { x, resize, height, width, grid, zeros, floor: fused.floor() };
        let mut memory = TRANSFORMED.take();
        let weights = self.transformed(&mut memory);
        let y_start = Output(y.as_mut_ptr());
        let call = Call { conv: self, weights, image, bias, fused: *fused, between, sizes, y: y_start };
        (0..tiles.div_ceil(sizes.tiles)).into_par_iter().with_max_len(1).for_each(|block| {
            let first = block * sizes.tiles;
            let count = sizes.tiles.min(tiles - first);
            SCRATCH.with_borrow_mut(|scratch| isa.run(Block { call: &call, first, count, scratch }));
        });
        if memory.as_slice().len() <= MOST_KEPT {
            TRANSFORMED.set(memory);
        }
        // SAFETY: the capacity was reserved, and the tiles cover every pixel of every image.
        unsafe { y.set_len(len) };
        y
    }
}

/// `G`: the values of a kernel's polynomial at the points, divided by the products of their differences.
fn kernel_matrix() -> [[f64; KERNEL]; SIDE] {
    let (a, b) = (f64::from(A), f64::from(B));
    let row = |p: f64, n: f64| [1.0 / n, p / n, p * p / n];
    let (na, nb) = (2.0 * a * a * (a * a - b * b), 2.0 * b * b * (b * b - a * a));
    [row(0.0, a * a * b * b), row(a, na), row(-a, na), row(b, nb), row(-b, nb), [0.0, 0.0, 1.0]]
}

/// `G g Gᵀ` of a panel.
struct TransformWeights<'a> {
    taps: &'a [f32],
    places: &'a mut [f32],
}

impl Kernel for TransformWeights<'_> {
    type Output = ();
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "index loops with constant bounds are what becomes registers"
    )]
    fn run<S: Simd>(self, s: S) {
        let len = self.taps.len() / TAPS;
        assert!(self.places.len() == len * PLACES && len.is_multiple_of(S::LANES), "whole vectors");
        let matrix = kernel_matrix();
        for at in (0..len).step_by(S::LANES) {
            let mut columns = [[s.splat(0.0); KERNEL]; SIDE]; // [row of the places][column of the kernel]
            for c in 0..KERNEL {
                let mut g = [s.splat(0.0); KERNEL];
                for r in 0..KERNEL {
                    // SAFETY: the vector lies in the plane of this tap.
                    g[r] = unsafe { s.load(self.taps.as_ptr().add((r * KERNEL + c) * len + at)) };
                }
                for place in 0..SIDE {
                    columns[place][c] = combined(s, &matrix[place], &g);
                }
            }
            for r in 0..SIDE {
                for c in 0..SIDE {
                    let value = combined(s, &matrix[c], &columns[r]);
                    // SAFETY: the vector lies in the plane of this place.
                    unsafe { s.store(self.places.as_mut_ptr().add((r * SIDE + c) * len + at), value) };
                }
            }
        }
    }
}

/// The sum of `values` times `factors`.
#[inline(always)]
fn combined<S: Simd>(s: S, factors: &[f64; KERNEL], values: &[S::F; KERNEL]) -> S::F {
    let sum = values[1].mul_add(s.splat(factors[1] as f32), values[0] * s.splat(factors[0] as f32));
    values[2].mul_add(s.splat(factors[2] as f32), sum)
}

/// `Bᵀ d` of one row or column.
#[inline(always)]
fn input_transform<S: Simd>(s: S, d: &[S::F; SIDE]) -> [S::F; SIDE] {
    const A2: f32 = A * A;
    const B2: f32 = B * B;
    let (a2, b2, a, b) = (s.splat(-A2), s.splat(-B2), s.splat(A), s.splat(B));
    let (minus_a, minus_b) = (s.splat(-A), s.splat(-B));
    let (product, minus_sum) = (s.splat(A2 * B2), s.splat(-(A2 + B2)));
    let (even_a, odd_a) = (d[2].mul_add(b2, d[4]), d[1].mul_add(b2, d[3]));
    let (even_b, odd_b) = (d[2].mul_add(a2, d[4]), d[1].mul_add(a2, d[3]));
    [
        d[0].mul_add(product, d[2].mul_add(minus_sum, d[4])),
        odd_a.mul_add(a, even_a),
        odd_a.mul_add(minus_a, even_a),
        odd_b.mul_add(b, even_b),
        odd_b.mul_add(minus_b, even_b),
        d[1].mul_add(product, d[3].mul_add(minus_sum, d[5])),
    ]
}

/// `Aᵀ m` of one row or column.
#[inline(always)]
fn output_transform<S: Simd>(s: S, m: &[S::F; SIDE]) -> [S::F; OUT] {
    let (sum_a, difference_a) = (m[1] + m[2], m[1] - m[2]);
    let (sum_b, difference_b) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + (sum_a + sum_b),
        difference_b.mul_add(s.splat(B), difference_a * s.splat(A)),
        sum_b.mul_add(s.splat(B * B), sum_a * s.splat(A * A)),
        difference_b.mul_add(s.splat(B * B * B), difference_a.mul_add(s.splat(A * A * A), m[5])),
    ]
}

/// How the memory of a block is laid out.
#[derive(Clone, Copy)]
struct BlockSizes {
    /// Tiles of a block, a multiple of the register tile's rows.
    tiles: usize,
    /// Inputs of a chunk: the row length of the left operand, which the register tile wants to know in advance.
    chunk: usize,
    /// Values from one place to the next of the transformed inputs.
    input_place: usize,
    /// Outputs, rounded up to whole panels.
    columns: usize,
    /// Values from one place to the next of the products.
    product_place: usize,
}

/// Asks an instruction set for the sizes of a block.
struct Sizes<'a> {
    conv: &'a Winograd,
    tiles: usize,
}

impl Kernel for Sizes<'_> {
    type Output = BlockSizes;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> BlockSizes {
        let chunk = if self.conv.inputs <= 32 { 32 } else { 64 };
        let depth = self.conv.inputs.next_multiple_of(chunk);
        let columns = self.conv.weights.panel_count() * S::TILE_COLUMNS;
        let fitting = BLOCK_BYTES / (size_of::<f32>() * PLACES * (depth + columns));
        // At least two blocks for each thread, where there are so many tiles.
        let share = self.tiles.div_ceil(2 * rayon::current_num_threads());
        let tiles = fitting.min(share).clamp(1, MOST_BLOCK_TILES).next_multiple_of(S::TILE_ROWS);
        BlockSizes {
            tiles,
            chunk,
            input_place: tiles * chunk + GAP,
            columns,
            product_place: tiles * columns + GAP,
        }
    }
}

/// What is around a convolution.
pub(super) struct Between<'a> {
    /// Height and width to which the image is resized bilinearly, corners aligned.
    pub(super) size: [usize; 2],
    /// A 1x1 convolution that takes the results, and its bias.
    pub(super) pointwise: Option<(&'a Narrow, Option<&'a [f32]>)>,
}

/// How the pixels of a resized image come from those that are there.
struct Resize {
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    /// Height and width of what is there.
    source: [usize; 2],
}

impl Resize {
    fn new(source: [usize; 2], size: [usize; 2]) -> Self {
        Self { rows: taps(source[0], size[0]), columns: taps(source[1], size[1]), source }
    }
}

/// The images and how they are cut into tiles.
struct Image<'a> {
    x: &'a [f32],
    /// If `x` has another size.
    resize: Option<Resize>,
    height: usize,
    width: usize,
    /// Rows and columns of tiles in an image.
    grid: [usize; 2],
    /// A pixel of the padding.
    zeros: Vec<f32>,
    floor: f32,
}

impl Image<'_> {
    /// The image of a tile and the row and column of its first result.
    fn origin(&self, tile: usize) -> [usize; 3] {
        let [rows, cols] = self.grid;
        [tile / (rows * cols), tile / cols % rows * OUT, tile % cols * OUT]
    }

    /// The 6x6 pixels of a tile, row by row; those outside the image are the padding's.
    fn pixels(&self, tile: usize) -> [*const f32; PLACES] {
        let inputs = self.zeros.len();
        let [image, row, col] = self.origin(tile);
        let mut pixels = [self.zeros.as_ptr(); PLACES];
        // Row and column are 1 too large, by the padding.
        for r in row.max(1)..(row + SIDE).min(self.height + 1) {
            let line = (image * self.height + r - 1) * self.width;
            for c in col.max(1)..(col + SIDE).min(self.width + 1) {
                let at = (line + c - 1) * inputs;
                pixels[(r - row) * SIDE + c - col] = self.x[at..at + inputs].as_ptr();
            }
        }
        pixels
    }

    /// The same for an image that is resized: computed into `patch`, by `line`, the source columns of a row of them.
    #[inline(always)]
    fn resized_pixels(
        &self,
        resize: &Resize,
        tile: usize,
        patch: &mut AlignedVec,
        line: &mut AlignedVec,
    ) -> [*const f32; PLACES] {
        let inputs = self.zeros.len();
        let [image, row, col] = self.origin(tile);
        let [height, width] = resize.source;
        let mut pixels = [self.zeros.as_ptr(); PLACES];
        let patch = patch.reserve_len(PLACES * inputs);
        // Row and column are 1 too large, by the padding.
        let columns = col.max(1)..(col + SIDE).min(self.width + 1);
        let first = resize.columns[columns.start - 1].first;
        let span = resize.columns[columns.end - 2].second - first + 1;
        let line = line.reserve_len(span * inputs);
        for r in row.max(1)..(row + SIDE).min(self.height + 1) {
            let tap = resize.rows[r - 1];
            let source = |row: usize| {
                let at = ((image * height + row) * width + first) * inputs;
                &self.x[at..at + span * inputs]
            };
            mix(source(tap.first), source(tap.second), tap.weight, line);
            for c in columns.clone() {
                let tap = resize.columns[c - 1];
                let [left, right] =
                    [tap.first, tap.second].map(|column| &line[(column - first) * inputs..][..inputs]);
                let place = (r - row) * SIDE + c - col;
                let pixel = &mut patch[place * inputs..][..inputs];
                mix(left, right, tap.weight, pixel);
                pixels[place] = pixel.as_ptr();
            }
        }
        pixels
    }
}

/// A convolution on its way.
struct Call<'a> {
    conv: &'a Winograd,
    /// [`Winograd::transformed`].
    weights: &'a [f32],
    image: Image<'a>,
    bias: Option<&'a [f32]>,
    fused: Fused<'a>,
    between: Option<&'a Between<'a>>,
    sizes: BlockSizes,
    y: Output,
}

/// Memory that a thread keeps from block to block.
#[derive(Default)]
struct Scratch {
    inputs: AlignedVec,
    products: AlignedVec,
    /// The pixels of a tile of a resized image, and the source columns of a row of them.
    patch: AlignedVec,
    line: AlignedVec,
    /// The results of a tile that a 1x1 convolution takes.
    results: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// The transformed weights of a call, which its tasks share.
    static TRANSFORMED: Cell<AlignedVec> = Cell::default();
}

/// `count` tiles from `first` on.
struct Block<'a> {
    call: &'a Call<'a>,
    first: usize,
    count: usize,
    scratch: &'a mut Scratch,
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let sizes = self.call.sizes;
        let chunks = self.call.conv.inputs.div_ceil(sizes.chunk);
        let Scratch { inputs, products, patch, line, results } = self.scratch;
        let inputs = inputs.reserve_len(chunks * PLACES * sizes.input_place);
        let products = products.reserve_len(PLACES * sizes.product_place);
        let image = &self.call.image;
        for slot in 0..self.count {
            let tile = self.first + slot;
            let pixels = match &image.resize {
                Some(resize) => image.resized_pixels(resize, tile, patch, line),
                None => image.pixels(tile),
            };
            transform_tile(s, self.call, &pixels, slot, inputs);
        }
        match sizes.chunk {
            32 => multiply::<S, 32>(s, self.call, self.count, inputs, products),
            _ => multiply::<S, 64>(s, self.call, self.count, inputs, products),
        }
        let results = results.reserve_len(OUT * OUT * self.call.conv.outputs);
        for slot in 0..self.count {
            finish_tile(s, self.call, self.first + slot, slot, products, results);
        }
    }
}

/// `Bᵀ d B` of all channels of a tile, as row `slot` of every place's matrix.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "index loops with constant bounds are what becomes registers")]
fn transform_tile<S: Simd>(
    s: S,
    call: &Call<'_>,
    pixels: &[*const f32; PLACES],
    slot: usize,
    inputs: &mut [f32],
) {
    let (sizes, channels) = (call.sizes, call.conv.inputs);
    let floor = s.splat(call.image.floor);
    assert!(slot < sizes.tiles, "a slot of the block");
    assert!(inputs.len() >= channels.div_ceil(sizes.chunk) * PLACES * sizes.input_place, "all places");
    for channel in (0..channels).step_by(S::LANES) {
        let count = S::LANES.min(channels - channel);
        let mut columns = [[s.splat(0.0); SIDE]; SIDE]; // [column][row]
        for c in 0..SIDE {
            let mut d = [s.splat(0.0); SIDE];
            for r in 0..SIDE {
                let p = pixels[r * SIDE + c].wrapping_add(channel);
                // SAFETY: every pixel has `channels` values.
                let v = unsafe { if count == S::LANES { s.load(p) } else { s.load_part(p, count, 0.0) } };
                d[r] = floor.max(v);
            }
            columns[c] = input_transform(s, &d);
        }
        let (chunk, within) = (channel / sizes.chunk, channel % sizes.chunk);
        let start = chunk * PLACES * sizes.input_place + slot * sizes.chunk + within;
        for r in 0..SIDE {
            let mut row = [s.splat(0.0); SIDE];
            for c in 0..SIDE {
                row[c] = columns[c][r];
            }
            let row = input_transform(s, &row);
            for c in 0..SIDE {
                let at = start + (r * SIDE + c) * sizes.input_place;
                // SAFETY: the chunk is a multiple of a vector, so the vector lies in the row of this slot.
                unsafe { s.store(inputs.as_mut_ptr().add(at), row[c]) };
            }
        }
    }
}

/// The product of every place.
#[inline(always)]
fn multiply<S: Simd, const CHUNK: usize>(
    s: S,
    call: &Call<'_>,
    tiles: usize,
    inputs: &[f32],
    products: &mut [f32],
) {
    let (sizes, channels) = (call.sizes, call.conv.inputs);
    let row_panels = tiles.div_ceil(S::TILE_ROWS);
    assert!(CHUNK == sizes.chunk && row_panels * S::TILE_ROWS <= sizes.tiles, "the sizes of this block");
    assert!(inputs.len() >= channels.div_ceil(CHUNK) * PLACES * sizes.input_place, "all places");
    assert!(products.len() >= PLACES * sizes.product_place, "room for all products");
    let matrix = channels * S::TILE_COLUMNS;
    for place in 0..PLACES {
        for panel in 0..call.conv.weights.panel_count() {
            let b = &call.weights[(panel * PLACES + place) * matrix..][..matrix];
            for chunk in 0..channels.div_ceil(CHUNK) {
                let depth = CHUNK.min(channels - chunk * CHUNK);
                let b = &b[chunk * CHUNK * S::TILE_COLUMNS..][..depth * S::TILE_COLUMNS];
                for rows in 0..row_panels {
                    let row = rows * S::TILE_ROWS;
                    let a = (chunk * PLACES + place) * sizes.input_place + row * CHUNK;
                    let out = place * sizes.product_place + row * sizes.columns + panel * S::TILE_COLUMNS;
                    // SAFETY: rows and columns lie in the block, whose memory was checked above.
                    unsafe {
                        let start = products.as_mut_ptr().add(out);
                        let place = Place { start, stride: sizes.columns, accumulate: chunk > 0 };
                        s.tile_strided::<CHUNK>(depth, inputs.as_ptr().add(a), b.as_ptr(), place);
                    }
                }
            }
        }
    }
}

/// `Aᵀ m A` of a tile, then bias, ReLU and residual, into those of its 4x4 pixels that exist; before a 1x1 convolution, into
/// `results` and through it.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "index loops with constant bounds are what becomes registers")]
fn finish_tile<S: Simd>(
    s: S,
    call: &Call<'_>,
    tile: usize,
    slot: usize,
    products: &[f32],
    results: &mut [f32],
) {
    let (sizes, outputs) = (call.sizes, call.conv.outputs);
    let [image, row, col] = call.image.origin(tile);
    let (height, width) = (call.image.height, call.image.width);
    let lowest = s.splat(if call.fused.relu_output { 0.0 } else { f32::NEG_INFINITY });
    assert!(slot < sizes.tiles && products.len() >= PLACES * sizes.product_place, "a slot of the block");
    assert!(results.len() >= OUT * OUT * outputs, "room for the results of a tile");
    let pointwise = call.between.and_then(|between| between.pointwise);
    for channel in (0..outputs).step_by(S::LANES) {
        let count = S::LANES.min(outputs - channel);
        let mut half = [[s.splat(0.0); SIDE]; OUT]; // [row of the result][column of the product]
        for c in 0..SIDE {
            let mut m = [s.splat(0.0); SIDE];
            for r in 0..SIDE {
                let at = (r * SIDE + c) * sizes.product_place + slot * sizes.columns + channel;
                // SAFETY: the columns are whole vectors of this slot's row.
                m[r] = unsafe { s.load(products.as_ptr().add(at)) };
            }
            let column = output_transform(s, &m);
            for r in 0..OUT {
                half[r][c] = column[r];
            }
        }
        let bias = match call.bias {
            // SAFETY: the bias has a value for every output.
            Some(bias) => unsafe { s.load_part(bias[channel..].as_ptr(), count, 0.0) },
            None => s.splat(0.0),
        };
        for r in 0..OUT.min(height - row) {
            let line = output_transform(s, &half[r]);
            for c in 0..OUT.min(width - col) {
                let at = ((image * height + row + r) * width + col + c) * outputs + channel;
                let y = lowest.max(line[c] + bias);
                // SAFETY: the pixel exists and has `count` more outputs; the residual has the shape of the result.
                // No other task writes this pixel. There is room for the results.
                unsafe {
                    if pointwise.is_some() {
                        let place = results.as_mut_ptr().add((r * OUT + c) * outputs + channel);
                        s.store_part(place, count, y);
                    } else {
                        write(s, call, at, count, y);
                    }
                }
            }
        }
    }
    if let Some((pointwise, bias)) = pointwise {
        let channels = pointwise.outputs();
        let mut memory = [0.0; OUT * OUT * narrow::MOST_OUTPUTS];
        let last = &mut memory[..OUT * OUT * channels];
        pointwise.pixels(s, results, bias, last);
        for (r, line) in last.chunks_exact(OUT * channels).enumerate().take(height - row) {
            let at = ((image * height + row + r) * width + col) * channels;
            let count = OUT.min(width - col) * channels;
            // SAFETY: these pixels exist, and no other task writes them.
            unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), call.y.0.add(at), count) };
        }
    }
}

/// # Safety
/// The result (and the residual) must have `count` values from `at` on, which no other task uses.
#[inline(always)]
unsafe fn write<S: Simd>(s: S, call: &Call<'_>, at: usize, count: usize, y: S::F) {
    // SAFETY: the caller's promise.
    unsafe {
        let place = call.y.0.add(at);
        let mut y = y;
        // No closures: they would be compiled without the instruction set.
        if let Some(residual) = call.fused.residual {
            let p = residual.as_ptr().add(at);
            y = y + if count == S::LANES { s.load(p) } else { s.load_part(p, count, 0.0) };
        }
        if count == S::LANES { s.store(place, y) } else { s.store_part(place, count, y) }
    }
}
