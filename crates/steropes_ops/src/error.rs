//! What an op says about arguments that it cannot take.

use crate::dispatch;
use steropes_tensor::{DType, Device, DeviceError, Element, Gpu, Tensor};

/// Why an op did not run. Nothing was computed, unless the device failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// An extent is wrong.
    #[error("{op}: `{argument}` must be {expected}, got {found:?}")]
    Shape {
        /// The op's name.
        op: &'static str,
        /// The parameter's name.
        argument: &'static str,
        /// The shape it should have.
        expected: String,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// The element type is wrong.
    #[error("{op}: `{argument}` must hold {expected}, got {found}")]
    DType {
        /// The op's name.
        op: &'static str,
        /// The parameter's name.
        argument: &'static str,
        /// The dtype it should have.
        expected: &'static str,
        /// The dtype it has.
        found: DType,
    },
    /// The arguments are on different devices.
    #[error("{op}: `{argument}` must be on {expected} as the first argument, it is on {found}")]
    Device {
        /// The op's name.
        op: &'static str,
        /// The parameter's name.
        argument: &'static str,
        /// The device of the first argument.
        expected: String,
        /// The device it is on.
        found: String,
    },
    /// The op has no kernel for this on the device of its arguments.
    #[error("{op}: not on {device}: {why}")]
    Unsupported {
        /// The op's name.
        op: &'static str,
        /// The device.
        device: String,
        /// The reason in words.
        why: String,
    },
    /// The device failed.
    #[error(transparent)]
    Failed(#[from] DeviceError),
    /// A matrix does not have what the op needs of it, for example an inverse.
    #[error("{op}: matrix {batch:?} of `{argument}` {problem}")]
    Matrix {
        /// The op's name.
        op: &'static str,
        /// The parameter's name.
        argument: &'static str,
        /// Its place in the batch; empty if there is no batch.
        batch: Vec<usize>,
        /// What is wrong with it, with the pivot if there is one.
        problem: String,
    },
    /// A number is out of its range.
    #[error("{op}: `{argument}` must be {expected}, got {found}")]
    Value {
        /// The op's name.
        op: &'static str,
        /// The parameter's name.
        argument: &'static str,
        /// The range in words.
        expected: String,
        /// The value given.
        found: String,
    },
}

/// The line that users read, so that a panic over an error says it too.
impl std::fmt::Debug for OpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl OpError {
    /// A [`OpError::Shape`].
    pub fn shape(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        found: &[usize],
    ) -> Self {
        Self::Shape { op, argument, expected: expected.into(), found: found.to_vec() }
    }

    /// The error of an op that is a step of `name`, as one of `name`.
    pub(crate) fn of(mut self, name: &'static str) -> Self {
        match &mut self {
            Self::Shape { op, .. }
            | Self::DType { op, .. }
            | Self::Device { op, .. }
            | Self::Unsupported { op, .. }
            | Self::Matrix { op, .. }
            | Self::Value { op, .. } => *op = name,
            Self::Failed(_) => {}
        }
        self
    }

    /// A [`OpError::Value`].
    pub fn value(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Value { op, argument, expected: expected.into(), found: found.to_string() }
    }
}

/// The dtypes that an argument may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// f32 on the CPU, f32 or f16 on a GPU that has f16; all arguments of this kind must agree.
    Float,
    /// f32, on a GPU that has f16 also f16, on the CPU also bf16: weights of products.
    Factor,
    /// f32.
    F32,
    /// f32, on the CPU also f64; all arguments of this kind must agree.
    Real,
    /// f32, on the CPU also f64, on a GPU that has f16 also f16; all arguments of this kind must agree.
    Number,
    /// u32.
    U32,
    /// u8, i32, u32 or i64.
    Integer,
    /// i32, u32 or i64: numbers of classes, rows or places.
    Index,
    /// u8, 0 for no and anything else for yes.
    Mask,
}

impl Holds {
    fn check(self, dtype: DType, device: &Device) -> Result<(), &'static str> {
        let f16 = device.gpu().is_some_and(|gpu| gpu.capabilities().f16);
        let (fits, expected) = match self {
            Self::Float if f16 => (matches!(dtype, DType::F32 | DType::F16), "f32 or f16"),
            Self::Number if f16 => (matches!(dtype, DType::F32 | DType::F16), "f32 or f16"),
            Self::Factor if f16 => (matches!(dtype, DType::F32 | DType::F16), "f32 or f16"),
            Self::Factor if device.gpu().is_none() => {
                (matches!(dtype, DType::F32 | DType::BF16), "f32 or bf16")
            }
            Self::Real | Self::Number if device.gpu().is_none() => {
                (matches!(dtype, DType::F32 | DType::F64), "f32 or f64")
            }
            Self::Float | Self::Factor | Self::F32 | Self::Real | Self::Number => {
                (dtype == DType::F32, "f32")
            }
            Self::U32 => (dtype == DType::U32, "u32"),
            Self::Integer => {
                (matches!(dtype, DType::U8 | DType::I32 | DType::U32 | DType::I64), "u8, i32, u32 or i64")
            }
            Self::Index => (matches!(dtype, DType::I32 | DType::U32 | DType::I64), "i32, u32 or i64"),
            Self::Mask => (dtype == DType::U8, "u8"),
        };
        if fits { Ok(()) } else { Err(expected) }
    }
}

/// Where an op runs.
pub(crate) enum Place {
    /// On the CPU.
    Cpu,
    /// On this GPU.
    Gpu(Gpu),
}

/// The device that all arguments are on; counts a run of `op` there.
///
/// # Errors
/// [`OpError::DType`] or [`OpError::Device`] that names the first argument that does not fit.
pub(crate) fn place(
    op: &'static str,
    arguments: &[(&'static str, &Tensor, Holds)],
) -> Result<Place, OpError> {
    let place = common_place(op, arguments)?;
    match place {
        Place::Cpu => dispatch::on_cpu(op),
        Place::Gpu(_) => dispatch::on_gpu(op),
    }
    Ok(place)
}

/// The device that all arguments are on, to prepare a run of `op` or to check more of its arguments.
///
/// # Errors
/// As [`place`].
pub(crate) fn common_place(
    op: &'static str,
    arguments: &[(&'static str, &Tensor, Holds)],
) -> Result<Place, OpError> {
    let device = arguments.first().map_or(Device::Cpu, |(_, tensor, _)| tensor.device());
    let (mut float, mut real): (Option<DType>, Option<DType>) = (None, None);
    for &(argument, tensor, holds) in arguments {
        let found = tensor.dtype();
        holds.check(found, &device).map_err(|expected| OpError::DType { op, argument, expected, found })?;
        if tensor.device() != device {
            let (expected, found) = (device.name().to_owned(), tensor.device().name().to_owned());
            return Err(OpError::Device { op, argument, expected, found });
        }
        let first = match holds {
            Holds::Float => *float.get_or_insert(found),
            Holds::Real | Holds::Number => *real.get_or_insert(found),
            _ => found,
        };
        if first != found {
            let expected = match first {
                DType::F32 => "f32 as the first argument",
                DType::F64 => "f64 as the first argument",
                _ => "f16 as the first argument",
            };
            return Err(OpError::DType { op, argument, expected, found });
        }
    }
    Ok(match device {
        Device::Cpu => Place::Cpu,
        Device::Gpu(gpu) => Place::Gpu(gpu),
    })
}

/// The elements of a CPU tensor whose dtype was checked.
///
/// # Panics
/// If the tensor is on a GPU or holds another type.
pub(crate) fn values<T: Element>(tensor: &Tensor) -> &[T] {
    tensor.cpu_slice().expect("device and dtype were checked")
}

/// The result of a CPU kernel as a tensor.
pub(crate) fn on_cpu<T: Element>(shape: &[usize], data: Vec<T>) -> Tensor {
    Tensor::new(&Device::Cpu, shape, data).expect("a kernel fills the shape it was given")
}
