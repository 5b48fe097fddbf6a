//! The backend that runs kernels through wgpu on Metal, Vulkan or DX12.
//!
//! | file | what it holds |
//! |---|---|
//! | `adapter.rs` | the adapters of this machine, and what they can do |
//! | `pool.rs` | buffers by size class, reused in the order of the queue |
//! | `pipelines.rs` | compiled kernels, and their cache on disk |
//! | `recorder.rs` | recorded work, and how it becomes submits |
//! | `timing.rs` | timestamps |

mod adapter;
mod pipelines;
mod pool;
mod recorder;
mod timing;

pub(crate) use adapter::{Adapter, adapters};

use super::{Backend, Capabilities, Command, CompileNotice, Memory, Span};
use crate::DeviceError;
use pool::{Pool, Pooled};
use recorder::{Launch, Recorder, Work};
use std::sync::{Arc, Mutex, MutexGuard};

/// A device opened through wgpu.
pub(crate) struct Driver {
    capabilities: Capabilities,
    context: Arc<Context>,
    pool: Arc<Pool>,
    recorder: Mutex<Recorder>,
}

/// The handles that every part needs.
pub(crate) struct Context {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// The first error that wgpu reported outside of an error scope.
    failure: Mutex<Option<String>>,
    name: String,
}

impl Context {
    /// The error to return once the device has failed.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] from the first failure on.
    fn check(&self) -> Result<(), DeviceError> {
        match &*self.failure.lock().expect("no panic while it is held") {
            None => Ok(()),
            Some(why) => Err(DeviceError::Lost { device: self.name.clone(), why: why.clone() }),
        }
    }

    fn fail(&self, why: impl Into<String>) {
        self.failure.lock().expect("no panic while it is held").get_or_insert_with(|| why.into());
    }
}

impl Driver {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] if the driver does not give the device.
    pub(crate) fn open(adapter: &Adapter) -> Result<Self, DeviceError> {
        let capabilities = adapter.capabilities.clone();
        let (device, queue) = adapter.open()?;
        let name = capabilities.name.clone();
        let context = Arc::new(Context { device, queue, failure: Mutex::new(None), name });
        // Weak: the handlers live in the device that the context owns.
        let weak = Arc::downgrade(&context);
        context.device.on_uncaptured_error(Arc::new(move |error| {
            if let Some(context) = weak.upgrade() {
                context.fail(error.to_string());
            }
        }));
        let weak = Arc::downgrade(&context);
        context.device.set_device_lost_callback(move |_, why| {
            if let Some(context) = weak.upgrade() {
                context.fail(if why.is_empty() { "the driver took the device away".to_owned() } else { why });
            }
        });
        let pool = Arc::new(Pool::new(Arc::clone(&context), &capabilities));
        let recorder = Mutex::new(Recorder::new(Arc::clone(&context), &capabilities));
        Ok(Self { capabilities, context, pool, recorder })
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().expect("no panic while it is held")
    }
}

impl Backend for Driver {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn allocate(&self, op: &'static str, bytes: u64) -> Result<Memory, DeviceError> {
        self.context.check()?;
        // Only a submit lets the driver give memory back, so it comes before the last attempt.
        let buffer = self.pool.take(op, bytes, || self.recorder().wait())?;
        Ok(Memory::new(Arc::new(buffer), bytes))
    }

    fn fill(&self, memory: &Memory, word: u32) -> Result<(), DeviceError> {
        let mut recorder = self.recorder();
        let align = Capabilities::BINDING_ALIGNMENT;
        let most = self.capabilities().max_binding_bytes / align * align;
        for first in (0..memory.bytes()).step_by(most as usize) {
            let range = first..(first + most).min(memory.bytes());
            let fill = recorder.fill_launch(&memory.buffer::<Pooled>().buffer, range, word);
            recorder.record(Work::Launch(fill))?;
        }
        Ok(())
    }

    fn upload(&self, memory: &Memory, data: &[u8]) -> Result<(), DeviceError> {
        if data.is_empty() {
            return Ok(());
        }
        self.recorder().upload(&memory.buffer::<Pooled>().buffer, data)
    }

    fn read(&self, memory: &Memory, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        let reading = self.recorder().begin_read(&memory.buffer::<Pooled>().buffer, bytes)?;
        let data = reading.wait(&self.context)?;
        self.recorder().end_read(reading, data)
    }

    fn sync(&self) -> Result<(), DeviceError> {
        self.recorder().wait()
    }

    fn launch(&self, command: &Command<'_>) -> Result<(), DeviceError> {
        let mut recorder = self.recorder();
        let pipeline = recorder.pipeline(command.name, &command.text, command.checked);
        let bind = |b: &super::Binding<'_>| recorder::Bound {
            buffer: b.memory.buffer::<Pooled>().buffer.clone(),
            offset: b.offset,
            bytes: b.bytes,
        };
        let bindings = command.bindings.iter().map(bind).collect();
        recorder.record(Work::Launch(Launch {
            name: command.name,
            pipeline,
            bindings,
            params: command.params.to_vec(),
            groups: command.groups,
        }))
    }

    fn begin_spans(&self) -> Result<(), DeviceError> {
        self.recorder().begin_timing(timing::Mode::EveryLaunch)
    }

    fn end_spans(&self) -> Result<Vec<Span>, DeviceError> {
        self.recorder().end_timing()
    }

    fn begin_timer(&self) -> Result<(), DeviceError> {
        self.recorder().begin_timing(timing::Mode::WholePasses)
    }

    fn end_timer(&self) -> Result<f64, DeviceError> {
        let spans = self.recorder().end_timing()?;
        Ok(spans.iter().map(|s| s.start + s.seconds).fold(0.0, f64::max))
    }

    fn memory_in_use(&self) -> [u64; 2] {
        self.pool.in_use()
    }

    fn trim_memory(&self) {
        self.pool.trim();
    }

    fn peak_memory(&self) -> u64 {
        self.pool.peak()
    }

    fn set_memory_budget(&self, bytes: Option<u64>) {
        self.pool.set_budget(bytes);
    }

    fn launches(&self) -> u64 {
        self.recorder().launches()
    }

    fn set_compile_notice(&self, notice: CompileNotice) {
        self.recorder().set_compile_notice(notice);
    }
}
