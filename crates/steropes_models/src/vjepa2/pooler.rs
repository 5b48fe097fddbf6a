//! The attentive pooler: from any number of tokens to one for each question.

use super::Observer;
use steropes_nn::{BlockExtents, EncoderBlock, LayerNorm, Linear, LoadError, Mlp, Weights};
use steropes_ops::OpError;
use steropes_ops::attention::sdpa::{Heads, sdpa};
use steropes_ops::elementwise::add::add;
use steropes_ops::indexing::index_select::index_select;
use steropes_tensor::{Device, Tensor, TensorError};

/// The extents of a pooler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolerConfig {
    /// Values of a token.
    pub width: usize,
    /// Heads of every attention.
    pub heads: usize,
    /// Blocks in which tokens attend to each other.
    pub depth: usize,
    /// Width of a perceptron's hidden layer.
    pub hidden: usize,
    /// Learned tokens that ask: tokens that come out.
    pub queries: usize,
    /// What is added to the variance in the normalisations.
    pub norm_eps: f32,
}

/// Blocks in which tokens attend to each other, without places, and one in which learned tokens attend to them. The order of tokens
/// has no effect.
#[derive(Debug)]
pub struct AttentivePooler {
    config: PoolerConfig,
    blocks: Vec<EncoderBlock>,
    /// The learned tokens, `[1, queries, width]`.
    asking: Tensor,
    /// Their queries, `[1, queries, heads, head_dim]`; they are not normalised before.
    queries: Tensor,
    norm1: LayerNorm,
    /// Keys and values.
    memory: Linear,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl AttentivePooler {
    /// Reads `query_tokens`, `blocks` and `cross_attention_block`, whose keys and values are one layer `xattn.kv`, or `xattn.k` and
    /// `xattn.v`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(weights: &Weights<'_>, config: &PoolerConfig) -> Result<Self, LoadError> {
        let &PoolerConfig { width, heads, depth, hidden, queries, norm_eps } = config;
        let extents = BlockExtents { width, heads, hidden, norm_eps, has_layer_scale: false };
        let blocks = weights.at("blocks");
        let cross = weights.at("cross_attention_block");
        let attention = cross.at("xattn");
        let memory = if attention.has("kv.weight") {
            Linear::load(&attention.at("kv"), width, 2 * width)?
        } else {
            Linear::load_joined(&attention, ["k", "v"], width, width)?
        };
        let shape = [1, queries, width];
        let asking =
            weights.upload_factor("query_tokens", &shape, weights.values("query_tokens", &shape)?)?;
        // They are the same for all clips, so they are computed once, as exactly as can be.
        let asked = Linear::load(&attention.at("q").in_value_type(), width, width)?.forward(&asking);
        let asked = asked.map_err(|source| LoadError::Op { tensor: "query_tokens".to_owned(), source })?;
        Ok(Self {
            blocks: blocks.each(depth, |i| EncoderBlock::load(&blocks.at(i), &extents))?,
            asking,
            queries: asked.reshape(&[1, queries, heads, width / heads]).expect("heads divide the width"),
            norm1: LayerNorm::load(&cross.at("norm1"), width, norm_eps)?,
            memory,
            norm2: LayerNorm::load(&cross.at("norm2"), width, norm_eps)?,
            mlp: Mlp::load(&cross.at("mlp"), width, hidden, width)?,
            config: *config,
        })
    }

    /// The extents.
    pub fn config(&self) -> &PoolerConfig {
        &self.config
    }

    /// What the learned tokens find in `tokens`.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, count, width]`, at least one, in the type of the network's values
    /// - returns: `[batch, queries, width]`
    ///
    /// # Numerics
    /// As the layers; another order of tokens changes the result by rounding only.
    ///
    /// # Errors
    /// [`OpError`] if `tokens` is not as above.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor, OpError> {
        self.forward_observed(tokens, &mut |_, _| {})
    }

    /// [`AttentivePooler::forward`] that shows its intermediate results to `observe`: `blocks.{i}`, what the cross-attention found as
    /// `cross_attention`, and `pooled`.
    ///
    /// # Errors
    /// As [`AttentivePooler::forward`].
    pub fn forward_observed(&self, tokens: &Tensor, observe: &mut Observer<'_>) -> Result<Tensor, OpError> {
        let PoolerConfig { width, heads, queries, .. } = self.config;
        let &[batch, count, _] = tokens.shape() else {
            let expected = format!("[batch, count, {width}]");
            return Err(OpError::shape("pooler", "tokens", expected, tokens.shape()));
        };
        let mut x = tokens.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, None)?;
            observe(&format!("blocks.{i}"), &x);
        }
        let memory = self.memory.forward(&self.norm1.forward(&x)?)?;
        drop(x);
        let head_dim = width / heads;
        let memory = memory.reshape(&[batch, count, 2 * heads, head_dim]).expect("keys and values");
        let (asking, asked) = (repeated(&self.asking, batch)?, repeated(&self.queries, batch)?);
        let (keys, values) = (Heads::some(&memory, 0..heads), Heads::some(&memory, heads..2 * heads));
        let found = sdpa(&asked, keys, values, (head_dim as f32).sqrt().recip())?;
        let found = found.reshape(&[batch, queries, width]).expect("heads split the width");
        observe("cross_attention", &found);
        let x = add(asking, &found)?;
        let normed = self.norm2.forward(&x)?;
        let x = self.mlp.forward_add(x, &normed)?;
        observe("pooled", &x);
        Ok(x)
    }
}

/// `x`, of one batch element, once for each of `batch`.
pub(super) fn repeated(x: &Tensor, batch: usize) -> Result<Tensor, OpError> {
    if batch == 1 {
        return Ok(x.clone());
    }
    index_select(x, 0, &numbers(&x.device(), vec![0; batch])?)
}

/// Numbers on a device.
pub(super) fn numbers(device: &Device, numbers: Vec<u32>) -> Result<Tensor, OpError> {
    match Tensor::new(device, &[numbers.len()], numbers) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(error.into()),
        Err(error) => unreachable!("{error}"),
    }
}
