//! A progress bar per stage, with times and peak memory for the report.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::sync::Mutex;
use std::time::Instant;
use steropes_scene::reconstruct::Monitor;

/// Time and memory of one finished stage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StageRecord {
    pub(crate) stage: String,
    pub(crate) seconds: f64,
    /// Largest heap use during the stage.
    pub(crate) peak_bytes: usize,
}

/// Shows stages as bars and records what they cost.
pub(crate) struct Progress {
    visible: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<(String, Instant, ProgressBar)>,
    records: Vec<StageRecord>,
}

impl Progress {
    /// Bars appear only if `visible` and standard error is a terminal.
    pub(crate) fn new(visible: bool) -> Self {
        Self { visible, state: Mutex::default() }
    }

    /// What the stages that have ended cost.
    pub(crate) fn records(&self) -> Vec<StageRecord> {
        self.lock().records.clone()
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
        self.lock().current = Some((stage.to_owned(), Instant::now(), bar));
    }

    fn step(&self) {
        if let Some((_, _, bar)) = &self.lock().current {
            bar.inc(1);
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        if let Some((stage, start, bar)) = state.current.take() {
            bar.finish_and_clear();
            let seconds = start.elapsed().as_secs_f64();
            state.records.push(StageRecord { stage, seconds, peak_bytes: crate::HEAP.peak_usage() });
        }
    }
}
