//! Which op ran on which kind of device how often.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Runs of ops by name, since the program started or between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatches {
    /// Runs on the CPU.
    pub cpu: BTreeMap<&'static str, u64>,
    /// Runs on a GPU.
    pub gpu: BTreeMap<&'static str, u64>,
}

static COUNTS: Mutex<Dispatches> = Mutex::new(Dispatches { cpu: BTreeMap::new(), gpu: BTreeMap::new() });

/// All runs of ops so far, of all threads.
pub fn dispatches() -> Dispatches {
    counts().clone()
}

impl Dispatches {
    /// The runs since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: &BTreeMap<&'static str, u64>, before: &BTreeMap<&'static str, u64>| {
            let left = |(op, n): (&&'static str, &u64)| (*op, n - before.get(op).copied().unwrap_or(0));
            now.iter().map(left).filter(|(_, n)| *n > 0).collect()
        };
        Self { cpu: less(&self.cpu, &earlier.cpu), gpu: less(&self.gpu, &earlier.gpu) }
    }
}

/// Notes that `op` runs on the CPU.
pub(crate) fn on_cpu(op: &'static str) {
    *counts().cpu.entry(op).or_default() += 1;
}

/// Notes that `op` runs on a GPU.
pub(crate) fn on_gpu(op: &'static str) {
    *counts().gpu.entry(op).or_default() += 1;
}

fn counts() -> MutexGuard<'static, Dispatches> {
    COUNTS.lock().expect("no panic while it is held")
}

pub(crate) mod tests {
    use super::dispatches;
    use steropes_tensor::{Device, Tensor};
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![unit_case("dispatches/unit/a_run_is_counted_where_it_ran", a_run_is_counted_where_it_ran)]
    }

    fn a_run_is_counted_where_it_ran() {
        let before = dispatches();
        let ones = Tensor::new(&Device::cpu(), &[4], vec![1.0f32; 4]).expect("4 values");
        crate::norm::layer_norm::layer_norm(&ones, &ones, &ones, 1e-6).expect("valid arguments");
        let since = dispatches().since(&before);
        assert!(since.cpu["norm::layer_norm"] >= 1);
    }
}
