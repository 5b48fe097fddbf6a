//! Buffers by size class.
//!
//! A buffer that is dropped can be given out again at once: work runs in the order in which it was recorded, so nothing new can
//! touch it before everything old is done.

use super::Context;
use crate::DeviceError;
use crate::gpu::Capabilities;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// A buffer that goes back to its pool when it is dropped.
pub(super) struct Pooled {
    pub(super) buffer: wgpu::Buffer,
    pool: Arc<Pool>,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(self.buffer.clone());
    }
}

pub(super) struct Pool {
    context: Arc<Context>,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Buffers to give out, by size.
    free: BTreeMap<u64, Vec<wgpu::Buffer>>,
    free_bytes: u64,
    used_bytes: u64,
    peak_bytes: u64,
    budget: Option<u64>,
}

impl Pool {
    pub(super) fn new(context: Arc<Context>, capabilities: &Capabilities) -> Self {
        Self { context, max_bytes: capabilities.max_buffer_bytes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    /// A buffer of at least `bytes` bytes. `settle` waits for the device, so that it gives back what was dropped.
    pub(super) fn take(
        self: &Arc<Self>,
        op: &'static str,
        bytes: u64,
        settle: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<Pooled, DeviceError> {
        let size = size_class(bytes).min(self.max_bytes / 16 * 16).max(bytes);
        let refused = |state: &State, limit| DeviceError::OutOfMemory {
            op,
            bytes,
            in_use: state.used_bytes,
            limit,
            device: self.context.name.clone(),
        };
        let mut state = self.state();
        if size > self.max_bytes {
            return Err(refused(&state, Some(self.max_bytes)));
        }
        let reused = state.free.get_mut(&size).and_then(Vec::pop);
        if reused.is_some() {
            state.free_bytes -= size;
        }
        let over =
            |state: &State, held: u64| state.budget.is_some_and(|b| state.used_bytes + held + size > b);
        if over(&state, 0) {
            return Err(refused(&state, state.budget));
        }
        let free_bytes = state.free_bytes;
        if reused.is_none() && over(&state, free_bytes) {
            state.trim();
        }
        state.used_bytes += size;
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        drop(state);
        let buffer = match reused.or_else(|| self.create(size)) {
            Some(buffer) => Some(buffer),
            None => {
                self.state().trim();
                settle().ok().and_then(|()| self.create(size))
            }
        };
        let Some(buffer) = buffer else {
            let mut state = self.state();
            state.used_bytes -= size;
            return Err(refused(&state, None));
        };
        Ok(Pooled { buffer, pool: Arc::clone(self) })
    }

    /// `None` if the device has no memory left.
    fn create(&self, size: u64) -> Option<wgpu::Buffer> {
        let scope = self.context.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.context.device.create_buffer(&descriptor);
        pollster::block_on(scope.pop()).is_none().then_some(buffer)
    }

    fn give_back(&self, buffer: wgpu::Buffer) {
        let mut state = self.state();
        let size = buffer.size();
        state.used_bytes -= size;
        state.free_bytes += size;
        state.free.entry(size).or_default().push(buffer);
    }

    pub(super) fn in_use(&self) -> [u64; 2] {
        let state = self.state();
        [state.used_bytes, state.free_bytes]
    }

    /// Gives back what is not in use.
    pub(super) fn trim(&self) {
        self.state().trim();
    }

    pub(super) fn peak(&self) -> u64 {
        self.state().peak_bytes
    }

    pub(super) fn set_budget(&self, bytes: Option<u64>) {
        self.state().budget = bytes;
    }
}

impl State {
    fn trim(&mut self) {
        self.free.clear();
        self.free_bytes = 0;
    }
}

/// `bytes` rounded up to a step of an eighth of its power of two, at least 256: few sizes, little waste.
fn size_class(bytes: u64) -> u64 {
    if bytes <= 256 {
        return 256;
    }
    let step = (bytes.next_power_of_two() / 16).max(256);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_are_few_and_waste_little() {
        assert_eq!([1, 256, 257, 4096, 4097].map(size_class), [256, 256, 512, 4096, 4608]);
        for bytes in (1..200_000u64).step_by(37) {
            let size = size_class(bytes);
            assert!(size >= bytes && size_class(size) == size);
            assert!(bytes < 4096 || (size - bytes) * 8 <= bytes, "{bytes} became {size}");
        }
    }
}
