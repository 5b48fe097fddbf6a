//! Element types.

use crate::tensor::CpuData;
use half::{bf16, f16};

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64, which GPUs store and do not compute with.
    F64,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Byte.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 => 1,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::U8 => "u8",
        })
    }
}

/// A Rust type that can be an element of a tensor.
///
/// Sealed: the set of dtypes is fixed by the kernels.
pub trait Element: Copy + Send + Sync + Default + 'static + sealed::Stored {
    /// The dtype of this element type.
    const DTYPE: DType;
}

pub(crate) mod sealed {
    use super::CpuData;

    /// How one element type sits in host storage.
    pub trait Stored: Sized + bytemuck::Pod {
        fn wrap(data: Vec<Self>) -> CpuData;
        fn slice(data: &CpuData) -> Option<&[Self]>;
        fn unwrap(data: CpuData) -> Result<Vec<Self>, CpuData>;
    }
}

macro_rules! element {
    ($type:ty, $dtype:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }
        impl sealed::Stored for $type {
            fn wrap(data: Vec<Self>) -> CpuData {
                CpuData::$dtype(data)
            }
            fn slice(data: &CpuData) -> Option<&[Self]> {
                if let CpuData::$dtype(values) = data { Some(values) } else { None }
            }
            fn unwrap(data: CpuData) -> Result<Vec<Self>, CpuData> {
                if let CpuData::$dtype(values) = data { Ok(values) } else { Err(data) }
            }
        }
    };
}

element!(f32, F32);
element!(f64, F64);
element!(f16, F16);
element!(bf16, BF16);
element!(i64, I64);
element!(i32, I32);
element!(u32, U32);
element!(u8, U8);
