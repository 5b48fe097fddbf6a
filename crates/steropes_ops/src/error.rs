//! What an op says about arguments that it cannot take.

use steropes_tensor::{DType, Element, Tensor};

/// An argument that an op cannot take. Nothing was computed.
#[derive(Debug, thiserror::Error)]
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
        expected: DType,
        /// The dtype it has.
        found: DType,
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

/// The elements of a CPU tensor, or the error that names the argument of the wrong dtype.
pub(crate) fn host<'a, T: Element>(
    op: &'static str,
    argument: &'static str,
    tensor: &'a Tensor,
) -> Result<&'a [T], OpError> {
    tensor.cpu_slice().ok_or(OpError::DType { op, argument, expected: T::DTYPE, found: tensor.dtype() })
}

/// The result of a CPU kernel as a tensor.
pub(crate) fn on_cpu<T: Element>(shape: &[usize], data: Vec<T>) -> Tensor {
    Tensor::new(&steropes_tensor::Device::cpu(), shape, data).expect("a kernel fills the shape it was given")
}
