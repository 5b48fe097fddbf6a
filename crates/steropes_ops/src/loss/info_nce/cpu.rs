//! Four rows of one side against blocks of the other, whose values lie beside each other for every channel, so that a vector holds
//! as many similarities. Sums of rows grow block by block; columns are the rows of the same with both sides exchanged. Groups of four
//! rows are shared among threads, and none adds to what is another's.

use super::{InfoNceMode, InfoNceOptions, Similarity};
use crate::cpu::Isa;
use crate::cpu::math::exp;
use crate::cpu::simd::{Kernel, Lane, Simd};
use rayon::prelude::*;

/// Rows that share what they read.
const ROWS: usize = 4;

/// Rows of the other side in a block.
const BLOCK: usize = 256;

/// Similarities that are not numbers.
const NOTHING: f32 = -1e30;

/// The extents of an item and what is asked of it.
pub(super) struct Problem<'a> {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) options: &'a InfoNceOptions,
}

/// Logarithms of the sums of one item.
struct Sums {
    /// Similarities of the correspondences.
    own: Vec<f32>,
    rows: Vec<f32>,
    columns: Vec<f32>,
}

/// What the similarities of a row or column are weighted by in its gradient: `scale e^(s - log_sum)`.
#[derive(Clone, Copy, Default)]
struct Weight {
    scale: f32,
    log_sum: f32,
}

/// The weights of an item's rows, columns and correspondences.
struct Weights {
    rows: Vec<Weight>,
    columns: Vec<Weight>,
    own: Vec<f32>,
}

impl Problem<'_> {
    pub(super) fn forward(&self, descriptors: [&[f32]; 2], valid: &[u8]) -> Vec<f32> {
        let mut losses = Vec::with_capacity(valid.len());
        for (item, valid) in self.items(descriptors, valid) {
            let sums = self.sums(item);
            let all = log_sum(&sums.rows);
            losses.extend((0..self.rows).map(|i| if valid[i] == 0 { 0.0 } else { self.loss(&sums, all, i) }));
        }
        losses
    }

    fn items<'a>(
        &self,
        [a, b]: [&'a [f32]; 2],
        valid: &'a [u8],
    ) -> impl Iterator<Item = ([&'a [f32]; 2], &'a [u8])> {
        let len = (self.rows * self.width).max(1);
        let items = a.chunks_exact(len).zip(b.chunks_exact(len));
        items.map(|(a, b)| [a, b]).zip(valid.chunks_exact(self.rows.max(1)))
    }

    fn sums(&self, [a, b]: [&[f32]; 2]) -> Sums {
        let [packed_a, packed_b] = [a, b].map(|side| Packed::new(side, self.width));
        let (rows, own) = self.log_sums(a, &packed_b);
        Sums { own, rows, columns: self.log_sums(b, &packed_a).0 }
    }

    /// The logarithms of the sums of exponentials of all rows of `a`, and the similarity of each with its own row of `b`.
    fn log_sums(&self, a: &[f32], b: &Packed) -> (Vec<f32>, Vec<f32>) {
        let isa = Isa::current();
        let groups = a.par_chunks(ROWS * self.width).enumerate();
        let found: Vec<Vec<[f32; 2]>> =
            groups.map(|(group, a)| isa.run(LogSums { a, b, first: group * ROWS, problem: self })).collect();
        found.into_iter().flatten().map(|[log_sum, own]| (log_sum, own)).unzip()
    }

    fn least(&self) -> f32 {
        -self.options.epsilon.ln()
    }

    fn loss(&self, sums: &Sums, all: f32, i: usize) -> f32 {
        let [row, column] = [sums.rows[i] - sums.own[i], sums.columns[i] - sums.own[i]];
        match self.options.mode {
            InfoNceMode::Proper => row.min(self.least()) + column.min(self.least()),
            InfoNceMode::Dual => (row + column).min(self.least()),
            InfoNceMode::All => (all - sums.own[i]).min(self.least()),
        }
    }

    pub(super) fn backward(&self, grad: &[f32], descriptors: [&[f32]; 2], valid: &[u8]) -> [Vec<f32>; 2] {
        let (mut da, mut db) = (Vec::new(), Vec::new());
        let grads = grad.chunks_exact(self.rows.max(1));
        for (([a, b], valid), grad) in self.items(descriptors, valid).zip(grads) {
            let weights = self.weights(&self.sums([a, b]), valid, grad);
            let [packed_a, packed_b] = [a, b].map(|side| Packed::new(side, self.width));
            da.extend(self.gradient((a, &weights.rows), (&packed_b, &weights.columns), &weights.own));
            db.extend(self.gradient((b, &weights.columns), (&packed_a, &weights.rows), &weights.own));
        }
        [da, db]
    }

    fn weights(&self, sums: &Sums, valid: &[u8], grad: &[f32]) -> Weights {
        let mut weights = Weights {
            rows: vec![Weight::default(); self.rows],
            columns: vec![Weight::default(); self.rows],
            own: vec![0.0; self.rows],
        };
        let (all, least) = (log_sum(&sums.rows), self.least());
        let mut total = 0.0f64;
        for i in 0..self.rows {
            let grad = if valid[i] == 0 { 0.0 } else { grad[i] };
            let [row, column] = [sums.rows[i] - sums.own[i], sums.columns[i] - sums.own[i]];
            let counts = match self.options.mode {
                InfoNceMode::Proper => [row < least, column < least],
                InfoNceMode::Dual => [row + column < least; 2],
                InfoNceMode::All => [all - sums.own[i] < least, false],
            };
            let [row, column] = counts.map(|counts| if counts { grad } else { 0.0 });
            weights.own[i] = row + column;
            total += f64::from(row);
            weights.rows[i] = Weight { scale: row, log_sum: sums.rows[i] };
            weights.columns[i] = Weight { scale: column, log_sum: sums.columns[i] };
        }
        if self.options.mode == InfoNceMode::All {
            weights.rows.fill(Weight { scale: total as f32, log_sum: all });
        }
        weights
    }

    fn gradient(
        &self,
        (a, rows): (&[f32], &[Weight]),
        (b, columns): (&Packed, &[Weight]),
        own: &[f32],
    ) -> Vec<f32> {
        let isa = Isa::current();
        let mut gradient = vec![0.0; a.len()];
        let groups = gradient.par_chunks_mut(ROWS * self.width).zip(a.par_chunks(ROWS * self.width));
        groups.enumerate().for_each(|(group, (gradient, a))| {
            isa.run(Gradient { a, b, gradient, first: group * ROWS, rows, columns, own, problem: self });
        });
        gradient
    }

    /// Similarities from products or squared distances; what is not a number becomes [`NOTHING`].
    #[inline(always)]
    fn similarities(&self, values: &mut [f32]) {
        let scale = 1.0 / self.options.temperature;
        for s in values {
            let similarity = match self.options.similarity {
                Similarity::Dot => *s * scale,
                Similarity::Euclidean => scale / (1.0 + s.sqrt()),
            };
            *s = if similarity.is_nan() { NOTHING } else { similarity };
        }
    }
}

fn log_sum(logarithms: &[f32]) -> f32 {
    let largest = logarithms.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logarithms.iter().map(|l| f64::from(l - largest).exp()).sum();
    largest + sum.ln() as f32
}

/// The values of each channel one after another, `BLOCK` at a time: `[block][channel][BLOCK]`.
struct Packed {
    values: Vec<f32>,
    rows: usize,
    width: usize,
}

impl Packed {
    fn new(side: &[f32], width: usize) -> Self {
        let rows = side.len() / width;
        let mut values = vec![0.0; rows.div_ceil(BLOCK) * BLOCK * width];
        for (i, row) in side.chunks_exact(width).enumerate() {
            let block = &mut values[i / BLOCK * BLOCK * width..];
            for (c, &v) in row.iter().enumerate() {
                block[c * BLOCK + i % BLOCK] = v;
            }
        }
        Self { values, rows, width }
    }

    /// The blocks with their first row and how many they have.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        let blocks = self.values.chunks_exact(BLOCK * self.width).enumerate();
        blocks.map(|(i, block)| (i * BLOCK, BLOCK.min(self.rows - i * BLOCK), block))
    }
}

/// A buffer for the similarities of a group of rows with a block.
type Tile = [[f32; BLOCK]; ROWS];

/// Products, or squared distances, of the rows `a` with all of a block. Rows that `a` lacks are left as they are.
#[inline(always)]
fn raw_tile<S: Simd>(s: S, a: &[f32], width: usize, block: &[f32], distance: bool, tile: &mut Tile) {
    for (a, out) in a.chunks_exact(width).zip(tile.iter_mut()) {
        for k in (0..BLOCK).step_by(S::LANES) {
            let mut sum = s.splat(0.0);
            for (c, &a) in a.iter().enumerate() {
                // SAFETY: a block has `BLOCK` values for each channel, a multiple of every vector.
                let b = unsafe { s.load(block.as_ptr().add(c * BLOCK + k)) };
                let a = s.splat(a);
                sum = if distance {
                    let step = a - b;
                    step.mul_add(step, sum)
                } else {
                    a.mul_add(b, sum)
                };
            }
            // SAFETY: as above for the tile's row.
            unsafe { s.store(out.as_mut_ptr().add(k), sum) };
        }
    }
}

struct LogSums<'a> {
    a: &'a [f32],
    b: &'a Packed,
    /// Number of the first row of `a`.
    first: usize,
    problem: &'a Problem<'a>,
}

impl Kernel for LogSums<'_> {
    type Output = Vec<[f32; 2]>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<[f32; 2]> {
        let width = self.b.width;
        let rows = self.a.len() / width;
        let distance = self.problem.options.similarity == Similarity::Euclidean;
        let mut tile: Tile = [[0.0; BLOCK]; ROWS];
        let mut largest = [NOTHING; ROWS];
        let mut sums = [0.0f32; ROWS];
        let mut own = vec![[0.0; 2]; rows];
        for (first, count, block) in self.b.blocks() {
            raw_tile(s, self.a, width, block, distance, &mut tile);
            for (r, tile) in tile[..rows].iter_mut().enumerate() {
                self.problem.similarities(&mut tile[..count]);
                if let Some(similarity) = tile[..count].get((self.first + r).wrapping_sub(first)) {
                    own[r][1] = *similarity;
                }
                let top = tile[..count].iter().copied().fold(largest[r], f32::max);
                sums[r] *= (largest[r] - top).exp();
                largest[r] = top;
                let mut sum = s.splat(0.0);
                for part in tile[..count].chunks(S::LANES) {
                    // SAFETY: a part is at most a vector, and its own length is given.
                    let x = unsafe { s.load_part(part.as_ptr(), part.len(), f32::NEG_INFINITY) };
                    sum = sum + exp(s, x - s.splat(top));
                }
                sums[r] += sum.sum();
            }
        }
        for (r, own) in own.iter_mut().enumerate() {
            own[0] = largest[r] + sums[r].ln();
        }
        own
    }
}

struct Gradient<'a> {
    a: &'a [f32],
    b: &'a Packed,
    gradient: &'a mut [f32],
    first: usize,
    rows: &'a [Weight],
    columns: &'a [Weight],
    own: &'a [f32],
    problem: &'a Problem<'a>,
}

impl Kernel for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.b.width;
        let temperature = self.problem.options.temperature;
        let distance = self.problem.options.similarity == Similarity::Euclidean;
        let mut tile: Tile = [[0.0; BLOCK]; ROWS];
        for (first, count, block) in self.b.blocks() {
            raw_tile(s, self.a, width, block, distance, &mut tile);
            let rows = self.a.chunks_exact(width).zip(self.gradient.chunks_exact_mut(width));
            for (r, (a, gradient)) in rows.enumerate() {
                let tile = &mut tile[r];
                let raw = *tile;
                self.problem.similarities(&mut tile[..count]);
                let row = self.rows[self.first + r];
                weigh(s, row, &self.columns[first..first + count], tile);
                if let Some(weight) = tile[..count].get_mut((self.first + r).wrapping_sub(first)) {
                    *weight -= self.own[self.first + r];
                }
                for (weight, raw) in tile[..count].iter_mut().zip(raw) {
                    // The derivative of the similarity for a product, or for a step away from the other.
                    *weight *= match distance {
                        false => 1.0 / temperature,
                        true if raw > 0.0 => {
                            let distance = raw.sqrt();
                            -1.0 / (temperature * distance * (1.0 + distance) * (1.0 + distance))
                        }
                        true => 0.0,
                    };
                }
                tile[count..].fill(0.0);
                for (c, (gradient, &a)) in gradient.iter_mut().zip(a).enumerate() {
                    let (mut sum, a) = (s.splat(0.0), s.splat(a));
                    for k in (0..BLOCK).step_by(S::LANES) {
                        // SAFETY: the tile and each channel of the block have `BLOCK` values.
                        unsafe {
                            let weight = s.load(tile.as_ptr().add(k));
                            let b = s.load(block.as_ptr().add(c * BLOCK + k));
                            sum = weight.mul_add(if distance { a - b } else { b }, sum);
                        }
                    }
                    *gradient += sum.sum();
                }
            }
        }
    }
}

/// Replaces similarities of a row by their weights in its gradient.
#[inline(always)]
fn weigh<S: Simd>(s: S, row: Weight, columns: &[Weight], tile: &mut [f32; BLOCK]) {
    let mut log_sums = [0.0f32; BLOCK];
    let mut scales = [0.0f32; BLOCK];
    for (k, column) in columns.iter().enumerate() {
        (log_sums[k], scales[k]) = (column.log_sum, column.scale);
    }
    for k in (0..BLOCK).step_by(S::LANES) {
        // SAFETY: all arrays have `BLOCK` values, a multiple of every vector.
        unsafe {
            let x = s.load(tile.as_ptr().add(k));
            let by_row = exp(s, x - s.splat(row.log_sum)) * s.splat(row.scale);
            let by_column = exp(s, x - s.load(log_sums.as_ptr().add(k)));
            s.store(tile.as_mut_ptr().add(k), by_column.mul_add(s.load(scales.as_ptr().add(k)), by_row));
        }
    }
}
