//! Memory with a shape and a dtype on a device, and nothing that computes.
//!
//! A [`Tensor`] is always contiguous and row-major, so there are no strides to get wrong; a reshape is
//! free. Kernels live in `steropes_ops`; they borrow the memory of a tensor through [`Tensor::cpu_slice`] when it is
//! on the CPU and through [`Tensor::gpu_memory`] when it is on a GPU.

mod cache;
mod device;
mod dtype;
mod gpu;
mod tensor;

pub use cache::cache_folder;
pub use device::{Device, DeviceError};
pub use dtype::{DType, Element};
pub use gpu::{
    Backend, Binding, Capabilities, Command, CompileNotice, Gpu, GpuApi, Header, Kernel, KernelCache,
    KernelText, LaunchFilter, MatrixShape, Memory, Span, TextFilter, spread,
};
pub use tensor::{Tensor, TensorError};
