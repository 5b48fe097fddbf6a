//! Matrices in blocks of 32 small integers with one scale each, the forms `q8_0` and `q4_0` of GGML, and in groups with a range each.

mod groups;
mod reference;
pub(crate) mod tests;

use crate::error::OpError;
use bytemuck::{Pod, Zeroable};
use half::f16;
use rayon::prelude::*;
use std::fmt;

pub use groups::{GroupRange, GroupedMatrix};

const OP: &str = "linalg::quantize";

/// Values in a block, neighbours along the row of a matrix.
pub const BLOCK_LEN: usize = 32;

/// How a block holds its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// [`BlockQ8`]: 8.5 bits a value.
    Q8,
    /// [`BlockQ4`]: 4.5 bits a value.
    Q4,
}

impl BlockFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Q8, Self::Q4];

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q8 => size_of::<BlockQ8>(),
            Self::Q4 => size_of::<BlockQ4>(),
        }
    }

    /// Bytes of a row of `columns` values: whole blocks, the last one filled up with zeros.
    pub const fn row_bytes(self, columns: usize) -> usize {
        columns.div_ceil(BLOCK_LEN) * self.block_bytes()
    }

    /// The name in GGML, which files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8_0",
            Self::Q4 => "q4_0",
        }
    }

    /// The format called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether a block can hold a value of this magnitude: its scale is an f16. Not a number cannot be held.
    pub fn holds(self, value: f32) -> bool {
        value.abs() < self.bound()
    }

    /// The first value that rounds to infinity in f16, times the largest integer.
    fn bound(self) -> f32 {
        match self {
            Self::Q8 => 65520.0 * 127.0,
            Self::Q4 => 65520.0 * 8.0,
        }
    }
}

/// The name that the program's options use: `q8` or `q4`.
impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        })
    }
}

/// GGML's `block_q8_0`, 34 bytes: value `i` is `scale * values[i]`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ8 {
    /// The largest magnitude of the block divided by 127.
    pub scale: f16,
    /// -127 to 127.
    pub values: [i8; BLOCK_LEN],
}

/// GGML's `block_q4_0`, 18 bytes: value `i` is `scale * (n - 8)`, where `n` is the lower half of `halves[i]` for `i` below 16 and the
/// upper half of `halves[i - 16]` from there on.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4 {
    /// The value of largest magnitude, with its sign, divided by -8: that value is exactly `n = 0`.
    pub scale: f16,
    /// Two numbers of 4 bits in each byte.
    pub halves: [u8; BLOCK_LEN / 2],
}

impl BlockQ8 {
    /// The nearest multiples of the scale, ties away from zero. They are found with the scale before it is rounded to f16, as in
    /// GGML.
    pub fn quantize(values: &[f32; BLOCK_LEN]) -> Self {
        let scale = values.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
        let factor = reciprocal(scale);
        Self { scale: f16::from_f32(scale), values: values.map(|v| (v * factor).round() as i8) }
    }

    /// Value `i`, exactly.
    pub fn value(&self, i: usize) -> f32 {
        self.scale.to_f32() * f32::from(self.values[i])
    }
}

impl BlockQ4 {
    /// Multiples of the scale from -8 to 7, found with the scale before it is rounded to f16, as in GGML; of two values of the same
    /// largest magnitude the first decides the sign of the scale.
    pub fn quantize(values: &[f32; BLOCK_LEN]) -> Self {
        let largest = values.iter().fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
        let scale = largest / -8.0;
        let factor = reciprocal(scale);
        // Multiplied and added with two roundings, then cut off.
        let number = |v: f32| ((v * factor + 8.5) as u8).min(15);
        let (first, second) = values.split_at(BLOCK_LEN / 2);
        let mut halves = [0; BLOCK_LEN / 2];
        for (half, (&a, &b)) in halves.iter_mut().zip(first.iter().zip(second)) {
            *half = number(a) | number(b) << 4;
        }
        Self { scale: f16::from_f32(scale), halves }
    }

    /// Number `i`, 0 to 15.
    pub fn number(&self, i: usize) -> u8 {
        let half = BLOCK_LEN / 2;
        if i < half { self.halves[i] & 15 } else { self.halves[i - half] >> 4 }
    }

    /// Value `i`, exactly.
    pub fn value(&self, i: usize) -> f32 {
        self.scale.to_f32() * (f32::from(self.number(i)) - 8.0)
    }
}

fn reciprocal(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// A matrix `[rows, columns]` in host memory whose rows are blocks along the columns, each row whole blocks filled up with zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    rows: usize,
    columns: usize,
    blocks: Blocks,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blocks {
    Q8(Vec<BlockQ8>),
    Q4(Vec<BlockQ4>),
}

impl QuantizedMatrix {
    /// The row-major `values` of `[rows, columns]` in blocks of `format`: the same bytes as GGML's reference gives (for rows that are
    /// multiples of 32, the only ones that it takes).
    ///
    /// # Numerics
    /// A value is off by at most `largest / 254` in q8 and `largest / 8` in q4, where `largest` is the largest magnitude of its block,
    /// and by the rounding of the scale to f16; blocks whose largest magnitude is below 1e-5 lose more, because f16 has no small
    /// numbers.
    ///
    /// # Errors
    /// [`OpError::Value`] if there are not as many values, one is not finite, or one is too large for a scale in f16 (8.3e6 in q8, 5.2e5
    /// in q4).
    ///
    /// # Source
    /// GGML's `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`, from their description; checked against the package gguf.
    pub fn quantize(
        format: BlockFormat,
        [rows, columns]: [usize; 2],
        values: &[f32],
    ) -> Result<Self, OpError> {
        if values.len() != rows * columns {
            let expected = format!("{rows} x {columns} numbers");
            return Err(OpError::value(OP, "values", expected, values.len()));
        }
        if let Some(wrong) = values.par_iter().find_first(|&&v| !format.holds(v)) {
            let expected = format!("finite and below {:.3e} for {format}", format.bound());
            return Err(OpError::value(OP, "values", expected, wrong));
        }
        let blocks = match format {
            BlockFormat::Q8 => Blocks::Q8(in_blocks(values, columns, BlockQ8::quantize)),
            BlockFormat::Q4 => Blocks::Q4(in_blocks(values, columns, BlockQ4::quantize)),
        };
        Ok(Self { rows, columns, blocks })
    }

    /// The matrix whose blocks are `bytes`, row after row, as [`QuantizedMatrix::bytes`] gives them.
    ///
    /// # Errors
    /// [`OpError::Value`] if there are not as many bytes or a scale is not finite.
    pub fn from_bytes(
        format: BlockFormat,
        [rows, columns]: [usize; 2],
        bytes: &[u8],
    ) -> Result<Self, OpError> {
        let expected = rows * format.row_bytes(columns);
        if bytes.len() != expected {
            return Err(OpError::value(OP, "bytes", format!("{expected} bytes"), bytes.len()));
        }
        // A file's bytes need not be aligned for a scale.
        let blocks = match format {
            BlockFormat::Q8 => Blocks::Q8(bytemuck::pod_collect_to_vec(bytes)),
            BlockFormat::Q4 => Blocks::Q4(bytemuck::pod_collect_to_vec(bytes)),
        };
        let matrix = Self { rows, columns, blocks };
        let wrong = matrix.scales().position(|scale| !scale.is_finite());
        match wrong {
            None => Ok(matrix),
            Some(block) => Err(OpError::value(OP, "bytes", "finite scales", format!("block {block}"))),
        }
    }

    /// The format of the blocks.
    pub fn format(&self) -> BlockFormat {
        match self.blocks {
            Blocks::Q8(_) => BlockFormat::Q8,
            Blocks::Q4(_) => BlockFormat::Q4,
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The blocks, row after row.
    pub fn bytes(&self) -> &[u8] {
        match &self.blocks {
            Blocks::Q8(blocks) => bytemuck::cast_slice(blocks),
            Blocks::Q4(blocks) => bytemuck::cast_slice(blocks),
        }
    }

    /// The row-major values, exactly: an f32 holds each product of scale and integer.
    pub fn dequantize(&self) -> Vec<f32> {
        match &self.blocks {
            Blocks::Q8(blocks) => self.values(blocks, BlockQ8::value),
            Blocks::Q4(blocks) => self.values(blocks, BlockQ4::value),
        }
    }

    /// Multiplies each row by one of `factors`, in its scales: the integers stay as they are.
    ///
    /// # Errors
    /// [`OpError::Value`] if there are not as many factors as rows, or a scale becomes too large for f16 or not a number.
    pub fn scale_rows(&mut self, factors: &[f32]) -> Result<(), OpError> {
        if factors.len() != self.rows {
            return Err(OpError::value(OP, "factors", format!("{} numbers", self.rows), factors.len()));
        }
        let blocks = self.columns.div_ceil(BLOCK_LEN).max(1);
        let scales: Box<dyn Iterator<Item = &mut f16>> = match &mut self.blocks {
            Blocks::Q8(blocks) => Box::new(blocks.iter_mut().map(|b| &mut b.scale)),
            Blocks::Q4(blocks) => Box::new(blocks.iter_mut().map(|b| &mut b.scale)),
        };
        for (i, scale) in scales.enumerate() {
            *scale = f16::from_f32(scale.to_f32() * factors[i / blocks]);
            if !scale.is_finite() {
                return Err(OpError::value(OP, "factors", "such that scales fit f16", factors[i / blocks]));
            }
        }
        Ok(())
    }

    /// These rows and behind them those of `other`.
    ///
    /// # Errors
    /// [`OpError::Value`] if `other` has another format or number of columns.
    pub fn followed_by(mut self, other: Self) -> Result<Self, OpError> {
        let (own, found) = ((self.format(), self.columns), (other.format(), other.columns));
        match (&mut self.blocks, other.blocks) {
            (Blocks::Q8(blocks), Blocks::Q8(more)) if own == found => blocks.extend(more),
            (Blocks::Q4(blocks), Blocks::Q4(more)) if own == found => blocks.extend(more),
            _ => {
                let text = |(format, columns): (BlockFormat, usize)| format!("{format} of {columns} columns");
                return Err(OpError::value(OP, "other", text(own), text(found)));
            }
        }
        self.rows += other.rows;
        Ok(self)
    }

    /// The blocks by their format.
    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    fn scales(&self) -> impl Iterator<Item = f16> {
        let step = self.format().block_bytes();
        self.bytes().chunks_exact(step).map(|block| f16::from_le_bytes([block[0], block[1]]))
    }

    fn values<B: Sync>(&self, blocks: &[B], value: impl Fn(&B, usize) -> f32 + Sync) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        let row_blocks = self.columns.div_ceil(BLOCK_LEN).max(1);
        let rows = values.par_chunks_mut(self.columns.max(1)).zip(blocks.par_chunks(row_blocks));
        rows.for_each(|(row, blocks)| {
            for (values, block) in row.chunks_mut(BLOCK_LEN).zip(blocks) {
                values.iter_mut().enumerate().for_each(|(i, v)| *v = value(block, i));
            }
        });
        values
    }
}

/// Rows of `columns` values in blocks.
fn in_blocks<B: Send>(
    values: &[f32],
    columns: usize,
    quantize: impl Fn(&[f32; BLOCK_LEN]) -> B + Sync,
) -> Vec<B> {
    let row_blocks = columns.div_ceil(BLOCK_LEN);
    let rows = values.len().checked_div(columns).unwrap_or(0);
    let block = |i: usize| {
        let (row, first) = (i / row_blocks, i % row_blocks * BLOCK_LEN);
        let part = &values[row * columns..][first..columns.min(first + BLOCK_LEN)];
        let mut padded = [0.0; BLOCK_LEN];
        padded[..part.len()].copy_from_slice(part);
        quantize(&padded)
    };
    (0..rows * row_blocks).into_par_iter().map(block).collect()
}
