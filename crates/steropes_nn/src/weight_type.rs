//! How the weights of a network are held.

use std::fmt;
use steropes_ops::linalg::quantize::BlockFormat;
use steropes_tensor::DType;

/// How the weights of linear layers are held, and with them what flows between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// 32 bits.
    F32,
    /// 16 bits, 11 of them significant; up to 65504.
    F16,
    /// 16 bits, 8 of them significant; the range of f32.
    Bf16,
    /// Integers of 8 bits with a scale for each output, and products of integers: [`Weight::Int8`]. Files do not hold it.
    ///
    /// [`Weight::Int8`]: steropes_ops::linalg::linear::Weight::Int8
    Int8,
    /// Blocks of 32 integers of 8 bits with a scale: [`BlockFormat::Q8`].
    Q8,
    /// Blocks of 32 integers of 4 bits with a scale: [`BlockFormat::Q4`].
    Q4,
}

impl WeightType {
    /// The element type of what flows between layers, and of convolutions and other weights: f16, or f32.
    pub fn values(self) -> DType {
        if self == Self::F16 { DType::F16 } else { DType::F32 }
    }

    /// The format of the blocks, if weights are in blocks.
    pub fn blocks(self) -> Option<BlockFormat> {
        match self {
            Self::Q8 => Some(BlockFormat::Q8),
            Self::Q4 => Some(BlockFormat::Q4),
            Self::F32 | Self::F16 | Self::Bf16 | Self::Int8 => None,
        }
    }

    /// About the bytes of so many values, padding of rows to whole blocks and scales of whole rows left out.
    pub fn bytes(self, values: u64) -> u64 {
        let of_32 = match self {
            Self::F32 => 128,
            Self::F16 | Self::Bf16 => 64,
            Self::Int8 => 32,
            Self::Q8 => BlockFormat::Q8.block_bytes() as u64,
            Self::Q4 => BlockFormat::Q4.block_bytes() as u64,
        };
        values * of_32 / 32
    }

    /// One step finer where weights are integers: q8 for q4, bf16 for q8 and int8.
    #[must_use]
    pub fn finer(self) -> Self {
        match self {
            Self::Q4 => Self::Q8,
            Self::Q8 | Self::Int8 => Self::Bf16,
            Self::F32 | Self::F16 | Self::Bf16 => self,
        }
    }

    /// Whether a finite value can be held: it does not become an infinity.
    pub(crate) fn holds(self, value: f32) -> bool {
        // What is half a unit above the largest value rounds to an infinity.
        const LIMIT_F16: f32 = 65520.0;
        const LIMIT_BF16: f32 = f32::from_bits(0x7f7f_8000);
        match self {
            Self::F32 | Self::Int8 => value.is_finite(),
            Self::F16 => value.abs() < LIMIT_F16,
            Self::Bf16 => value.abs() < LIMIT_BF16,
            Self::Q8 => BlockFormat::Q8.holds(value),
            Self::Q4 => BlockFormat::Q4.holds(value),
        }
    }
}

impl From<BlockFormat> for WeightType {
    fn from(format: BlockFormat) -> Self {
        match format {
            BlockFormat::Q8 => Self::Q8,
            BlockFormat::Q4 => Self::Q4,
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn a_value_is_held_if_it_rounds_to_a_finite_one() {
        let [largest_f16, largest_bf16] = [f16::MAX.to_f32(), bf16::MAX.to_f32()];
        for largest in [largest_f16, 65520.0, 65536.0, largest_bf16, f32::from_bits(0x7f7f_8000), f32::MAX] {
            for value in [largest.next_down(), largest, largest.next_up(), -largest] {
                assert_eq!(WeightType::F16.holds(value), f16::from_f32(value).is_finite(), "{value}");
                assert_eq!(WeightType::Bf16.holds(value), bf16::from_f32(value).is_finite(), "{value}");
                assert_eq!(WeightType::F32.holds(value), value.is_finite(), "{value}");
            }
        }
    }
}
