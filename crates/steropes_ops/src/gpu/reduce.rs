//! Sums and maxima over the invocations that share a row.

use steropes_tensor::{Capabilities, Header};

/// Packs that an invocation takes before a row gets more invocations: enough loads on their way, few registers.
const PACKS_EACH: usize = 4;

/// The most invocations of a row.
const MOST_THREADS: u32 = 512;

/// How rows are shared among the invocations of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Invocations that share a row: a power of two.
    pub(crate) threads: u32,
    /// Rows of a workgroup.
    pub(crate) rows: u32,
    /// Size of every subgroup, where rows use them.
    subgroup: Option<u32>,
}

impl Rows {
    /// For rows of `packs` loads: a subgroup for each short row where all subgroups have one size, a workgroup for each
    /// long one; without such subgroups at least 64 invocations that meet in workgroup memory.
    pub(crate) fn choose(gpu: &Capabilities, packs: usize) -> Self {
        let subgroup = gpu.subgroup_size().filter(|size| size.is_power_of_two());
        let most = MOST_THREADS.min(1 << gpu.workgroup_threads.ilog2());
        let wanted = packs.div_ceil(PACKS_EACH).next_power_of_two().min(most as usize) as u32;
        let threads = wanted.max(subgroup.unwrap_or(64));
        let rows = if subgroup.is_some_and(|size| threads > size) { 1 } else { (64 / threads).max(1) };
        Self { threads, rows, subgroup }
    }

    /// The header with `ROW_THREADS`, `ROWS`, `row_sum(x: f32, thread: u32) -> f32` and `row_max` likewise, the sum and the
    /// largest over the invocations of the row. All invocations of the workgroup must call them.
    pub(crate) fn header(self, header: Header) -> Header {
        let header = header.count("ROW_THREADS", self.threads).count("ROWS", self.rows);
        match self.subgroup {
            Some(size) if size == self.threads => header.text(include_str!("row_subgroup.wgsl")),
            Some(size) => header
                .count("SUBGROUP", size)
                .count("SUBGROUPS", self.threads / size)
                .text(include_str!("row_subgroups.wgsl")),
            None => header.text(include_str!("row_workgroup.wgsl")),
        }
    }
}
