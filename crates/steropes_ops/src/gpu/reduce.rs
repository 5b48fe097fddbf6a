//! Sums over the invocations that share a row.

use steropes_tensor::{Capabilities, Header};

/// How rows are shared among the invocations of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Invocations that share a row: a power of two.
    pub(crate) threads: u32,
    /// Rows of a workgroup.
    pub(crate) rows: u32,
    subgroups: bool,
}

impl Rows {
    /// A subgroup for each row where all subgroups have one size, else 64 invocations that meet in workgroup memory.
    pub(crate) fn choose(gpu: &Capabilities) -> Self {
        match gpu.subgroup_size() {
            Some(size) if size.is_power_of_two() => Self { threads: size, rows: 128 / size, subgroups: true },
            _ => Self { threads: 64, rows: 2, subgroups: false },
        }
    }

    /// The header with `ROW_THREADS`, `ROWS` and
    /// `fn row_sum(x: f32, thread: u32) -> f32`, the sum over the invocations of the row. All invocations of the
    /// workgroup must call it.
    pub(crate) fn header(self, header: Header) -> Header {
        let header = header.count("ROW_THREADS", self.threads).count("ROWS", self.rows);
        header.text(if self.subgroups {
            include_str!("row_sum_subgroup.wgsl")
        } else {
            include_str!("row_sum_workgroup.wgsl")
        })
    }
}
