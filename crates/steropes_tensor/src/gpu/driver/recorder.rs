//! Recorded work, and how it becomes submits.
//!
//! Launches and uploads wait in a list. They are encoded and submitted when somebody reads, when the list is long, or
//! when the device would be busy for longer than a slice. Every submit ends by counting itself (`ticket.wgsl`), and every wait
//! compares the count: a submit that the driver dropped is an error and never a result.

use super::pipelines::{Cache, Pipeline};
use super::timing::{Batch, Mode, Timing};
use super::{Context, DeviceError};
use crate::gpu::{Capabilities, CompileNotice, GpuApi, KernelText, Span, spread};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A launch that was not yet encoded.
pub(super) struct Launch {
    pub(super) name: &'static str,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) bindings: Vec<Bound>,
    pub(super) params: Vec<u32>,
    pub(super) groups: [u32; 3],
}

/// A part of a buffer.
pub(super) struct Bound {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

pub(super) enum Work {
    Launch(Launch),
    /// From a staging buffer, which is used again afterwards.
    Upload {
        staging: wgpu::Buffer,
        target: wgpu::Buffer,
        bytes: u64,
    },
}

/// Launches in a submit: enough to hide its cost.
const SUBMIT_LAUNCHES: usize = 96;
/// Launches in the first submit after a wait, so that an idle device starts early; each has twice as many as the one before.
const FIRST_SUBMIT_LAUNCHES: usize = 8;
/// Launches that wait while kernels are still to be compiled, so that all are compiled at once.
const COMPILE_LAUNCHES: usize = 1024;
/// Bytes of uploads that wait.
const SUBMIT_UPLOADS: u64 = 64 << 20;
/// Staging buffers are at least this long.
const STAGING: u64 = 1 << 20;
/// How long the answer of a finished submit may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Staging buffers that are kept.
const MAX_STAGING: usize = 16;

pub(super) struct Recorder {
    context: Arc<Context>,
    cache: Cache,
    pending: Vec<Work>,
    pending_uploads: u64,
    /// How many launches are worth the next submit.
    enough_launches: usize,
    /// Submits so far; the device counts along in `ticket`.
    submits: u32,
    ticket: wgpu::Buffer,
    /// Mapped staging buffers to write to.
    staging: Arc<Mutex<Vec<wgpu::Buffer>>>,
    /// Unmapped buffers to read through, by size.
    readback: HashMap<u64, wgpu::Buffer>,
    timing: Option<Timing>,
    timestamps: bool,
    /// Seconds that one submit may keep the device from drawing the screen.
    slice_seconds: f64,
    launches: u64,
    compile_notice: Option<CompileNotice>,
    /// What was submitted since the last wait.
    running: Running,
}

/// Work whose end was not yet waited for.
#[derive(Default)]
struct Running {
    since: Option<Instant>,
    predicted_seconds: f64,
    pipelines: Vec<Arc<Pipeline>>,
}

impl Running {
    fn add(&mut self, pipeline: &Arc<Pipeline>, seconds: f64) {
        self.since.get_or_insert_with(Instant::now);
        self.predicted_seconds += seconds;
        if !self.pipelines.iter().any(|p| Arc::ptr_eq(p, pipeline)) {
            self.pipelines.push(Arc::clone(pipeline));
        }
    }

    /// Brings the predictions of the kernels that ran nearer to the time that they took together.
    fn learn(self) {
        let Some(since) = self.since.filter(|_| self.predicted_seconds > 0.0) else { return };
        let factor = (since.elapsed().as_secs_f64() / self.predicted_seconds).clamp(0.25, 8.0);
        self.pipelines.iter().for_each(|pipeline| pipeline.correct(factor));
    }
}

impl Recorder {
    pub(super) fn new(context: Arc<Context>, capabilities: &Capabilities) -> Self {
        let ticket = context.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self {
            cache: Cache::new(Arc::clone(&context)),
            context,
            pending: Vec::new(),
            pending_uploads: 0,
            enough_launches: FIRST_SUBMIT_LAUNCHES,
            submits: 0,
            ticket,
            staging: Arc::default(),
            readback: HashMap::new(),
            timing: None,
            timestamps: capabilities.timestamps,
            slice_seconds: if capabilities.api == GpuApi::Metal { 0.05 } else { 0.5 },
            launches: 0,
            compile_notice: None,
            running: Running::default(),
        }
    }

    pub(super) fn set_compile_notice(&mut self, notice: CompileNotice) {
        self.compile_notice = Some(notice);
    }

    pub(super) fn launches(&self) -> u64 {
        self.launches
    }

    /// The kernel of that text.
    pub(super) fn pipeline(&mut self, name: &'static str, text: &KernelText, checked: bool) -> Arc<Pipeline> {
        self.cache.pipeline(name, text, checked)
    }

    /// The launch that sets all words of a buffer.
    pub(super) fn fill_launch(&mut self, buffer: &wgpu::Buffer, range: Range<u64>, word: u32) -> Launch {
        let bytes = range.end - range.start;
        let vectors = bytes / 16;
        let bindings = vec![Bound { buffer: buffer.clone(), offset: range.start, bytes }];
        let groups = spread(vectors.div_ceil(256));
        let pipeline = self.pipeline("fill", &KernelText::new(include_str!("fill.wgsl").to_owned()), false);
        Launch { name: "fill", pipeline, bindings, params: vec![word, vectors as u32], groups }
    }

    /// Adds work to the list; submits it if it is time.
    pub(super) fn record(&mut self, work: Work) -> Result<(), DeviceError> {
        self.context.check()?;
        match &work {
            Work::Launch(_) => self.launches += 1,
            Work::Upload { bytes, .. } => self.pending_uploads += bytes,
        }
        self.pending.push(work);
        let waits = self.pending.len() >= self.enough_launches;
        if self.pending_uploads > SUBMIT_UPLOADS
            || self.pending.len() >= COMPILE_LAUNCHES
            || (waits && self.all_compiled())
        {
            self.submit()?;
        }
        Ok(())
    }

    fn all_compiled(&self) -> bool {
        self.pending.iter().all(|work| match work {
            Work::Launch(launch) => launch.pipeline.is_ready(),
            Work::Upload { .. } => true,
        })
    }

    /// Copies `data` into a staging buffer at once and to `target` in its turn.
    pub(super) fn upload(&mut self, target: &wgpu::Buffer, data: &[u8]) -> Result<(), DeviceError> {
        let bytes = (data.len() as u64).next_multiple_of(4);
        let staging = self.staging(bytes)?;
        {
            let view = staging.get_mapped_range_mut(..bytes);
            let mut view = view.map_err(|error| self.lost(format!("upload: {error}")))?;
            view.slice(..data.len()).copy_from_slice(data);
        }
        staging.unmap();
        self.record(Work::Upload { staging, target: target.clone(), bytes })
    }

    /// A mapped buffer of at least `bytes` bytes.
    fn staging(&self, bytes: u64) -> Result<wgpu::Buffer, DeviceError> {
        let mut free = self.staging.lock().expect("no panic while it is held");
        if let Some(i) = free.iter().position(|b| b.size() >= bytes && b.size() <= bytes.max(STAGING) * 4) {
            return Ok(free.swap_remove(i));
        }
        drop(free);
        let scope = self.context.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.context.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.next_power_of_two().max(STAGING),
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(_) => Err(DeviceError::OutOfMemory {
                op: "upload",
                bytes,
                in_use: 0,
                limit: None,
                device: self.context.name.clone(),
            }),
        }
    }

    /// Encodes and submits all pending work, in slices.
    pub(super) fn submit(&mut self) -> Result<(), DeviceError> {
        self.compile_pending();
        self.enough_launches = (2 * self.enough_launches).min(SUBMIT_LAUNCHES);
        let work = std::mem::take(&mut self.pending);
        self.pending_uploads = 0;
        let mut slice = Slice::new(&self.context, self.timing.as_ref().map(|t| t.mode));
        for item in work {
            match item {
                Work::Upload { staging, target, bytes } => {
                    slice.pass = None;
                    slice.encoder.copy_buffer_to_buffer(&staging, 0, &target, 0, bytes);
                    slice.staging.push(staging);
                }
                Work::Launch(launch) => {
                    let seconds = launch.pipeline.predicted_seconds(launch.groups);
                    if slice.is_full(seconds, self.slice_seconds) {
                        let next = Slice::new(&self.context, self.timing.as_ref().map(|t| t.mode));
                        self.finish(std::mem::replace(&mut slice, next))?;
                    }
                    slice.seconds += seconds;
                    self.running.add(&launch.pipeline, seconds);
                    slice.launch(&self.context, &self.cache, &launch)?;
                }
            }
        }
        self.finish(slice)
    }

    fn compile_pending(&self) {
        let mut missing: Vec<Arc<Pipeline>> = Vec::new();
        for work in &self.pending {
            if let Work::Launch(launch) = work
                && !launch.pipeline.is_ready()
                && !missing.iter().any(|p| Arc::ptr_eq(p, &launch.pipeline))
            {
                missing.push(Arc::clone(&launch.pipeline));
            }
        }
        if missing.is_empty() {
            return;
        }
        let notify = |count| self.compile_notice.iter().for_each(|notice| notice(count));
        notify(missing.len());
        self.cache.compile_all(&missing);
        notify(0);
    }

    /// Counts the slice and hands it to the device.
    fn finish(&mut self, mut slice: Slice) -> Result<(), DeviceError> {
        let ticket =
            self.cache.pipeline("ticket", &KernelText::new(include_str!("ticket.wgsl").to_owned()), false);
        let bindings = vec![Bound { buffer: self.ticket.clone(), offset: 0, bytes: 16 }];
        self.submits = self.submits.wrapping_add(1);
        let launch =
            Launch { name: "ticket", pipeline: ticket, bindings, params: vec![self.submits], groups: [1; 3] };
        slice.launch(&self.context, &self.cache, &launch)?;
        slice.pass = None;
        self.context.queue.submit([slice.encoder.finish()]);
        for staging in slice.staging {
            let free = Arc::clone(&self.staging);
            let buffer = staging.clone();
            staging.map_async(wgpu::MapMode::Write, .., move |result| {
                let mut free = free.lock().expect("no panic while it is held");
                if result.is_ok() && free.len() < MAX_STAGING {
                    free.push(buffer);
                }
            });
        }
        if let (Some(timing), Some(batch)) = (&mut self.timing, slice.batch) {
            timing.push(batch);
        }
        // Lets finished staging buffers come back.
        self.context.device.poll(wgpu::PollType::Poll).map_err(|e| self.lost(e.to_string()))?;
        self.context.check()
    }

    /// Waits for all work and checks that all of it ran.
    pub(super) fn wait(&mut self) -> Result<(), DeviceError> {
        self.read(&self.ticket.clone(), 4).map(drop)
    }

    /// Waits for all work and copies the first `bytes` bytes of `source` to the host.
    fn read(&mut self, source: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        let reading = self.begin_read(source, bytes)?;
        let data = reading.wait(&self.context)?;
        self.end_read(reading, data)
    }

    /// Submits all work and a copy of the first `bytes` bytes of `source` behind it. Others may record while somebody waits for it.
    pub(super) fn begin_read(&mut self, source: &wgpu::Buffer, bytes: u64) -> Result<Reading, DeviceError> {
        self.context.check()?;
        self.submit()?;
        let length = bytes.next_multiple_of(4);
        let host = self.readback(length + 4);
        let mut encoder =
            self.context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.ticket, 0, &host, 0, 4);
        if length > 0 {
            encoder.copy_buffer_to_buffer(source, 0, &host, 4, length);
        }
        let index = self.context.queue.submit([encoder.finish()]);
        Ok(Reading { host, bytes, submits: self.submits, index })
    }

    /// What was read, if all work before it ran.
    pub(super) fn end_read(&mut self, reading: Reading, mut data: Vec<u8>) -> Result<Vec<u8>, DeviceError> {
        self.enough_launches = FIRST_SUBMIT_LAUNCHES;
        self.readback.insert(reading.host.size(), reading.host);
        std::mem::take(&mut self.running).learn();
        let done = u32::from_ne_bytes(data[..4].try_into().expect("4 bytes"));
        if done != reading.submits {
            self.context
                .fail(format!("it dropped work: {done} of {} submits ran to their end", reading.submits));
            self.context.check()?;
        }
        data.drain(..4);
        data.truncate(reading.bytes as usize);
        Ok(data)
    }

    /// An unmapped buffer of at least `bytes` bytes.
    fn readback(&mut self, bytes: u64) -> wgpu::Buffer {
        let size = bytes.next_power_of_two().max(4096);
        self.readback.remove(&size).unwrap_or_else(|| {
            self.context.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }

    pub(super) fn begin_timing(&mut self, mode: Mode) -> Result<(), DeviceError> {
        if !self.timestamps {
            let device = self.context.name.clone();
            return Err(DeviceError::Unsupported { device, what: "timestamps" });
        }
        self.wait()?;
        // What is timed must not wait for the host within a submit.
        self.enough_launches = SUBMIT_LAUNCHES;
        self.timing = Some(Timing::new(mode));
        Ok(())
    }

    pub(super) fn end_timing(&mut self) -> Result<Vec<Span>, DeviceError> {
        self.wait()?;
        let timing = self.timing.take().expect("timing has begun");
        let mut spans = timing.spans(&self.context)?;
        spans.retain(|span| span.name != "ticket");
        Ok(spans)
    }

    fn lost(&self, why: String) -> DeviceError {
        DeviceError::Lost { device: self.context.name.clone(), why }
    }
}

/// One command encoder on its way to a submit.
struct Slice {
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    mode: Option<Mode>,
    batch: Option<Batch>,
    staging: Vec<wgpu::Buffer>,
    seconds: f64,
}

impl Slice {
    fn new(context: &Context, mode: Option<Mode>) -> Self {
        Self {
            encoder: context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()),
            pass: None,
            mode,
            batch: mode.map(|_| Batch::new(context)),
            staging: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Whether a launch of so many seconds has to wait for the next slice.
    fn is_full(&self, seconds: f64, limit: f64) -> bool {
        let timed_out = self.seconds > 0.0 && self.seconds + seconds > limit;
        // The last place is for the ticket.
        timed_out || self.batch.as_ref().is_some_and(|b| b.places_left() < 2)
    }

    fn launch(&mut self, context: &Context, cache: &Cache, launch: &Launch) -> Result<(), DeviceError> {
        let compiled = launch.pipeline.get(cache).as_ref().map_err(|why| {
            // Whatever would have read the results must not read something else.
            context.fail(why);
            DeviceError::Kernel { device: context.name.clone(), why: why.clone() }
        })?;
        if self.pass.is_none() || self.mode == Some(Mode::EveryLaunch) {
            self.pass = None;
            let timestamp_writes = self.batch.as_mut().map(|batch| batch.next(launch.name));
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            self.pass = Some(self.encoder.begin_compute_pass(&descriptor).forget_lifetime());
        }
        let pass = self.pass.as_mut().expect("begun above");
        let entries: Vec<_> = launch
            .bindings
            .iter()
            .enumerate()
            .map(|(i, bound)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &bound.buffer,
                    offset: bound.offset,
                    size: std::num::NonZeroU64::new(bound.bytes),
                }),
            })
            .collect();
        let group = context.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(launch.name),
            layout: &compiled.layout,
            entries: &entries,
        });
        pass.set_pipeline(&compiled.pipeline);
        pass.set_bind_group(0, &group, &[]);
        if !launch.params.is_empty() {
            pass.set_immediates(0, bytemuck::cast_slice(&launch.params));
        }
        let [x, y, z] = launch.groups;
        pass.dispatch_workgroups(x, y, z);
        Ok(())
    }
}

/// A copy to the host that was submitted.
pub(super) struct Reading {
    /// The count of submits, then the bytes asked for.
    host: wgpu::Buffer,
    bytes: u64,
    /// Submits before it.
    submits: u32,
    index: wgpu::SubmissionIndex,
}

impl Reading {
    /// The content of the buffer, once it is there.
    pub(super) fn wait(&self, context: &Context) -> Result<Vec<u8>, DeviceError> {
        map(context, &self.host, self.bytes.next_multiple_of(4) + 4, Some(self.index.clone()))
    }
}

/// Waits until `buffer` is written, by the given submit if any, and copies its first `bytes` bytes.
pub(super) fn map(
    context: &Context,
    buffer: &wgpu::Buffer,
    bytes: u64,
    submission_index: Option<wgpu::SubmissionIndex>,
) -> Result<Vec<u8>, DeviceError> {
    let lost = |why: String| DeviceError::Lost { device: context.name.clone(), why };
    let (answer, answered) = mpsc::channel();
    buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
        // Nobody listens any more after an error.
        let _gone = answer.send(result);
    });
    let wait = wgpu::PollType::Wait { submission_index, timeout: None };
    context.device.poll(wait).map_err(|e| lost(e.to_string()))?;
    context.check()?;
    // Another thread that polls may be the one that brings the answer, a moment later.
    match answered.recv_timeout(ANSWER) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(_) => return Err(lost("it did not answer".to_owned())),
    }
    let data = buffer.get_mapped_range(..bytes).map_err(|e| lost(e.to_string()))?.to_vec();
    buffer.unmap();
    Ok(data)
}
