//! Parts of tensors that fit one binding.

use super::bind;
use crate::error::OpError;
use std::ops::Range;
use steropes_tensor::{Binding, Capabilities, Gpu, Tensor};

/// Rows of a tensor as a binding. It may begin before the first of them, because bindings begin at multiples of
/// [`Capabilities::BINDING_ALIGNMENT`].
pub(crate) struct Window<'a> {
    /// The binding.
    pub(crate) binding: Binding<'a>,
    bytes_before: usize,
}

impl Window<'_> {
    /// Units of `unit_bytes` bytes before the first row; `unit_bytes` divides the bytes of a row and is a power of two.
    pub(crate) fn shift(&self, unit_bytes: usize) -> u32 {
        debug_assert_eq!(self.bytes_before % unit_bytes, 0, "rows are whole units");
        (self.bytes_before / unit_bytes) as u32
    }
}

/// The window of a GPU tensor onto its rows `rows` of `row_bytes` bytes each.
///
/// # Panics
/// If the tensor is on the CPU; ops check that before.
pub(crate) fn window<'a>(tensor: &'a Tensor, row_bytes: usize, rows: &Range<usize>) -> Window<'a> {
    let whole = bind(tensor);
    let first = rows.start * row_bytes;
    let bytes_before = first % Capabilities::BINDING_ALIGNMENT as usize;
    let offset = (first - bytes_before) as u64;
    let bytes = (bytes_before + rows.len() * row_bytes).max(16).next_multiple_of(16) as u64;
    Window { binding: Binding { offset, bytes: bytes.min(whole.bytes - offset), ..whole }, bytes_before }
}

/// The binding that holds `count` elements of a GPU tensor from `first` on, and the number of elements of it before them.
///
/// # Panics
/// If the tensor is on the CPU; ops check that before.
pub(crate) fn element_window(tensor: &Tensor, first: usize, count: usize) -> (Binding<'_>, usize) {
    let size = tensor.dtype().size_bytes();
    let window = window(tensor, size, &(first..first + count));
    (window.binding, window.bytes_before / size)
}

/// The most bytes of a binding, a multiple of 16 as their lengths are. Kernels count in 32 bits, whatever a device allows.
pub(crate) fn largest_binding(gpu: &Gpu) -> usize {
    (gpu.capabilities().max_binding_bytes.min(1 << 31) / 16 * 16) as usize
}

/// Ranges of rows that cover `0..rows`, each short enough that its [`window`] fits a binding in every tensor whose rows have
/// `row_bytes` bytes. Without rows there are no ranges.
///
/// # Errors
/// [`OpError::Unsupported`] if a single row does not fit.
pub(crate) fn row_ranges(
    op: &'static str,
    gpu: &Gpu,
    rows: usize,
    row_bytes: &[usize],
) -> Result<Vec<Range<usize>>, OpError> {
    let largest = row_bytes.iter().copied().max().unwrap_or(0).max(1);
    if rows * largest <= largest_binding(gpu) {
        return Ok((rows > 0).then_some(0..rows).into_iter().collect());
    }
    // A window begins up to one alignment before its first row.
    let most = largest_binding(gpu).saturating_sub(Capabilities::BINDING_ALIGNMENT as usize) / largest;
    if most == 0 {
        return Err(unsupported(op, gpu, format!("a row of {largest} bytes does not fit one binding")));
    }
    Ok((0..rows).step_by(most).map(|first| first..(first + most).min(rows)).collect())
}

/// Rows of tensors of which `each`, one after another, belong to one entry of a table: points to their camera.
pub(crate) struct RowsOfEntries<'a> {
    /// The rows.
    pub(crate) rows: Range<usize>,
    /// Number of the first of them among the rows of its entry.
    pub(crate) first: usize,
    /// The entries that the rows belong to.
    pub(crate) table: Window<'a>,
}

/// [`row_ranges`], with the window onto the entries of `entry_bytes` bytes each that a range needs.
///
/// # Errors
/// As [`row_ranges`].
pub(crate) fn rows_of_entries<'a>(
    op: &'static str,
    gpu: &Gpu,
    (rows, row_bytes): (usize, &[usize]),
    each: usize,
    (table, entry_bytes): (&'a Tensor, usize),
) -> Result<Vec<RowsOfEntries<'a>>, OpError> {
    let mut bytes = row_bytes.to_vec();
    if bind(table).bytes > largest_binding(gpu) as u64 {
        // Rows belong to at most as many entries as they are.
        bytes.push(entry_bytes);
    }
    let part = |rows: Range<usize>| {
        let entries = rows.start / each..rows.end.div_ceil(each);
        RowsOfEntries { first: rows.start % each, table: window(table, entry_bytes, &entries), rows }
    };
    Ok(row_ranges(op, gpu, rows, &bytes)?.into_iter().map(part).collect())
}

/// An [`OpError::Unsupported`].
pub(crate) fn unsupported(op: &'static str, gpu: &Gpu, why: String) -> OpError {
    OpError::Unsupported { op, device: gpu.capabilities().name.clone(), why }
}
