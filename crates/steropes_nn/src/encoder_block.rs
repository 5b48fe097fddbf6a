//! The block of a vision transformer.

use crate::{KeyValues, LayerNorm, LoadError, Mlp, Rotary, SelfAttention, Weights};
use steropes_ops::OpError;
use steropes_tensor::Tensor;

/// `x += scale1 attn(norm1(x)); x += scale2 mlp(norm2(x))`, a block of a vision transformer (arXiv:2010.11929), with LayerScale
/// (arXiv:2103.17239) or with scales of 1.
#[derive(Debug, Clone)]
pub struct EncoderBlock {
    norm1: LayerNorm,
    attn: SelfAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

/// What [`EncoderBlock::load`] needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockExtents {
    /// Width of a token.
    pub width: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of the perceptron's hidden layer.
    pub hidden: usize,
    /// What is added to the variance in the normalisations.
    pub norm_eps: f32,
    /// Whether there is LayerScale.
    pub has_layer_scale: bool,
}

impl EncoderBlock {
    /// Reads `norm1`, `attn`, `norm2`, `mlp` and, with LayerScale, `ls1.gamma` and `ls2.gamma`.
    ///
    /// The scales are multiplied into the layers in front of them, one rounding of a weight each, so they cost nothing later.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(weights: &Weights<'_>, e: &BlockExtents) -> Result<Self, LoadError> {
        let norm = |name: &str| LayerNorm::load(&weights.at(name), e.width, e.norm_eps);
        let scale = |name: &str| e.has_layer_scale.then(|| weights.values(name, &[e.width])).transpose();
        let (scale1, scale2) = (scale("ls1.gamma")?, scale("ls2.gamma")?);
        let mlp = weights.at("mlp");
        Ok(Self {
            norm1: norm("norm1")?,
            attn: SelfAttention::load(&weights.at("attn"), e.width, e.heads, scale1.as_deref())?,
            norm2: norm("norm2")?,
            mlp: match scale2 {
                None => Mlp::load(&mlp, e.width, e.hidden, e.width)?,
                Some(scale) => Mlp::load_scaled(&mlp, e.width, e.hidden, &scale)?,
            },
        })
    }

    /// Tokens `[batch, tokens, width]` after the block.
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward(&self, x: Tensor, rotary: Option<&Rotary>) -> Result<Tensor, OpError> {
        let normed = self.norm1.forward(&x)?;
        let x = self.attn.forward(x, &normed, rotary)?;
        let normed = self.norm2.forward(&x)?;
        self.mlp.forward_add(x, &normed)
    }

    /// [`EncoderBlock::forward`] of tokens that also attend to those of `before`: [`SelfAttention::forward_after`].
    ///
    /// # Errors
    /// [`OpError`] if an argument does not fit.
    pub fn forward_after(
        &self,
        before: &mut KeyValues,
        x: Tensor,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor, OpError> {
        let normed = self.norm1.forward(&x)?;
        let x = self.attn.forward_after(before, x, &normed, rotary)?;
        let normed = self.norm2.forward(&x)?;
        self.mlp.forward_add(x, &normed)
    }
}
