//! Which heads of a tensor take part.

use super::OP;
use crate::error::OpError;
use std::ops::Range;
use steropes_tensor::Tensor;

/// Heads of a tensor `[batch, tokens, all heads, head_dim]`: all of them, or some that lie side by side, so that one product may
/// give queries, keys and values in one tensor.
#[derive(Clone, Debug)]
pub struct Heads<'a> {
    pub(super) tensor: &'a Tensor,
    range: Option<Range<usize>>,
}

impl<'a> Heads<'a> {
    /// The heads `range` of a tensor.
    pub fn some(tensor: &'a Tensor, range: Range<usize>) -> Self {
        Self { tensor, range: Some(range) }
    }

    /// `[batch, tokens, heads, head_dim]` of these heads; `None` if the tensor has another rank.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the tensor has fewer heads.
    pub(super) fn extents(&self, argument: &'static str) -> Result<Option<[usize; 4]>, OpError> {
        let &[batch, tokens, all, head_dim] = self.tensor.shape() else { return Ok(None) };
        let range = self.range();
        if range.start > range.end || range.end > all {
            let expected = format!("[.., heads, head_dim] with the heads {range:?}");
            return Err(OpError::shape(OP, argument, expected, self.tensor.shape()));
        }
        Ok(Some([batch, tokens, range.len(), head_dim]))
    }

    /// All heads of the tensor, whose rank is 4.
    pub(super) fn all(&self) -> usize {
        self.tensor.shape()[2]
    }

    /// Values of a token.
    pub(super) fn token(&self) -> usize {
        self.all() * self.tensor.shape()[3]
    }

    /// Values of a token before the first of these heads.
    pub(super) fn before(&self) -> usize {
        self.range().start * self.tensor.shape()[3]
    }

    fn range(&self) -> Range<usize> {
        self.range.clone().unwrap_or(0..self.all())
    }
}

impl<'a> From<&'a Tensor> for Heads<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { tensor, range: None }
    }
}
