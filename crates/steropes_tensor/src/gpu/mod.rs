//! A GPU: memory, kernels as WGSL text, launches.
//!
//! [`Gpu`] is what ops see. Behind it stands a [`Backend`]: the `driver` module runs kernels through wgpu on Metal, Vulkan or
//! DX12; checks of generated Metal text bring a backend of their own.

mod backend;
mod capabilities;
pub(crate) mod driver;
mod kernel;
mod span;

pub use backend::{Backend, Binding, Command, CompileNotice, Memory};
pub use capabilities::{Capabilities, GpuApi, MatrixShape};
pub use kernel::{Header, Kernel, KernelCache, KernelText};
pub use span::Span;

use crate::DeviceError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// A function that sees every kernel text before it is compiled: name and text in, text out.
pub type TextFilter = Arc<dyn Fn(&str, String) -> String + Send + Sync>;

/// A function that sees the workgroups of every launch: kernel (its text as it was before [`TextFilter`]) and groups in, groups out.
pub type LaunchFilter = Arc<dyn Fn(&Kernel, [u32; 3]) -> [u32; 3] + Send + Sync>;

/// A GPU that holds tensors and runs kernels. Cloning is cheap and shares the device.
///
/// Work is recorded and runs in the order of the calls; only [`Gpu::read`] and [`Gpu::sync`] wait for it.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn Backend>,
    capabilities: Capabilities,
    settings: Arc<RwLock<Settings>>,
    waits: AtomicU64,
}

#[derive(Clone, Default)]
struct Settings {
    checked: bool,
    filter: Option<TextFilter>,
    launch_filter: Option<LaunchFilter>,
}

impl Gpu {
    /// A device on a backend.
    pub fn new(backend: Box<dyn Backend>) -> Self {
        let capabilities = backend.capabilities().clone();
        Self::of(backend.into(), capabilities, Arc::default())
    }

    /// The same device under another handle, whose kernels see at most `bytes` bytes of each array at once, to see whether tests
    /// notice a tensor that is split wrongly without memory for a large one. Its tensors are its own: to the other handle they are on
    /// another device.
    pub fn with_bindings_of(&self, bytes: u64) -> Self {
        let mut capabilities = self.capabilities().clone();
        capabilities.max_binding_bytes = capabilities.max_binding_bytes.min(bytes);
        Self::of(Arc::clone(&self.shared.backend), capabilities, Arc::clone(&self.shared.settings))
    }

    fn of(backend: Arc<dyn Backend>, capabilities: Capabilities, settings: Arc<RwLock<Settings>>) -> Self {
        Self { shared: Arc::new(Shared { backend, capabilities, settings, waits: AtomicU64::new(0) }) }
    }

    /// What the adapter said it can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// Whether launches are checked: new memory is filled with NaN, kernels are compiled with bounds checks, and a launch with a binding
    /// that is too long for the device panics.
    pub fn set_checked(&self, checked: bool) {
        self.change(|settings| settings.checked = checked);
    }

    /// Lets `filter` rewrite kernel texts, to see whether tests notice a broken kernel.
    pub fn set_text_filter(&self, filter: Option<TextFilter>) {
        self.change(|settings| settings.filter = filter);
    }

    /// Lets `filter` change how many workgroups run, to see whether tests notice a wrong launch.
    pub fn set_launch_filter(&self, filter: Option<LaunchFilter>) {
        self.change(|settings| settings.launch_filter = filter);
    }

    fn change(&self, f: impl FnOnce(&mut Settings)) {
        f(&mut self.shared.settings.write().expect("no panic while it is held"));
    }

    fn settings(&self) -> Settings {
        self.shared.settings.read().expect("no panic while it is held").clone()
    }

    /// Memory for at least `bytes` bytes with unspecified content (NaN if launches are checked).
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] that names `op` and the bytes.
    pub fn allocate(&self, op: &'static str, bytes: u64) -> Result<Memory, DeviceError> {
        // Bindings are multiples of 16 bytes, so that vector kernels may overshoot a short end.
        let bytes = bytes.max(16).next_multiple_of(16);
        let memory = self.shared.backend.allocate(op, bytes)?;
        if self.settings().checked {
            self.shared.backend.fill(&memory, POISON)?;
        }
        Ok(memory)
    }

    /// Sets all of `memory` to zero bits.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    pub fn clear(&self, memory: &Memory) -> Result<(), DeviceError> {
        self.fill(memory, 0)
    }

    /// Sets every 32 bits of `memory` to `word`.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    pub fn fill(&self, memory: &Memory, word: u32) -> Result<(), DeviceError> {
        self.shared.backend.fill(memory, word)
    }

    /// Copies `data` to the beginning of `memory`.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed.
    pub fn upload(&self, memory: &Memory, data: &[u8]) -> Result<(), DeviceError> {
        assert!(data.len() as u64 <= memory.bytes(), "the memory was allocated for the data");
        self.shared.backend.upload(memory, data)
    }

    /// Waits for all work and copies the first `bytes` bytes of `memory` to the host.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed at any work since the last wait; nothing is returned then.
    pub fn read(&self, memory: &Memory, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        self.shared.waits.fetch_add(1, Ordering::Relaxed);
        self.shared.backend.read(memory, bytes)
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed at any work since the last wait.
    pub fn sync(&self) -> Result<(), DeviceError> {
        self.shared.waits.fetch_add(1, Ordering::Relaxed);
        self.shared.backend.sync()
    }

    /// Records a launch.
    ///
    /// `params` are 32-bit words that the kernel sees as its `var<immediate>`; `groups` are workgroups along x, y and z.
    /// A launch without workgroups does nothing.
    ///
    /// # Errors
    /// [`DeviceError`] if the device failed. Errors of the kernel text come at the next wait.
    pub fn launch(
        &self,
        kernel: &Kernel,
        bindings: &[Binding<'_>],
        params: &[u32],
        groups: [u32; 3],
    ) -> Result<(), DeviceError> {
        let settings = self.settings();
        let groups = match &settings.launch_filter {
            Some(filter) => filter(kernel, groups),
            None => groups,
        };
        if groups.contains(&0) {
            return Ok(());
        }
        if settings.checked {
            let (name, most) = (kernel.name(), self.capabilities().max_binding_bytes);
            let longest = bindings.iter().map(|b| b.bytes).max().unwrap_or(0);
            assert!(longest <= most, "`{name}` has a binding of {longest} bytes, the device binds {most}");
        }
        let text = match &settings.filter {
            Some(filter) => KernelText::new(filter(kernel.name(), kernel.text().to_owned())),
            None => kernel.shared_text().clone(),
        };
        let command =
            Command { name: kernel.name(), text, checked: settings.checked, bindings, params, groups };
        self.shared.backend.launch(&command)
    }

    /// Runs `f` with a timestamp around every launch; returns what it returned and the launches in order.
    ///
    /// # Errors
    /// [`DeviceError`] if the device has no timestamps or failed.
    pub fn profile<T>(&self, f: impl FnOnce() -> T) -> Result<(T, Vec<Span>), DeviceError> {
        self.shared.backend.begin_spans()?;
        let value = f();
        Ok((value, self.shared.backend.end_spans()?))
    }

    /// Runs `f` and measures the seconds on the device from its first launch to the end of its last.
    ///
    /// # Errors
    /// [`DeviceError`] if the device has no timestamps or failed.
    pub fn time<T>(&self, f: impl FnOnce() -> T) -> Result<(T, f64), DeviceError> {
        self.shared.backend.begin_timer()?;
        let value = f();
        Ok((value, self.shared.backend.end_timer()?))
    }

    /// Bytes in use by tensors, and bytes held for reuse.
    pub fn memory_in_use(&self) -> [u64; 2] {
        self.shared.backend.memory_in_use()
    }

    /// Gives the bytes held for reuse back to the system; what tensors use stays.
    pub fn trim_memory(&self) {
        self.shared.backend.trim_memory();
    }

    /// The largest number of bytes in use at once so far.
    pub fn peak_memory(&self) -> u64 {
        self.shared.backend.peak_memory()
    }

    /// Limits the bytes that tensors may use.
    pub fn set_memory_budget(&self, bytes: Option<u64>) {
        self.shared.backend.set_memory_budget(bytes);
    }

    /// Lets `notice` hear how many kernels are about to be compiled, and 0 when they are: the first run on a machine may wait
    /// for that.
    pub fn set_compile_notice(&self, notice: CompileNotice) {
        self.shared.backend.set_compile_notice(notice);
    }

    /// How often this handle and its clones waited for the device so far, in [`Gpu::read`] or [`Gpu::sync`].
    pub fn waits(&self) -> u64 {
        self.shared.waits.load(Ordering::Relaxed)
    }

    /// The number of launches recorded so far.
    pub fn launches(&self) -> u64 {
        self.shared.backend.launches()
    }
}

impl PartialEq for Gpu {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Gpu {}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.capabilities().name)
    }
}

/// NaN as f32, and twice NaN as f16.
const POISON: u32 = 0x7fff_7fff;

/// Workgroups along x and y for `count` workgroups in a row; a kernel counts them as `x + 32768 y` and ignores those behind
/// the end.
///
/// # Panics
/// If `count` is above 2^30, more than any grid has.
pub fn spread(count: u64) -> [u32; 3] {
    assert!(count <= 1 << 30, "a tensor on a GPU has fewer tiles");
    if count <= 65535 { [count as u32, 1, 1] } else { [32768, count.div_ceil(32768) as u32, 1] }
}
