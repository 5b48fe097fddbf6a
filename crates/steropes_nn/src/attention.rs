//! Multi-head attention with rotary positions.

use crate::{Linear, LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::attention::sdpa::sdpa;
use steropes_ops::position::rope2d::rope2d;
use steropes_tensor::Tensor;

/// Multi-head attention whose queries and keys are turned by their place in the grid of patches.
///
/// Queries come from one set of tokens, keys and values from another or from the same one: self-attention and
/// cross-attention differ only in the names of their parameters.
#[derive(Debug, Clone)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    rope_base: f32,
}

/// Tokens `[batch, count, width]` with their places in the grid, `[batch, count, 2]` (row, column).
#[derive(Clone, Copy)]
struct Placed<'a> {
    tokens: &'a Tensor,
    positions: &'a Tensor,
}

impl Attention {
    /// Reads a self-attention: `qkv` (rows of queries, then keys, then values) and `proj`.
    ///
    /// `heads` must divide `width` into multiples of 4.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load_self(
        weights: &Weights<'_>,
        width: usize,
        heads: usize,
        rope_base: f32,
    ) -> Result<Self, LoadError> {
        let [query, key, value] = Linear::load_thirds(&weights.at("qkv"), width)?;
        let output = Linear::load(&weights.at("proj"), width, width)?;
        Ok(Self { query, key, value, output, heads, rope_base })
    }

    /// Reads a cross-attention: `projq`, `projk`, `projv` and `proj`.
    ///
    /// `heads` must divide `width` into multiples of 4.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load_cross(
        weights: &Weights<'_>,
        width: usize,
        heads: usize,
        rope_base: f32,
    ) -> Result<Self, LoadError> {
        let part = |name: &str| Linear::load(&weights.at(name), width, width);
        let (query, key, value, output) = (part("projq")?, part("projk")?, part("projv")?, part("proj")?);
        Ok(Self { query, key, value, output, heads, rope_base })
    }

    /// `residual + attention(x, x)`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Shapes
    /// - `residual`, `x`: `[batch, tokens, width]`
    /// - `positions`: `[batch, tokens, 2]`, u32
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward_self(&self, residual: Tensor, x: &Tensor, positions: &Tensor) -> Result<Tensor, OpError> {
        let x = Placed { tokens: x, positions };
        self.attend(residual, x, x)
    }

    /// `residual + attention(x, memory)`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Shapes
    /// - `residual`: `[batch, queries, width]`
    /// - `x`: tokens `[batch, queries, width]` and positions `[batch, queries, 2]` (u32)
    /// - `memory`: tokens `[batch, keys, width]` and positions `[batch, keys, 2]` (u32)
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward_cross(
        &self,
        residual: Tensor,
        x: (&Tensor, &Tensor),
        memory: (&Tensor, &Tensor),
    ) -> Result<Tensor, OpError> {
        let placed = |(tokens, positions)| Placed { tokens, positions };
        self.attend(residual, placed(x), placed(memory))
    }

    fn attend(&self, residual: Tensor, x: Placed<'_>, memory: Placed<'_>) -> Result<Tensor, OpError> {
        let query = rope2d(self.split(self.query.forward(x.tokens)?)?, x.positions, self.rope_base)?;
        let key = rope2d(self.split(self.key.forward(memory.tokens)?)?, memory.positions, self.rope_base)?;
        let value = self.split(self.value.forward(memory.tokens)?)?;
        let head_dim = query.shape()[3];
        let attended = sdpa(&query, &key, &value, (head_dim as f32).sqrt().recip())?;
        let joined = attended.reshape(x.tokens.shape()).expect("heads split the width");
        self.output.forward_add(residual, &joined)
    }

    /// `[batch, tokens, width]` as `[batch, tokens, heads, head_dim]`.
    fn split(&self, x: Tensor) -> Result<Tensor, OpError> {
        let &[batch, tokens, width] = x.shape() else {
            return Err(OpError::shape("attention", "x", "[batch, tokens, width]", x.shape()));
        };
        let shape = [batch, tokens, self.heads, width / self.heads];
        Ok(x.reshape(&shape).expect("heads divide the width"))
    }
}
