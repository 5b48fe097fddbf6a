//! How the weights of a network are held.

use half::{bf16, f16};
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
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::F32 | Self::Int8 => (value as f32).is_finite(),
            Self::F16 => f16::from_f64(value).is_finite(),
            Self::Bf16 => bf16::from_f64(value).is_finite(),
            Self::Q8 => BlockFormat::Q8.holds(value as f32),
            Self::Q4 => BlockFormat::Q4.holds(value as f32),
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
