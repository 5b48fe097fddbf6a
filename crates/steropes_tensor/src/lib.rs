//! Memory with a shape and a dtype on a device, and nothing that computes.
//!
//! A [`Tensor`] is always contiguous and row-major, so there are no strides to get wrong; a reshape is
//! free. Kernels live in `steropes_ops`; they borrow the memory of a tensor through
//! [`Tensor::cpu_slice`] when the tensor is on the CPU.

mod device;
mod dtype;
mod tensor;

pub use device::{Device, DeviceError, DeviceKind};
pub use dtype::{DType, Element};
pub use tensor::{Tensor, TensorError};
