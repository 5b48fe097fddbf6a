//! Multi-head attention with rotary positions.

use crate::{Linear, LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::attention::sdpa::{Heads, sdpa};
use steropes_ops::position::rope2d::{rope2d, rope2d_heads};
use steropes_tensor::Tensor;

/// Multi-head attention whose queries and keys are turned by their place in the grid of patches.
///
/// Queries come from one set of tokens, keys and values from another or from the same one: self-attention and
/// cross-attention differ only in the names of their parameters.
#[derive(Debug, Clone)]
pub struct Attention {
    inputs: Inputs,
    output: Linear,
    heads: usize,
    head_dim: usize,
    rope_base: f32,
}

/// The layers in front of the attention. Their results hold heads side by side: larger products and fewer launches.
#[derive(Debug, Clone)]
enum Inputs {
    /// Queries, keys and values.
    SelfAttention { all: Linear },
    /// Queries, and keys and values.
    CrossAttention { query: Linear, memory: Linear },
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
        let inputs = Inputs::SelfAttention { all: Linear::load(&weights.at("qkv"), width, 3 * width)? };
        let output = Linear::load(&weights.at("proj"), width, width)?;
        Ok(Self { inputs, output, heads, head_dim: width / heads, rope_base })
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
        let query = Linear::load(&weights.at("projq"), width, width)?;
        let memory = Linear::load_joined(weights, ["projk", "projv"], width, width)?;
        let output = Linear::load(&weights.at("proj"), width, width)?;
        let inputs = Inputs::CrossAttention { query, memory };
        Ok(Self { inputs, output, heads, head_dim: width / heads, rope_base })
    }

    /// `residual + attention(x, x)`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Shapes
    /// - `residual`, `x`: `[batch, tokens, width]`
    /// - `positions`: `[batch, tokens, 2]`, u32
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    ///
    /// # Panics
    /// If the layer was read by [`Attention::load_cross`].
    pub fn forward_self(&self, residual: Tensor, x: &Tensor, positions: &Tensor) -> Result<Tensor, OpError> {
        let Inputs::SelfAttention { all } = &self.inputs else { panic!("this attention has a memory") };
        let n = self.heads;
        let all = rope2d_heads(self.split(all.forward(x)?)?, 0..2 * n, positions, self.rope_base)?;
        let [query, key, value] = [0, 1, 2].map(|i| Heads::some(&all, i * n..(i + 1) * n));
        self.attend(residual, query, key, value)
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
    ///
    /// # Panics
    /// If the layer was read by [`Attention::load_self`].
    pub fn forward_cross(
        &self,
        residual: Tensor,
        (x, positions): (&Tensor, &Tensor),
        (memory, memory_positions): (&Tensor, &Tensor),
    ) -> Result<Tensor, OpError> {
        let Inputs::CrossAttention { query, memory: layer } = &self.inputs else {
            panic!("this attention has no memory")
        };
        let n = self.heads;
        let query = rope2d(self.split(query.forward(x)?)?, positions, self.rope_base)?;
        let both = rope2d_heads(self.split(layer.forward(memory)?)?, 0..n, memory_positions, self.rope_base)?;
        self.attend(residual, (&query).into(), Heads::some(&both, 0..n), Heads::some(&both, n..2 * n))
    }

    fn attend(
        &self,
        residual: Tensor,
        query: Heads<'_>,
        key: Heads<'_>,
        value: Heads<'_>,
    ) -> Result<Tensor, OpError> {
        let attended = sdpa(query, key, value, (self.head_dim as f32).sqrt().recip())?;
        let joined = attended.reshape(residual.shape()).expect("heads split the width");
        self.output.forward_add(residual, &joined)
    }

    /// `[batch, tokens, n head_dim]` as `[batch, tokens, n, head_dim]`.
    fn split(&self, x: Tensor) -> Result<Tensor, OpError> {
        let &[batch, tokens, width] = x.shape() else {
            return Err(OpError::shape("attention", "x", "[batch, tokens, width]", x.shape()));
        };
        let shape = [batch, tokens, width / self.head_dim, self.head_dim];
        Ok(x.reshape(&shape).expect("heads divide the width"))
    }
}
