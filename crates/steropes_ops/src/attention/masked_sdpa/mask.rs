//! Which query may attend to which key.

use super::Extents;
use crate::error::{Holds, OpError};
use steropes_tensor::{DType, Tensor};

/// Which query may attend to which key.
///
/// Tensors are `[queries, keys]` or `[batch, heads, queries, keys]`, where all extents but the last may be 1 for all alike.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Every query to every key.
    None,
    /// Query `i` to the keys `0 ..= i`, also where there are more or fewer keys than queries: aligned at the first, as
    /// `is_causal` of PyTorch is.
    Causal,
    /// Where it is not 0, u8.
    Boolean(&'a Tensor),
    /// Added to the scaled scores: the dtype of the queries, finite, or minus infinity where a query may not attend.
    Additive(&'a Tensor),
}

/// Elements from one batch element, head and query of a mask to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    pub(super) batch: usize,
    pub(super) head: usize,
    pub(super) query: usize,
}

impl<'a> Mask<'a> {
    pub(super) fn tensor(&self) -> Option<&'a Tensor> {
        match self {
            Self::None | Self::Causal => None,
            Self::Boolean(tensor) | Self::Additive(tensor) => Some(tensor),
        }
    }

    pub(super) fn argument(&self) -> Option<(&'static str, &'a Tensor, Holds)> {
        match self {
            Self::None | Self::Causal => None,
            Self::Boolean(tensor) => Some(("mask", tensor, Holds::Integer)),
            Self::Additive(tensor) => Some(("mask", tensor, Holds::Float)),
        }
    }

    /// # Errors
    /// [`OpError::Shape`] if a tensor does not fit the extents, [`OpError::DType`] if a boolean one does not hold u8.
    pub(super) fn layout(&self, op: &'static str, e: &Extents) -> Result<Layout, OpError> {
        let Some(tensor) = self.tensor() else { return Ok(Layout::default()) };
        let found = tensor.dtype();
        if matches!(self, Self::Boolean(_)) && found != DType::U8 {
            return Err(OpError::DType { op, argument: "mask", expected: "u8", found });
        }
        let (outer, [queries, keys]) = match *tensor.shape() {
            [queries, keys] => ([1, 1], [queries, keys]),
            [batch, heads, queries, keys] => ([batch, heads], [queries, keys]),
            _ => ([0, 0], [0, 0]),
        };
        let fits = |found: usize, extent: usize| found == 1 || found == extent;
        let [batch, heads] = outer;
        if !(fits(batch, e.batch) && fits(heads, e.heads) && fits(queries, e.queries) && keys == e.keys) {
            let expected = format!(
                "[{queries}, {keys}] or [{batch}, {heads}, {queries}, {keys}], all but the last of them or 1",
                batch = e.batch,
                heads = e.heads,
                queries = e.queries,
                keys = e.keys
            );
            return Err(OpError::shape(op, "mask", expected, tensor.shape()));
        }
        let stride = |extent: usize, elements: usize| if extent == 1 { 0 } else { elements };
        Ok(Layout {
            batch: stride(batch, heads * queries * keys),
            head: stride(heads, queries * keys),
            query: stride(queries, keys),
        })
    }
}
