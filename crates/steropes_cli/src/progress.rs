//! A progress bar per stage, with times and peak memory for the report.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use steropes_ops::{Dispatches, dispatches};
use steropes_scene::reconstruct::Monitor;
use steropes_tensor::{Device, Gpu};

/// Time, memory and ops of one finished stage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StageRecord {
    pub(crate) stage: String,
    pub(crate) seconds: f64,
    /// Largest heap use during the stage.
    pub(crate) peak_bytes: usize,
    /// Where its ops ran: `cpu`, `gpu`, or `cpu and gpu`.
    pub(crate) ops_on: &'static str,
    /// How often each op ran where.
    #[serde(serialize_with = "ops")]
    pub(crate) ops: Dispatches,
}

fn ops<S: serde::Serializer>(ops: &Dispatches, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::json!({ "cpu": ops.cpu, "gpu": ops.gpu }).serialize(serializer)
}

/// Where all of these ops ran. A stage without ops is the host's own work.
fn place(ops: &Dispatches) -> &'static str {
    match (ops.cpu.is_empty(), ops.gpu.is_empty()) {
        (_, true) => "cpu",
        (true, false) => "gpu",
        (false, false) => "cpu and gpu",
    }
}

/// Shows stages as bars and records what they cost.
pub(crate) struct Progress {
    visible: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    current: Option<Stage>,
    records: Vec<StageRecord>,
    /// The GPU whose work a stage has to wait for, so that each is charged with its own.
    gpu: Option<Gpu>,
}

struct Stage {
    name: String,
    start: Instant,
    bar: ProgressBar,
    ops_before: Dispatches,
}

impl Progress {
    /// Bars appear only if `visible` and standard error is a terminal.
    pub(crate) fn new(visible: bool) -> Self {
        Self { visible, state: Arc::default() }
    }

    /// What the stages that have ended cost.
    pub(crate) fn records(&self) -> Vec<StageRecord> {
        self.lock().records.clone()
    }

    /// From now on stages end when the GPU has done their work, and say so while it waits for kernels to be compiled.
    pub(crate) fn follow(&self, device: &Device) {
        let Some(gpu) = device.gpu() else { return };
        self.lock().gpu = Some(gpu.clone());
        let state = Arc::clone(&self.state);
        gpu.set_compile_notice(Arc::new(move |kernels| {
            let state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let Some(stage) = &state.current else { return };
            stage.bar.set_message(match kernels {
                0 => stage.name.clone(),
                _ => format!("{}: compiling kernels (once)", stage.name),
            });
            stage.bar.tick();
        }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Monitor for Progress {
    fn begin(&self, stage: &str, steps: usize) {
        let target = if self.visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg:12} {wide_bar} {pos}/{len}  {elapsed} (left: {eta})")
            .expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style);
        bar.set_message(stage.to_owned());
        bar.tick();
        crate::HEAP.reset_peak_usage();
        let (name, start, ops_before) = (stage.to_owned(), Instant::now(), dispatches());
        self.lock().current = Some(Stage { name, start, bar, ops_before });
    }

    fn step(&self) {
        if let Some(stage) = &self.lock().current {
            stage.bar.inc(1);
        }
    }

    fn end(&self) {
        let gpu = self.lock().gpu.clone();
        if let Some(Err(error)) = gpu.map(|gpu| gpu.sync()) {
            // Whoever reads the results gets the same error.
            log::debug!("{error}");
        }
        let mut state = self.lock();
        if let Some(Stage { name: stage, start, bar, ops_before }) = state.current.take() {
            bar.finish_and_clear();
            let seconds = start.elapsed().as_secs_f64();
            let ops = dispatches().since(&ops_before);
            let (peak_bytes, ops_on) = (crate::HEAP.peak_usage(), place(&ops));
            state.records.push(StageRecord { stage, seconds, peak_bytes, ops_on, ops });
        }
    }
}
