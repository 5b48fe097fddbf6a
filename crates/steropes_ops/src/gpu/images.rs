//! Parts of images that fit one binding.

use super::{largest_binding, unsupported, window, window::Window};
use crate::error::OpError;
use std::ops::Range;
use steropes_tensor::{Capabilities, Gpu, Tensor};

/// The rows of all images of a result, in order, and the rows of all input images that they are made of.
pub(crate) struct RowsOfImages<'a> {
    /// Rows of the result.
    pub(crate) rows: usize,
    /// Bytes of a row of the input and of the result.
    pub(crate) row_bytes: [usize; 2],
    /// The first and the last row of the input that a row of the result reads; neither falls from row to row.
    pub(crate) sources: &'a dyn Fn(usize) -> [usize; 2],
}

/// Rows of the result and those of the input that they read.
pub(crate) struct Part {
    /// Rows of the result.
    pub(crate) rows: Range<usize>,
    /// Rows of the input.
    pub(crate) sources: Range<usize>,
}

impl Part {
    /// The windows onto the rows of the input `x` and of the result `y`.
    pub(crate) fn windows<'a>(&self, x: &'a Tensor, y: &'a Tensor, row_bytes: [usize; 2]) -> [Window<'a>; 2] {
        [window(x, row_bytes[0], &self.sources), window(y, row_bytes[1], &self.rows)]
    }
}

impl RowsOfImages<'_> {
    /// Parts that cover all rows of the result, each with both windows within one binding.
    ///
    /// # Errors
    /// [`OpError::Unsupported`] if a single row of the result, or what it reads, is too long.
    pub(crate) fn parts(&self, op: &'static str, gpu: &Gpu) -> Result<Vec<Part>, OpError> {
        // A window begins up to one alignment before its first row.
        let room = largest_binding(gpu) - Capabilities::BINDING_ALIGNMENT as usize;
        let mut parts = Vec::new();
        let mut first = 0;
        while first < self.rows {
            let part = |rows: usize| {
                let [start, end] = [(self.sources)(first)[0], (self.sources)(first + rows - 1)[1] + 1];
                Part { rows: first..first + rows, sources: start..end }
            };
            let fits = |p: &Part| {
                p.sources.len() * self.row_bytes[0] <= room && p.rows.len() * self.row_bytes[1] <= room
            };
            let mut rows = self.rows - first;
            while rows > 1 && !fits(&part(rows)) {
                rows = rows.div_ceil(2);
            }
            let part = part(rows);
            if !fits(&part) {
                let [source, row] = self.row_bytes;
                let why = format!("rows of {source} bytes in and {row} out do not fit one binding");
                return Err(unsupported(op, gpu, why));
            }
            first = part.rows.end;
            parts.push(part);
        }
        Ok(parts)
    }
}
