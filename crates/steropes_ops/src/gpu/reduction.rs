//! Tensors `[items, views, rows]` that an op reduces over their views, in parts that fit bindings.

use super::window::Window;
use super::{row_ranges, window};
use crate::error::OpError;
use std::ops::Range;
use steropes_tensor::{Gpu, Tensor};

/// What one launch reduces: all views of some items, or some rows of one view of one item. The rows of a launch lie one after
/// another in tensors of either kind.
pub(crate) struct Part {
    items: Range<usize>,
    views: Range<usize>,
    rows: Range<usize>,
    all: [usize; 3],
}

/// The parts of tensors with the extents `[items, views, rows]`, those of one result one after another in the order of the views. `item_bytes`
/// are those of an item in each tensor, `row_bytes` those of a row of one view. There is at least one part for each result, also
/// without views.
///
/// # Errors
/// [`OpError::Unsupported`] if a single row does not fit a binding.
pub(crate) fn parts(
    op: &'static str,
    gpu: &Gpu,
    all: [usize; 3],
    item_bytes: &[usize],
    row_bytes: &[usize],
) -> Result<Vec<Part>, OpError> {
    let [items, views, rows] = all;
    if let Ok(ranges) = row_ranges(op, gpu, items, item_bytes) {
        let part = |items| Part { items, views: 0..views, rows: 0..rows, all };
        return Ok(ranges.into_iter().map(part).collect());
    }
    let mut parts = Vec::new();
    for item in 0..items {
        for rows in row_ranges(op, gpu, rows, row_bytes)? {
            let views = (0..views.max(1)).map(|view| view..(view + 1).min(views));
            parts.extend(views.map(|views| Part { items: item..item + 1, views, rows: rows.clone(), all }));
        }
    }
    Ok(parts)
}

impl Part {
    /// Results that the launch adds to.
    pub(crate) fn results(&self) -> usize {
        self.items.len() * self.rows.len()
    }

    /// Views of each of them.
    pub(crate) fn views(&self) -> usize {
        self.views.len()
    }

    /// Number of the first view.
    pub(crate) fn first_view(&self) -> usize {
        self.views.start
    }

    /// Rows of each item.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether no part comes before this one.
    pub(crate) fn is_first(&self) -> bool {
        self.views.start == 0
    }

    /// Whether no part follows.
    pub(crate) fn is_last(&self) -> bool {
        self.views_left() == 0
    }

    /// Views of the parts that follow.
    pub(crate) fn views_left(&self) -> usize {
        self.all[1] - self.views.end
    }

    /// The window onto a tensor `[items, views, rows]`.
    pub(crate) fn of_views<'a>(&self, tensor: &'a Tensor, row_bytes: usize) -> Window<'a> {
        let [_, views, rows] = self.all;
        if self.views.is_empty() {
            return window(tensor, row_bytes, &(0..0));
        }
        let row = |item: usize, view: usize| (item * views + view) * rows;
        let start = row(self.items.start, self.views.start) + self.rows.start;
        let end = row(self.items.end - 1, self.views.end - 1) + self.rows.end;
        window(tensor, row_bytes, &(start..end))
    }

    /// The window onto a tensor `[items, rows]`.
    pub(crate) fn of_results<'a>(&self, tensor: &'a Tensor, row_bytes: usize) -> Window<'a> {
        let rows = self.all[2];
        let (start, end) = (self.items.start * rows, (self.items.end - 1) * rows);
        window(tensor, row_bytes, &(start + self.rows.start..end + self.rows.end))
    }

    /// The window onto a tensor `[items, views]`.
    pub(crate) fn of_table<'a>(&self, tensor: &'a Tensor, entry_bytes: usize) -> Window<'a> {
        let views = self.all[1];
        let (start, end) = (self.items.start * views, (self.items.end - 1) * views);
        window(tensor, entry_bytes, &(start + self.views.start..end + self.views.end))
    }

    /// The window onto a tensor `[items]`.
    pub(crate) fn of_items<'a>(&self, tensor: &'a Tensor, item_bytes: usize) -> Window<'a> {
        window(tensor, item_bytes, &self.items)
    }
}
