//! Sums of partial sums in an order that depends on their number alone.

use super::{bind, largest_binding};
use crate::error::OpError;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Rows that one launch makes one of: as many as the kernels before leave, so that one launch is enough for a wide matrix.
const FACTOR: usize = 1024;

/// Columns of a workgroup.
const COLUMNS: u32 = 16;

/// Invocations that share a column.
const SLOTS: u32 = 16;

/// Invocations that fill a large GPU, for kernels that go over many rows and then write a row of partial sums each. Twice as many were
/// slower by an eighth on an H200.
const INVOCATIONS: usize = 1 << 16;

/// Bytes that partial sums take at most, so that writing and reading them costs little beside a large tensor.
const MOST_BYTES: usize = 1 << 26;

/// Workgroups, each of which writes `rows` rows of partial sums of `width` columns and has `threads` invocations: as many as
/// fill a large GPU, fewer if there is not the work for `groups` or partial sums would not fit a binding.
pub(crate) fn partial_groups(gpu: &Gpu, groups: usize, threads: u32, rows: u32, width: usize) -> usize {
    let bytes = rows as usize * width * 4;
    let room = largest_binding(gpu).min(MOST_BYTES) / bytes.max(1);
    groups.min(INVOCATIONS / threads as usize).min(room).max(1)
}

/// Adds the columns of `partials`, `[rows, width]` in f32, up into `total`, `[width]`; with `more` what that holds is added too.
///
/// # Errors
/// [`OpError`] if the device failed.
pub(crate) fn column_sums(
    gpu: &Gpu,
    op: &'static str,
    partials: Tensor,
    total: &Tensor,
    more: bool,
) -> Result<(), OpError> {
    let header = Header::new().count("FACTOR", FACTOR as u32).count("COLUMNS", COLUMNS).count("SLOTS", SLOTS);
    let kernel = Kernel::new("column_sums", &header, include_str!("column_sums.wgsl"));
    let width = total.len();
    let mut partials = partials;
    loop {
        let rows = partials.len() / width;
        let parts = rows.div_ceil(FACTOR).max(1);
        let last = parts == 1;
        let to = if last { total.clone() } else { Tensor::on_gpu(gpu, op, DType::F32, &[parts, width])? };
        let params = [rows as u32, width as u32, u32::from(last && more)];
        let groups = spread((parts * width.div_ceil(COLUMNS as usize)) as u64);
        gpu.launch(&kernel, &[bind(&partials), bind(&to)], &params, groups)?;
        if last {
            return Ok(());
        }
        partials = to;
    }
}
