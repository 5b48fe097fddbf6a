//! Multi-head attention.

use crate::{Linear, LoadError, Weights};
use std::ops::Range;
use steropes_ops::OpError;
use steropes_ops::attention::sdpa::{Heads, sdpa, sdpa_bf16};
use steropes_ops::elementwise::concat::concat;
use steropes_ops::indexing::index_select::index_select;
use steropes_ops::position::rope2d::rope2d_heads;
use steropes_ops::position::rope3d::{Rope3dTables, rope3d_heads};
use steropes_tensor::{Device, Tensor, TensorError};

/// Rotary positions: where tokens stand, and how far their queries and keys are turned there. Cloning shares the memory.
#[derive(Debug, Clone)]
pub enum Rotary {
    /// In a grid of patches: [`rope2d_heads`].
    Plane {
        /// (row, column) of every token, `[batch, tokens, 2]`, u32, in patches.
        positions: Tensor,
        /// Base of the frequencies.
        base: f32,
    },
    /// In time, height and width: [`rope3d_heads`].
    Space(Rope3dTables),
}

impl Rotary {
    /// `x`, `[batch, tokens, heads, head_dim]`, with the heads in `some` turned by the places of their tokens; in the memory of `x`
    /// when nobody else holds it.
    ///
    /// # Errors
    /// [`OpError`] if `x` has not the tokens or the heads.
    pub fn turn(&self, x: Tensor, some: Range<usize>) -> Result<Tensor, OpError> {
        match self {
            Self::Plane { positions, base } => rope2d_heads(x, some, positions, *base),
            Self::Space(tables) => rope3d_heads(x, some, tables),
        }
    }
}

/// Multi-head attention of tokens to themselves.
#[derive(Debug, Clone)]
pub struct SelfAttention {
    /// Queries, keys and values, whose heads lie side by side: one larger product, and one launch.
    inputs: Linear,
    output: Linear,
    heads: usize,
}

impl SelfAttention {
    /// Reads `qkv` (rows of queries, then keys, then values), or `query`, `key` and `value`, and `proj`, whose outputs are multiplied
    /// by `scale` if there is one.
    ///
    /// `heads` must divide `width`, with rotary positions in a plane into multiples of 4.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        width: usize,
        heads: usize,
        scale: Option<&[f32]>,
    ) -> Result<Self, LoadError> {
        let inputs = if weights.has("query.weight") {
            Linear::load_joined(weights, ["query", "key", "value"], width, width)?
        } else {
            Linear::load(&weights.at("qkv"), width, 3 * width)?
        };
        let proj = weights.at("proj");
        let output = match scale {
            None => Linear::load(&proj, width, width)?,
            Some(scale) => Linear::load_scaled(&proj, width, scale)?,
        };
        Ok(Self { inputs, output, heads })
    }

    /// `residual + attention(x)`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Shapes
    /// - `residual`, `x`: `[batch, tokens, width]`
    /// - `rotary`: those of the same tokens; without them the order of tokens has no effect
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward(&self, residual: Tensor, x: &Tensor, rotary: Option<&Rotary>) -> Result<Tensor, OpError> {
        let n = self.heads;
        let mut all = split(self.inputs.forward(x)?, 3 * n)?;
        if let Some(rotary) = rotary {
            all = rotary.turn(all, 0..2 * n)?;
        }
        let [query, key, value] = [0, 1, 2].map(|i| Heads::some(&all, i * n..(i + 1) * n));
        attend(residual, [query, key, value], all.shape()[3], &self.output)
    }
}

/// Keys and values of tokens that came before, which those that come now attend to beside themselves. Cloning shares the memory.
#[derive(Debug, Clone, Default)]
pub struct KeyValues {
    /// `[batch, tokens, 2 heads, head_dim]`, keys first.
    kept: Option<Tensor>,
}

impl KeyValues {
    /// Tokens that are kept of each batch element.
    pub fn tokens(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.shape()[1])
    }

    /// Adds those of further tokens, and returns all. What is kept of one batch element stands for any number.
    fn extended(&mut self, more: Tensor) -> Result<&Tensor, OpError> {
        let all = match self.kept.take() {
            None => more,
            Some(kept) => {
                let [batch, tokens, heads, head_dim] = extents(&more)?;
                let kept = repeated(kept, batch)?;
                let [kept_batch, before, ..] = extents(&kept)?;
                if kept_batch != batch {
                    let expected = format!("[{kept_batch}, tokens, {heads}, {head_dim}]");
                    return Err(OpError::shape("attention", "x", expected, more.shape()));
                }
                let row = heads * head_dim;
                let flat =
                    |x: Tensor, tokens: usize| x.reshape(&[batch, tokens * row]).expect("one row each");
                let all = concat(&flat(kept, before), &flat(more, tokens))?;
                all.reshape(&[batch, before + tokens, heads, head_dim]).expect("a row per token")
            }
        };
        Ok(self.kept.insert(all))
    }
}

impl SelfAttention {
    /// [`SelfAttention::forward`] of tokens that attend to themselves and to those of `before`, which are then those of both.
    ///
    /// Tokens that are given step by step attend as under a mask that lets each see its own step and those before it: with one step
    /// after the other, nothing that was computed changes.
    ///
    /// # Shapes
    /// As [`SelfAttention::forward`]; `before` has the batch of `x`, or one element for all
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit; `before` is empty then.
    pub fn forward_after(
        &self,
        before: &mut KeyValues,
        residual: Tensor,
        x: &Tensor,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor, OpError> {
        let n = self.heads;
        let mut all = split(self.inputs.forward(x)?, 3 * n)?;
        if let Some(rotary) = rotary {
            all = rotary.turn(all, 0..2 * n)?;
        }
        let memory = index_select(&all, 2, &numbers(&all.device(), n as u32..3 * n as u32)?)?;
        let memory = before.extended(memory)?;
        let heads = [Heads::some(&all, 0..n), Heads::some(memory, 0..n), Heads::some(memory, n..2 * n)];
        attend(residual, heads, all.shape()[3], &self.output)
    }
}

/// `x` once for each of `batch` batch elements, if it has one and they are more.
fn repeated(x: Tensor, batch: usize) -> Result<Tensor, OpError> {
    if x.shape()[0] != 1 || batch == 1 {
        return Ok(x);
    }
    index_select(&x, 0, &numbers(&x.device(), std::iter::repeat_n(0, batch))?)
}

/// Numbers on a device.
fn numbers(device: &Device, numbers: impl IntoIterator<Item = u32>) -> Result<Tensor, OpError> {
    let numbers: Vec<u32> = numbers.into_iter().collect();
    match Tensor::new(device, &[numbers.len()], numbers) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(error.into()),
        Err(error) => unreachable!("{error}"),
    }
}

fn extents(x: &Tensor) -> Result<[usize; 4], OpError> {
    let expected = "[batch, tokens, heads, head_dim]";
    x.shape().try_into().map_err(|_| OpError::shape("attention", "x", expected, x.shape()))
}

/// Multi-head attention of tokens to others, their memory, with rotary positions.
#[derive(Debug, Clone)]
pub struct CrossAttention {
    query: Linear,
    /// Keys and values.
    memory: Linear,
    output: Linear,
    heads: usize,
}

impl CrossAttention {
    /// Reads `projq`, `projk`, `projv` and `proj`.
    ///
    /// `heads` must divide `width` into multiples of 4.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(weights: &Weights<'_>, width: usize, heads: usize) -> Result<Self, LoadError> {
        let query = Linear::load(&weights.at("projq"), width, width)?;
        let memory = Linear::load_joined(weights, ["projk", "projv"], width, width)?;
        let output = Linear::load(&weights.at("proj"), width, width)?;
        Ok(Self { query, memory, output, heads })
    }

    /// `residual + attention(x, memory)`, in the memory of `residual` when nobody else holds it.
    ///
    /// # Shapes
    /// - `residual`: `[batch, queries, width]`
    /// - `x`: tokens `[batch, queries, width]` and where they stand
    /// - `memory`: tokens `[batch, keys, width]` and where they stand
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward(
        &self,
        residual: Tensor,
        (x, rotary): (&Tensor, &Rotary),
        (memory, memory_rotary): (&Tensor, &Rotary),
    ) -> Result<Tensor, OpError> {
        let n = self.heads;
        let query = rotary.turn(split(self.query.forward(x)?, n)?, 0..n)?;
        let both = split(self.memory.forward(memory)?, 2 * n)?;
        let both = memory_rotary.turn(both, 0..n)?;
        let heads = [(&query).into(), Heads::some(&both, 0..n), Heads::some(&both, n..2 * n)];
        attend(residual, heads, query.shape()[3], &self.output)
    }
}

/// `residual + output(sdpa(query, key, value))`.
fn attend(
    residual: Tensor,
    [query, key, value]: [Heads<'_>; 3],
    head_dim: usize,
    output: &Linear,
) -> Result<Tensor, OpError> {
    let scale = (head_dim as f32).sqrt().recip();
    let attended = if output.rounds_rows() {
        sdpa_bf16(query, key, value, scale)?
    } else {
        sdpa(query, key, value, scale)?
    };
    let joined = attended.reshape(residual.shape()).expect("heads split the width");
    output.forward_add(residual, &joined)
}

/// `[batch, tokens, heads head_dim]` as `[batch, tokens, heads, head_dim]`.
fn split(x: Tensor, heads: usize) -> Result<Tensor, OpError> {
    let &[batch, tokens, width] = x.shape() else {
        return Err(OpError::shape("attention", "x", "[batch, tokens, width]", x.shape()));
    };
    Ok(x.reshape(&[batch, tokens, heads, width / heads]).expect("heads divide the width"))
}
