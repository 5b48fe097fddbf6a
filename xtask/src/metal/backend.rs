//! A GPU that is a Mac's in what it can do and this computer in what it is: kernels become Metal text, the text becomes a
//! function of this process.

use super::compiler::{Compiled, Compiler, End};
use super::kernels::{Kernels, Seen};
use super::profile::Profile;
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use steropes_tensor::{Backend, Binding, Capabilities, Command, DeviceError, Memory, Span};

/// Bytes behind a buffer that no kernel may write.
const MARGIN: usize = 4096;
/// Neighbours have different margins, so that what was read behind one shows behind the other.
static NEXT_MARGIN: AtomicU8 = AtomicU8::new(0);

/// The backend of the checks, shared with who runs the cases.
#[derive(Clone)]
pub(crate) struct StandIn {
    profile: &'static Profile,
    state: Arc<Mutex<State>>,
    memory: Arc<Use>,
}

struct State {
    compiler: Option<Compiler>,
    compiled: HashMap<String, Compiled>,
    kernels: Kernels,
    /// Steps that the launches of a case may take, and have taken.
    limit: u64,
    steps: u64,
    over_limit: bool,
    launches: u64,
}

#[derive(Default)]
struct Use {
    now: AtomicU64,
    peak: AtomicU64,
}

/// Host memory in the place of a GPU's.
struct Buffer {
    /// The content, then the margin; in words of 16 bytes, so that vectors lie where they must.
    words: Mutex<Vec<u128>>,
    bytes: u64,
    margin: u8,
    used: Arc<Use>,
}

impl Buffer {
    fn new(bytes: u64, used: &Arc<Use>) -> Self {
        let margin = 0x70 + NEXT_MARGIN.fetch_add(1, Relaxed) % 16;
        let mut words = vec![0u128; (bytes as usize + MARGIN) / 16];
        bytemuck::cast_slice_mut::<u128, u8>(&mut words)[bytes as usize..].fill(margin);
        let now = used.now.fetch_add(bytes, Relaxed) + bytes;
        used.peak.fetch_max(now, Relaxed);
        Self { words: Mutex::new(words), bytes, margin, used: Arc::clone(used) }
    }

    fn words(&self) -> MutexGuard<'_, Vec<u128>> {
        self.words.lock().expect("no panic while it is held")
    }

    fn margin_is_whole(&self) -> bool {
        let words = self.words();
        bytemuck::cast_slice::<u128, u8>(&words)[self.bytes as usize..].iter().all(|&b| b == self.margin)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.used.now.fetch_sub(self.bytes, Relaxed);
    }
}

/// What the launches of a case came to.
pub(crate) struct Work {
    pub(crate) steps: u64,
    pub(crate) over_limit: bool,
    pub(crate) seen: Vec<Seen>,
}

impl StandIn {
    /// A device as `profile` says; compiled kernels are kept in `folder`.
    ///
    /// # Errors
    /// There is no clang to compile them.
    pub(crate) fn new(profile: &'static Profile, folder: &Path) -> anyhow::Result<Self> {
        let compiler = if profile.executes { Some(Compiler::find(folder)?) } else { None };
        Ok(Self::with(profile, compiler))
    }

    /// A device that translates kernels and executes none.
    pub(crate) fn without_compiler(profile: &'static Profile) -> Self {
        Self::with(profile, None)
    }

    fn with(profile: &'static Profile, compiler: Option<Compiler>) -> Self {
        let state = State {
            compiler,
            compiled: HashMap::new(),
            kernels: Kernels::new(profile),
            limit: u64::MAX,
            steps: 0,
            over_limit: false,
            launches: 0,
        };
        Self { profile, state: Arc::new(Mutex::new(state)), memory: Arc::default() }
    }

    /// Begins a case whose launches may take `limit` steps.
    pub(crate) fn begin(&self, limit: u64) {
        let mut state = self.state();
        (state.limit, state.steps, state.over_limit) = (limit, 0, false);
        state.kernels.begin();
    }

    /// What was launched since [`StandIn::begin`].
    pub(crate) fn end(&self) -> Work {
        let mut state = self.state();
        Work { steps: state.steps, over_limit: state.over_limit, seen: state.kernels.end() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }
}

impl State {
    /// Runs a launch; `Err` is one line about the kernel.
    fn run(&mut self, command: &Command<'_>) -> Result<(), String> {
        self.launches += 1;
        let kernel = self.kernels.see(command.name, command.text.shared())?;
        let Some(compiler) = &self.compiler else { return Ok(()) };
        // The case does not count any more; it goes on so that all its kernels are seen.
        if self.over_limit {
            return Ok(());
        }
        if !self.compiled.contains_key(&kernel.hash) {
            let compiled = compiler.compile(&kernel.parsed, &kernel.metal).map_err(|e| format!("{e:#}"))?;
            self.compiled.insert(kernel.hash.clone(), compiled);
        }
        let slots = &kernel.metal.slots;
        if slots.bindings.len() != command.bindings.len() {
            return Err(format!(
                "it has {} bindings and gets {}",
                slots.bindings.len(),
                command.bindings.len()
            ));
        }
        // In words of 16 bytes, because a structure with vectors is aligned so and may end in a gap.
        let mut params = vec![0u128; command.params.len().div_ceil(4)];
        bytemuck::cast_slice_mut::<u128, u32>(&mut params)[..command.params.len()]
            .copy_from_slice(command.params);
        let mut sizes: Vec<u32> =
            slots.sized.iter().map(|&n| command.bindings[n as usize].bytes as u32).collect();
        let mut buffers = vec![std::ptr::null_mut::<c_void>(); 32];
        for &(number, slot) in &slots.bindings {
            buffers[slot as usize] = address(&command.bindings[number as usize]);
        }
        if let Some(slot) = slots.immediates {
            buffers[slot as usize] = params.as_mut_ptr().cast();
        }
        if let Some(slot) = slots.sizes {
            buffers[slot as usize] = sizes.as_mut_ptr().cast();
        }
        let compiled = &self.compiled[&kernel.hash];
        let left = self.limit.saturating_sub(self.steps);
        let (end, steps) = compiled.run(command.groups, &buffers, left).map_err(|e| e.to_string())?;
        self.steps += steps;
        match end {
            End::Finished => {}
            End::OverLimit => self.over_limit = true,
            End::Broken(why) => return Err(why),
        }
        match command.bindings.iter().position(|b| !b.memory.buffer::<Buffer>().margin_is_whole()) {
            Some(i) => Err(format!("it wrote behind the end of binding {i}")),
            None => Ok(()),
        }
    }
}

fn address(binding: &Binding<'_>) -> *mut c_void {
    let mut words = binding.memory.buffer::<Buffer>().words();
    let bytes = &mut bytemuck::cast_slice_mut::<u128, u8>(&mut words)[binding.offset as usize..];
    bytes.as_mut_ptr().cast()
}

impl Backend for StandIn {
    fn capabilities(&self) -> &Capabilities {
        &self.profile.capabilities
    }

    fn allocate(&self, op: &'static str, bytes: u64) -> Result<Memory, DeviceError> {
        let limit = self.profile.capabilities.max_buffer_bytes;
        if bytes > limit {
            let (in_use, device) = (self.memory.now.load(Relaxed), self.profile.capabilities.name.clone());
            return Err(DeviceError::OutOfMemory { op, bytes, in_use, limit: Some(limit), device });
        }
        Ok(Memory::new(Arc::new(Buffer::new(bytes, &self.memory)), bytes))
    }

    fn fill(&self, memory: &Memory, word: u32) -> Result<(), DeviceError> {
        let buffer = memory.buffer::<Buffer>();
        let mut words = buffer.words();
        bytemuck::cast_slice_mut::<u128, u32>(&mut words)[..buffer.bytes as usize / 4].fill(word);
        Ok(())
    }

    fn upload(&self, memory: &Memory, data: &[u8]) -> Result<(), DeviceError> {
        let mut words = memory.buffer::<Buffer>().words();
        bytemuck::cast_slice_mut::<u128, u8>(&mut words)[..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn read(&self, memory: &Memory, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        let words = memory.buffer::<Buffer>().words();
        Ok(bytemuck::cast_slice::<u128, u8>(&words)[..bytes as usize].to_vec())
    }

    fn sync(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn launch(&self, command: &Command<'_>) -> Result<(), DeviceError> {
        let device = || self.profile.capabilities.name.clone();
        self.state().run(command).map_err(|why| DeviceError::Kernel {
            device: device(),
            why: format!("kernel `{}`: {why}", command.name),
        })
    }

    fn begin_spans(&self) -> Result<(), DeviceError> {
        Err(DeviceError::Unsupported { device: self.profile.capabilities.name.clone(), what: "timestamps" })
    }

    fn end_spans(&self) -> Result<Vec<Span>, DeviceError> {
        self.begin_spans().map(|()| Vec::new())
    }

    fn begin_timer(&self) -> Result<(), DeviceError> {
        self.begin_spans()
    }

    fn end_timer(&self) -> Result<f64, DeviceError> {
        self.begin_spans().map(|()| 0.0)
    }

    fn memory_in_use(&self) -> [u64; 2] {
        [self.memory.now.load(Relaxed), 0]
    }

    fn peak_memory(&self) -> u64 {
        self.memory.peak.load(Relaxed)
    }

    /// The stand-in has the host's memory and no budget.
    fn set_memory_budget(&self, _bytes: Option<u64>) {}

    fn launches(&self) -> u64 {
        self.state().launches
    }
}
