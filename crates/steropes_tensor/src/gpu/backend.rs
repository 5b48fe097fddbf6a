//! What stands between tensors and a graphics interface.

use super::{Capabilities, KernelText, Span};
use crate::DeviceError;
use std::any::Any;
use std::sync::Arc;

/// Memory on a GPU. Cloning shares it; it is given back when the last clone is dropped.
#[derive(Clone)]
pub struct Memory {
    buffer: Arc<dyn Any + Send + Sync>,
    bytes: u64,
}

impl Memory {
    /// Memory of `bytes` bytes that is a backend's `buffer`.
    pub fn new(buffer: Arc<dyn Any + Send + Sync>, bytes: u64) -> Self {
        Self { buffer, bytes }
    }

    /// The number of bytes asked for, rounded up to a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The backend's buffer.
    ///
    /// # Panics
    /// If the memory comes from another kind of backend.
    pub fn buffer<T: Any>(&self) -> &T {
        self.buffer.downcast_ref().expect("memory is used with the backend that it came from")
    }

    /// Whether nobody else holds this memory.
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.buffer) == 1
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} bytes)", self.bytes)
    }
}

/// A part of some memory that a kernel sees as one array.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The memory.
    pub memory: &'a Memory,
    /// First byte, a multiple of [`Capabilities::BINDING_ALIGNMENT`].
    pub offset: u64,
    /// Number of bytes, a multiple of 4.
    pub bytes: u64,
}

impl<'a> From<&'a Memory> for Binding<'a> {
    fn from(memory: &'a Memory) -> Self {
        Self { memory, offset: 0, bytes: memory.bytes() }
    }
}

/// Hears how many kernels are about to be compiled, and 0 when they are.
pub type CompileNotice = Arc<dyn Fn(usize) + Send + Sync>;

/// One launch.
#[derive(Debug)]
pub struct Command<'a> {
    /// The kernel's name.
    pub name: &'static str,
    /// The whole WGSL text; its entry point is `main`.
    pub text: KernelText,
    /// Whether the kernel is compiled with bounds checks.
    pub checked: bool,
    /// The arrays of group 0, in the order of their numbers.
    pub bindings: &'a [Binding<'a>],
    /// The words of `var<immediate>`.
    pub params: &'a [u32],
    /// Workgroups along x, y and z, none 0.
    pub groups: [u32; 3],
}

/// What a GPU must do. All work runs in the order of the calls.
pub trait Backend: Send + Sync {
    /// What the adapter can do.
    fn capabilities(&self) -> &Capabilities;

    /// Memory with unspecified content; `bytes` is a positive multiple of 16.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] that names `op` and the bytes.
    fn allocate(&self, op: &'static str, bytes: u64) -> Result<Memory, DeviceError>;

    /// Sets every word of `memory` to `word`.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    fn fill(&self, memory: &Memory, word: u32) -> Result<(), DeviceError>;

    /// Copies `data` to the beginning of `memory`.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    fn upload(&self, memory: &Memory, data: &[u8]) -> Result<(), DeviceError>;

    /// Waits and copies the first `bytes` bytes to the host.
    ///
    /// # Errors
    /// [`DeviceError`] if any work since the last wait failed.
    fn read(&self, memory: &Memory, bytes: u64) -> Result<Vec<u8>, DeviceError>;

    /// Waits for all work.
    ///
    /// # Errors
    /// [`DeviceError`] if any work since the last wait failed.
    fn sync(&self) -> Result<(), DeviceError>;

    /// Records a launch.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    fn launch(&self, command: &Command<'_>) -> Result<(), DeviceError>;

    /// Starts to time every launch.
    ///
    /// # Errors
    /// [`DeviceError`] if there are no timestamps.
    fn begin_spans(&self) -> Result<(), DeviceError>;

    /// Stops timing; the launches since [`Backend::begin_spans`].
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    fn end_spans(&self) -> Result<Vec<Span>, DeviceError>;

    /// Starts to time all launches as one.
    ///
    /// # Errors
    /// [`DeviceError`] if there are no timestamps.
    fn begin_timer(&self) -> Result<(), DeviceError>;

    /// Seconds from the first launch since [`Backend::begin_timer`] to the end of the last.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    fn end_timer(&self) -> Result<f64, DeviceError>;

    /// Bytes in use, and bytes held for reuse.
    fn memory_in_use(&self) -> [u64; 2];

    /// Gives the bytes held for reuse back to the system; a backend that holds none need not.
    fn trim_memory(&self) {}

    /// The largest number of bytes in use at once so far.
    fn peak_memory(&self) -> u64;

    /// Limits the bytes in use.
    fn set_memory_budget(&self, bytes: Option<u64>);

    /// The number of launches so far.
    fn launches(&self) -> u64;

    /// Calls `notice` whenever compiling begins and ends; a backend that does not compile need not.
    fn set_compile_notice(&self, _notice: CompileNotice) {}
}
