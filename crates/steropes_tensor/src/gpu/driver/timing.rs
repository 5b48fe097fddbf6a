//! Timestamps around launches.

use super::Context;
use crate::DeviceError;
use crate::gpu::Span;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each launch, in a pass of its own.
    EveryLaunch,
    /// Whole passes, as they are without timing.
    WholePasses,
}

/// Timestamps that were recorded and not yet read.
pub(super) struct Timing {
    pub(super) mode: Mode,
    batches: Vec<Batch>,
}

/// The timestamps of one command encoder.
pub(super) struct Batch {
    set: wgpu::QuerySet,
    names: Vec<&'static str>,
}

/// Passes of one query set; the interface takes 4096 queries.
const MAX_PASSES: usize = 2048;

impl Batch {
    pub(super) fn new(context: &Context) -> Self {
        let set = context.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2 * MAX_PASSES as u32,
        });
        Self { set, names: Vec::new() }
    }

    /// How many more passes fit.
    pub(super) fn places_left(&self) -> usize {
        MAX_PASSES - self.names.len()
    }

    /// The timestamps of the next pass, called `name`.
    pub(super) fn next(&mut self, name: &'static str) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * self.names.len() as u32;
        self.names.push(name);
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }
}

impl Timing {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, batches: Vec::new() }
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.batches.push(batch);
    }

    /// Reads all timestamps. The work must have been waited for.
    pub(super) fn spans(self, context: &Context) -> Result<Vec<Span>, DeviceError> {
        let period = f64::from(context.queue.get_timestamp_period()) * 1e-9;
        let mut passes: Vec<(&'static str, u64, u64)> = Vec::new();
        for batch in self.batches {
            let ticks = read(context, &batch)?;
            let times = ticks.chunks_exact(2).map(|pair| (pair[0], pair[1]));
            passes.extend(batch.names.iter().zip(times).map(|(name, (begin, end))| (*name, begin, end)));
        }
        let first = passes.iter().map(|p| p.1).min().unwrap_or(0);
        let seconds = |ticks: u64| ticks as f64 * period;
        Ok(passes
            .into_iter()
            .map(|(name, begin, end)| Span {
                name,
                start: seconds(begin - first),
                seconds: seconds(end.saturating_sub(begin)),
            })
            .collect())
    }
}

fn read(context: &Context, batch: &Batch) -> Result<Vec<u64>, DeviceError> {
    let count = 2 * batch.names.len() as u32;
    if count == 0 {
        return Ok(Vec::new());
    }
    let size = 8 * u64::from(count);
    let buffer = |usage| {
        context.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
    let host = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let mut encoder = context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.resolve_query_set(&batch.set, 0..count, &resolved, 0);
    encoder.copy_buffer_to_buffer(&resolved, 0, &host, 0, size);
    context.queue.submit([encoder.finish()]);
    let bytes = super::recorder::map(context, &host, size, None)?;
    Ok(bytes.chunks_exact(8).map(|b| u64::from_ne_bytes(b.try_into().expect("8 bytes"))).collect())
}
