//! The tensor itself.

use crate::gpu::{Gpu, Memory};
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
    Gpu(GpuData),
}

/// Memory of one element type on a GPU.
#[derive(Clone)]
struct GpuData {
    gpu: Gpu,
    memory: Memory,
    dtype: DType,
}

/// Host memory of one element type.
#[derive(Clone)]
pub enum CpuData {
    F32(Vec<f32>),
    F64(Vec<f64>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl CpuData {
    fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::F16(_) => DType::F16,
            Self::BF16(_) => DType::BF16,
            Self::I64(_) => DType::I64,
            Self::I32(_) => DType::I32,
            Self::U32(_) => DType::U32,
            Self::U8(_) => DType::U8,
        }
    }
}

/// A tensor that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape does not fit the elements.
    #[error("a tensor of shape {shape:?} has {expected} elements, got {found}")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// Elements that the shape has.
        expected: usize,
        /// Elements that were given.
        found: usize,
    },
    /// The device has no memory for it.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Tensor {
    /// A tensor on `device` with the given elements in row-major order.
    ///
    /// # Errors
    /// [`TensorError::Length`] if `data` does not have as many elements as `shape`, [`TensorError::Device`] if a GPU has no
    /// memory for them.
    pub fn new<T: Element>(device: &Device, shape: &[usize], data: Vec<T>) -> Result<Self, TensorError> {
        check_len(shape, data.len())?;
        let storage = match device {
            Device::Cpu => Storage::Cpu(Arc::new(T::wrap(data))),
            Device::Gpu(gpu) => {
                let data: &[u8] = bytemuck::cast_slice(&data);
                let memory = gpu.allocate("upload", data.len() as u64)?;
                gpu.upload(&memory, data)?;
                Storage::Gpu(GpuData { gpu: gpu.clone(), memory, dtype: T::DTYPE })
            }
        };
        Ok(Self { shape: shape.to_vec(), storage })
    }

    /// A tensor of zeros.
    ///
    /// # Panics
    /// If a GPU has no memory for it; [`Tensor::new`] says so instead.
    pub fn zeros<T: Element>(device: &Device, shape: &[usize]) -> Self {
        let data = vec![T::default(); shape.iter().product()];
        Self::new(device, shape, data).expect("memory for as many zeros as the shape has elements")
    }

    /// A tensor on a GPU with unspecified elements, for the kernel of `op` to fill.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] that names `op` and the bytes.
    pub fn on_gpu(gpu: &Gpu, op: &'static str, dtype: DType, shape: &[usize]) -> Result<Self, DeviceError> {
        let bytes = shape.iter().product::<usize>() as u64 * dtype.size_bytes() as u64;
        let memory = gpu.allocate(op, bytes)?;
        Ok(Self { shape: shape.to_vec(), storage: Storage::Gpu(GpuData { gpu: gpu.clone(), memory, dtype }) })
    }

    /// The same elements on another device; shared where it is the same one.
    ///
    /// # Errors
    /// [`DeviceError`] if a device failed or has no memory for it.
    pub fn to_device(&self, device: &Device) -> Result<Self, DeviceError> {
        if self.device() == *device {
            return Ok(self.clone());
        }
        match self.dtype() {
            DType::F32 => self.moved::<f32>(device),
            DType::F64 => self.moved::<f64>(device),
            DType::F16 => self.moved::<f16>(device),
            DType::BF16 => self.moved::<bf16>(device),
            DType::I64 => self.moved::<i64>(device),
            DType::I32 => self.moved::<i32>(device),
            DType::U32 => self.moved::<u32>(device),
            DType::U8 => self.moved::<u8>(device),
        }
    }

    fn moved<T: Element>(&self, device: &Device) -> Result<Self, DeviceError> {
        match Self::new(device, &self.shape, self.read::<T>()?) {
            Ok(tensor) => Ok(tensor),
            Err(TensorError::Device(error)) => Err(error),
            Err(TensorError::Length { .. }) => unreachable!("a tensor fits its own shape"),
        }
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
            Storage::Gpu(data) => data.dtype,
        }
    }

    /// The device that holds the memory.
    pub fn device(&self) -> Device {
        match &self.storage {
            Storage::Cpu(_) => Device::Cpu,
            Storage::Gpu(data) => Device::Gpu(data.gpu.clone()),
        }
    }

    /// The same memory under another shape.
    ///
    /// # Errors
    /// [`TensorError::Length`] if the number of elements differs.
    pub fn reshape(self, shape: &[usize]) -> Result<Self, TensorError> {
        check_len(shape, self.len())?;
        Ok(Self { shape: shape.to_vec(), storage: self.storage })
    }

    /// Waits for the device and copies the elements to the host.
    ///
    /// # Errors
    /// [`DeviceError::WrongType`] if `T` is not the dtype of the tensor, another [`DeviceError`] if the device failed.
    pub fn read<T: Element>(&self) -> Result<Vec<T>, DeviceError> {
        match &self.storage {
            Storage::Cpu(data) => T::slice(data).map(<[T]>::to_vec).ok_or_else(|| self.wrong_type::<T>()),
            Storage::Gpu(data) if data.dtype != T::DTYPE => Err(self.wrong_type::<T>()),
            Storage::Gpu(_) if self.is_empty() => Ok(Vec::new()),
            Storage::Gpu(data) => {
                let bytes = data.gpu.read(&data.memory, (self.len() * data.dtype.size_bytes()) as u64)?;
                Ok(bytemuck::pod_collect_to_vec(&bytes))
            }
        }
    }

    /// Like [`Tensor::read`], without a copy where nobody else holds the memory.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub fn into_vec<T: Element>(self) -> Result<Vec<T>, DeviceError> {
        let error = self.wrong_type::<T>();
        if matches!(self.storage, Storage::Gpu(_)) {
            return self.read();
        }
        match self.storage {
            Storage::Cpu(data) => match Arc::try_unwrap(data) {
                Ok(data) => T::unwrap(data).map_err(|_| error),
                Err(shared) => T::slice(&shared).map(<[T]>::to_vec).ok_or(error),
            },
            Storage::Gpu(_) => unreachable!("read above"),
        }
    }

    /// The elements in host memory, for CPU kernels: `None` on another device or for another dtype.
    pub fn cpu_slice<T: Element>(&self) -> Option<&[T]> {
        match &self.storage {
            Storage::Cpu(data) => T::slice(data),
            Storage::Gpu(_) => None,
        }
    }

    /// The memory of a GPU tensor, for kernels: `None` on the CPU.
    pub fn gpu_memory(&self) -> Option<&Memory> {
        match &self.storage {
            Storage::Cpu(_) => None,
            Storage::Gpu(data) => Some(&data.memory),
        }
    }

    /// Whether nobody else holds the memory, so that an op that was given this tensor may write over it.
    pub fn is_unshared(&self) -> bool {
        match &self.storage {
            Storage::Cpu(data) => Arc::strong_count(data) == 1,
            Storage::Gpu(data) => data.memory.is_unshared(),
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
    if expected == found {
        Ok(())
    } else {
        Err(TensorError::Length { shape: shape.to_vec(), expected, found })
    }
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
