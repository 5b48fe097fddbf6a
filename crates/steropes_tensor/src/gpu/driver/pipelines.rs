//! Compiled kernels, and their cache on disk.

use super::Context;
use crate::gpu::KernelText;
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A kernel that is compiled when it is first needed.
pub(super) struct Pipeline {
    name: &'static str,
    text: KernelText,
    checked: bool,
    compiled: OnceLock<Result<Compiled, String>>,
    /// Seconds that a workgroup takes of the device's time, as f32 bits: a guess, then what was measured.
    seconds_per_group: AtomicU32,
}

pub(super) struct Compiled {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// First guess of the time of a workgroup, on the slow side.
const FIRST_GUESS: f32 = 1e-6;

impl Pipeline {
    /// How long a launch is expected to take.
    pub(super) fn predicted_seconds(&self, groups: [u32; 3]) -> f64 {
        let rate = f32::from_bits(self.seconds_per_group.load(Relaxed));
        groups.iter().map(|&g| f64::from(g)).product::<f64>() * f64::from(rate)
    }

    /// Multiplies what is expected by a measured factor.
    pub(super) fn correct(&self, factor: f64) {
        let rate = f32::from_bits(self.seconds_per_group.load(Relaxed));
        self.seconds_per_group.store((rate * factor as f32).to_bits(), Relaxed);
    }

    /// Whether [`Pipeline::get`] will answer at once.
    pub(super) fn is_ready(&self) -> bool {
        self.compiled.get().is_some()
    }

    /// The compiled kernel, or what the compiler said about it.
    pub(super) fn get(&self, cache: &Cache) -> &Result<Compiled, String> {
        self.compiled.get_or_init(|| cache.compile(self))
    }
}

/// All kernels of a device.
pub(super) struct Cache {
    context: Arc<Context>,
    pipelines: FxHashMap<(KernelText, bool), Arc<Pipeline>>,
    disk: Option<Disk>,
}

/// What the driver keeps of compiled kernels between runs.
struct Disk {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    state: Mutex<DiskState>,
}

struct DiskState {
    /// Whether kernels were compiled since the last writing.
    is_stale: bool,
    written: Option<Instant>,
}

/// The file holds all kernels, so that writing it after each would take longer than compiling them.
const WRITE_EVERY: Duration = Duration::from_secs(2);

impl Cache {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let disk = Disk::open(&context);
        Self { context, pipelines: FxHashMap::default(), disk }
    }

    /// The kernel of that text.
    pub(super) fn pipeline(&mut self, name: &'static str, text: &KernelText, checked: bool) -> Arc<Pipeline> {
        let new = || {
            let (text, compiled) = (text.clone(), OnceLock::new());
            let seconds_per_group = AtomicU32::new(FIRST_GUESS.to_bits());
            Arc::new(Pipeline { name, text, checked, compiled, seconds_per_group })
        };
        Arc::clone(self.pipelines.entry((text.clone(), checked)).or_insert_with(new))
    }

    /// Compiles kernels at once on all cores, and keeps them on disk, now or later.
    pub(super) fn compile_all(&self, pipelines: &[Arc<Pipeline>]) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pipelines.len());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let take = || pipelines.get(next.fetch_add(1, Relaxed));
                    while let Some(pipeline) = take() {
                        // An error is found again when the kernel is used.
                        let _ready = pipeline.get(self);
                    }
                });
            }
        });
        // Kernels with bounds checks are for checks alone.
        if let Some(disk) = self.disk.as_ref().filter(|_| pipelines.iter().any(|p| !p.checked)) {
            disk.keep();
        }
    }

    fn compile(&self, kernel: &Pipeline) -> Result<Compiled, String> {
        let device = &self.context.device;
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let source = wgpu::ShaderSource::Wgsl(kernel.text.shared().as_ref().into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source };
        let module = if kernel.checked {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: every kernel stays inside its bindings and ends its loops; the op's cases run it with checks on.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: self.disk.as_ref().filter(|_| !kernel.checked).map(|disk| &disk.cache),
        });
        let error = pollster::block_on(internal.pop()).or(pollster::block_on(validation.pop()));
        match error {
            Some(error) => Err(format!("kernel `{}` does not compile: {error}", kernel.name)),
            None => Ok(Compiled { layout: pipeline.get_bind_group_layout(0), pipeline }),
        }
    }
}

impl Disk {
    fn open(context: &Context) -> Option<Self> {
        let device = &context.device;
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = folder()?.join(wgpu::util::pipeline_cache_key(&device.adapter_info())?);
        let data = std::fs::read(&path).ok();
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: the file was written by `save`; wgpu checks that driver and device are the same.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, path, state: Mutex::new(DiskState { is_stale: false, written: None }) })
    }

    /// Writes the file, unless that was done a moment ago: then it is done when the device is closed.
    fn keep(&self) {
        let mut state = self.state.lock().expect("no panic while it is held");
        state.is_stale = state.written.is_some_and(|written| written.elapsed() < WRITE_EVERY);
        if !state.is_stale {
            self.save();
            state.written = Some(Instant::now());
        }
    }

    /// Failing to save costs time at the next start and nothing else.
    fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let write = |path: &Path| -> std::io::Result<()> {
            let folder = path.parent().expect("a file lies in a folder");
            std::fs::create_dir_all(folder)?;
            let beside = path.with_extension(format!("{}.part", std::process::id()));
            std::fs::write(&beside, &data)?;
            std::fs::rename(&beside, path)
        };
        if let Err(error) = write(&self.path) {
            log::info!("compiled kernels are not kept: `{}`: {error}", self.path.display());
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.state.get_mut().is_ok_and(|state| state.is_stale) {
            self.save();
        }
    }
}

/// Where compiled kernels are kept.
fn folder() -> Option<PathBuf> {
    Some(crate::cache_folder()?.join("kernels"))
}
