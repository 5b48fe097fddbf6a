//! Tokens of one head as rows of a product.

use crate::cpu::pack::RowSource;

/// Rows of `len` values, `stride` apart.
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) len: usize,
}

impl<'a> Rows<'a> {
    /// The `tokens` of a head, whose first value is `first`; tokens are `stride` values apart.
    pub(super) fn of_head(
        values: &'a [f32],
        first: usize,
        tokens: usize,
        [stride, head_dim]: [usize; 2],
    ) -> Self {
        // Without tokens there is nothing to begin at.
        Self { values: &values[first.min(values.len())..], rows: tokens, stride, len: head_dim }
    }

    /// The first `rows` of them.
    pub(super) fn limited(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    pub(super) fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.stride..][..self.len]
    }
}

impl RowSource for Rows<'_> {
    fn rows(&self) -> usize {
        self.rows
    }
    fn segments(&self) -> usize {
        1
    }
    fn segment_len(&self) -> usize {
        self.len
    }
    fn segment(&self, row: usize, _: usize) -> Option<&[f32]> {
        Some(self.row(row))
    }
}
