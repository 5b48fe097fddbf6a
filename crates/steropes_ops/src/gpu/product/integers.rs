//! Weights in small integers as the product reads them.

use super::pack::PANEL;
use crate::error::OpError;
use crate::linalg::quantize::{BLOCK_LEN, BlockFormat, Blocks, GroupedMatrix, QuantizedMatrix};
use rayon::prelude::*;
use steropes_tensor::{Device, Gpu, Header, Tensor, TensorError};

/// How packed weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// As values.
    Values,
    /// As integers, 32 of a column with a scale in f16.
    Blocks(BlockFormat),
    /// As numbers of four bits, so many of a column with a scale and a lowest value in f32.
    Groups(usize),
}

/// A matrix of small integers, `[outputs, depth]`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Integers<'a> {
    Blocks(&'a QuantizedMatrix),
    Groups(&'a GroupedMatrix),
}

impl Held {
    /// Lines of the depth that share their scales.
    pub(super) fn step(self) -> usize {
        match self {
            Self::Values => 1,
            Self::Blocks(_) => BLOCK_LEN,
            Self::Groups(group) => group,
        }
    }

    /// Bits of a number.
    pub(super) fn bits(self) -> usize {
        if self == Self::Blocks(BlockFormat::Q8) { 8 } else { 4 }
    }

    /// Whether there are lowest values.
    pub(super) fn has_lowest(self) -> bool {
        matches!(self, Self::Groups(_))
    }

    /// Words of the numbers of a step.
    fn number_words(self) -> usize {
        self.step() * PANEL * self.bits() / 32
    }

    /// Words of a step of a panel.
    fn step_words(self) -> usize {
        self.number_words() + if self.has_lowest() { 2 * PANEL } else { PANEL / 2 }
    }

    /// Words of a panel of `padded` lines, whole steps.
    pub(super) fn panel_words(self, padded: usize) -> usize {
        padded / self.step() * self.step_words()
    }

    /// The header with the reading of such weights, `integers.wgsl`.
    pub(super) fn header(self, header: Header) -> Header {
        header
            .count("STEP", self.step() as u32)
            .count("STEP_PAIRS", self.step_words() as u32 / 2)
            .count("BITS", self.bits() as u32)
            .flag("LOWEST", self.has_lowest())
            .number("OFFSET", if self == Self::Blocks(BlockFormat::Q4) { 8.0 } else { 0.0 })
            .text(include_str!("integers.wgsl"))
    }
}

impl Integers<'_> {
    /// Outputs and depth.
    pub(crate) fn shape(&self) -> [usize; 2] {
        match self {
            Self::Blocks(matrix) => matrix.shape(),
            Self::Groups(matrix) => matrix.shape(),
        }
    }

    pub(super) fn held(&self) -> Held {
        match self {
            Self::Blocks(matrix) => Held::Blocks(matrix.format()),
            Self::Groups(matrix) => Held::Groups(matrix.group()),
        }
    }

    /// The words of all panels, as `integers.wgsl` says, `padded` lines deep with zeros behind the depth and behind the last output.
    ///
    /// # Errors
    /// [`OpError`] if the device failed or has no memory.
    pub(super) fn packed(&self, gpu: &Gpu, padded: usize) -> Result<Tensor, OpError> {
        let ([outputs, depth], held) = (self.shape(), self.held());
        let mut words = vec![0u32; outputs.div_ceil(PANEL) * held.panel_words(padded)];
        words.par_chunks_mut(held.panel_words(padded)).enumerate().for_each(|(panel, words)| {
            let columns = PANEL.min(outputs - panel * PANEL);
            for (step, words) in words.chunks_mut(held.step_words()).enumerate() {
                if step * held.step() < depth {
                    (0..columns).for_each(|c| self.place(panel * PANEL + c, step, c, words));
                }
            }
        });
        match Tensor::new(&Device::Gpu(gpu.clone()), &[words.len()], words) {
            Ok(tensor) => Ok(tensor),
            Err(TensorError::Device(error)) => Err(error.into()),
            Err(error) => unreachable!("as many words as there are: {error}"),
        }
    }

    /// Writes a step of one output into column `c` of a panel.
    fn place(&self, output: usize, step: usize, c: usize, words: &mut [u32]) {
        let held = self.held();
        let (numbers, ranges) = words.split_at_mut(held.number_words());
        let bits = held.bits();
        let mut put = |line: usize, number: u8| {
            let bit = (line * PANEL + c) * bits;
            numbers[bit / 32] |= u32::from(number) << (bit % 32);
        };
        match self {
            Self::Blocks(matrix) => {
                let block = output * matrix.shape()[1].div_ceil(BLOCK_LEN) + step;
                let scale = match matrix.blocks() {
                    Blocks::Q8(blocks) => {
                        let integers = blocks[block].values.iter().enumerate();
                        integers.for_each(|(line, &integer)| put(line, integer.cast_unsigned()));
                        blocks[block].scale
                    }
                    Blocks::Q4(blocks) => {
                        (0..BLOCK_LEN).for_each(|line| put(line, blocks[block].number(line)));
                        blocks[block].scale
                    }
                };
                ranges[c / 2] |= u32::from(scale.to_bits()) << (c % 2 * 16);
            }
            Self::Groups(matrix) => {
                let group = matrix.group();
                (0..group).for_each(|line| put(line, matrix.number(output, step * group + line)));
                let range = matrix.range(output, step);
                (ranges[c], ranges[PANEL + c]) = (range.scale.to_bits(), range.low.to_bits());
            }
        }
    }
}
