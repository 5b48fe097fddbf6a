//! Matrices that fit workgroup memory, with their vectors.

use super::Job;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{Capabilities, Header, Kernel, spread};

/// Sweeps at most; six to nine are usual.
pub(super) const SWEEPS: u32 = 16;

/// How a matrix lies in a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Rows, even.
    rows: usize,
    /// Invocations.
    threads: usize,
}

impl Form {
    /// The form for matrices of `n` rows, if they fit.
    pub(super) fn choose(gpu: &Capabilities, n: usize, with_vectors: bool) -> Option<Self> {
        let rows = n.next_multiple_of(2);
        let wanted = match rows {
            0..=8 => 32,
            9..=16 => 64,
            17..=32 => 128,
            _ => 256,
        };
        let threads = wanted.min(1 << gpu.workgroup_threads.ilog2());
        let words = rows * rows * if with_vectors { 2 } else { 1 } + rows + 2 * threads + 4;
        let fits = 4 * words <= gpu.workgroup_bytes as usize && rows <= threads;
        fits.then_some(Self { rows, threads })
    }
}

/// The header with what the text of a sweep needs for matrices of `rows` rows.
pub(super) fn sweep_header(header: Header, rows: usize, threads: usize, with_vectors: bool) -> Header {
    header
        .count("M", rows as u32)
        .count("HALF", rows as u32 / 2)
        .count("THREADS", threads as u32)
        .flag("VECTORS", with_vectors)
        .count("VECTOR_ENTRIES", if with_vectors { rows * rows } else { 1 } as u32)
        .text(include_str!("../rotation.wgsl"))
        .text(include_str!("../sweep.wgsl"))
}

impl Job<'_> {
    pub(super) fn in_workgroups(&self, form: Form) -> Result<(), OpError> {
        let with_vectors = self.vectors.is_some();
        let header = sweep_header(self.header(), form.rows, form.threads, with_vectors)
            .count("SWEEPS", SWEEPS)
            .text(include_str!("../workgroup.wgsl"));
        let end = match with_vectors {
            true => include_str!("../workgroup_vectors.wgsl"),
            false => include_str!("../workgroup_values.wgsl"),
        };
        let kernel = Kernel::new("eigh_workgroup", &header, end);
        let (row, matrix) = (4 * self.n, 4 * self.n * self.n);
        for range in row_ranges(self.op, self.gpu, self.count(), &[matrix])? {
            let mut windows = vec![window(self.a, matrix, &range), window(&self.values, row, &range)];
            windows.extend(self.vectors.as_ref().map(|vectors| window(vectors, matrix, &range)));
            let mut params = vec![range.len() as u32];
            params.extend(windows.iter().map(|window| window.shift(4)));
            params.resize(4, 0);
            let bindings: Vec<_> = windows.into_iter().map(|window| window.binding).collect();
            self.gpu.launch(&kernel, &bindings, &params, spread(range.len() as u64))?;
        }
        Ok(())
    }
}
