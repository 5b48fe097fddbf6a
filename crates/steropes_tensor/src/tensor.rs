//! The tensor itself.

use crate::{DType, Device, DeviceError, Element};
use half::{bf16, f16};
use std::sync::Arc;

/// A row-major array on a device.
///
/// Cloning shares the memory. Ops return new tensors; an op that takes a tensor by value may reuse
/// its memory when nobody else holds it.
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    storage: Storage,
}

#[derive(Clone)]
enum Storage {
    Cpu(Arc<CpuData>),
}

/// Host memory of one element type.
#[derive(Clone)]
pub enum CpuData {
    F32(Vec<f32>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl CpuData {
    fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F16(_) => DType::F16,
            Self::BF16(_) => DType::BF16,
            Self::I32(_) => DType::I32,
            Self::U32(_) => DType::U32,
            Self::U8(_) => DType::U8,
        }
    }
}

/// A shape that does not fit its elements.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a tensor of shape {shape:?} has {expected} elements, got {found}")]
pub struct TensorError {
    /// The shape asked for.
    pub shape: Vec<usize>,
    /// Elements that the shape has.
    pub expected: usize,
    /// Elements that were given.
    pub found: usize,
}

impl Tensor {
    /// A tensor on `device` with the given elements in row-major order.
    ///
    /// # Errors
    /// [`TensorError`] if `data` does not have as many elements as `shape`.
    pub fn new<T: Element>(device: &Device, shape: &[usize], data: Vec<T>) -> Result<Self, TensorError> {
        check_len(shape, data.len())?;
        let storage = match device.kind() {
            crate::DeviceKind::Cpu => Storage::Cpu(Arc::new(T::wrap(data))),
        };
        Ok(Self { shape: shape.to_vec(), storage })
    }

    /// A tensor of zeros.
    pub fn zeros<T: Element>(device: &Device, shape: &[usize]) -> Self {
        let data = vec![T::default(); shape.iter().product()];
        Self::new(device, shape, data).expect("as many zeros as the shape has elements")
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether an extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match &self.storage {
            Storage::Cpu(data) => data.dtype(),
        }
    }

    /// The device that holds the memory.
    pub fn device(&self) -> Device {
        match &self.storage {
            Storage::Cpu(_) => Device::cpu(),
        }
    }

    /// The same memory under another shape.
    ///
    /// # Errors
    /// [`TensorError`] if the number of elements differs.
    pub fn reshape(self, shape: &[usize]) -> Result<Self, TensorError> {
        check_len(shape, self.len())?;
        Ok(Self { shape: shape.to_vec(), storage: self.storage })
    }

    /// Waits for the device and copies the elements to the host.
    ///
    /// # Errors
    /// [`DeviceError::WrongType`] if `T` is not the dtype of the tensor.
    pub fn read<T: Element>(&self) -> Result<Vec<T>, DeviceError> {
        match &self.storage {
            Storage::Cpu(data) => T::slice(data).map(<[T]>::to_vec).ok_or_else(|| self.wrong_type::<T>()),
        }
    }

    /// Like [`Tensor::read`], without a copy where nobody else holds the memory.
    ///
    /// # Errors
    /// [`DeviceError::WrongType`] if `T` is not the dtype of the tensor.
    pub fn into_vec<T: Element>(self) -> Result<Vec<T>, DeviceError> {
        let error = self.wrong_type::<T>();
        match self.storage {
            Storage::Cpu(data) => match Arc::try_unwrap(data) {
                Ok(data) => T::unwrap(data).map_err(|_| error),
                Err(shared) => T::slice(&shared).map(<[T]>::to_vec).ok_or(error),
            },
        }
    }

    /// The elements in host memory, for CPU kernels: `None` on another device or for another dtype.
    pub fn cpu_slice<T: Element>(&self) -> Option<&[T]> {
        match &self.storage {
            Storage::Cpu(data) => T::slice(data),
        }
    }

    fn wrong_type<T: Element>(&self) -> DeviceError {
        DeviceError::WrongType { stored: self.dtype(), asked: T::DTYPE }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor {} {:?} on {}", self.dtype(), self.shape, self.device().name())
    }
}

fn check_len(shape: &[usize], found: usize) -> Result<(), TensorError> {
    let expected = shape.iter().product();
    if expected == found { Ok(()) } else { Err(TensorError { shape: shape.to_vec(), expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_as_they_went_in() {
        let t = Tensor::new(&Device::cpu(), &[2, 3], vec![1u32, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(t.read::<u32>().unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!((t.dtype(), t.len()), (DType::U32, 6));
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let error = Tensor::new(&Device::cpu(), &[2, 3], vec![0f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "a tensor of shape [2, 3] has 6 elements, got 5");
        let t = Tensor::zeros::<f32>(&Device::cpu(), &[2, 3]);
        assert!(t.reshape(&[7]).is_err());
    }

    #[test]
    fn a_wrong_type_is_refused() {
        let t = Tensor::zeros::<f32>(&Device::cpu(), &[1]);
        assert_eq!(t.read::<u8>().unwrap_err().to_string(), "the tensor holds f32, it cannot be read as u8");
        assert!(t.cpu_slice::<u8>().is_none());
        assert!(t.into_vec::<u8>().is_err());
    }

    #[test]
    fn unshared_memory_is_moved_and_shared_memory_is_copied() {
        let t = Tensor::new(&Device::cpu(), &[4], vec![1f32; 4]).unwrap();
        let address = t.cpu_slice::<f32>().unwrap().as_ptr();
        let other = t.clone();
        let copied = t.into_vec::<f32>().unwrap();
        assert_ne!(copied.as_ptr(), address);
        let moved = other.into_vec::<f32>().unwrap();
        assert_eq!(moved.as_ptr(), address);
    }
}
