//! The decoder: two streams of blocks that look at each other.

use super::encoder::Encoded;
use super::{Config, Observer};
use std::sync::Arc;
use steropes_nn::{CrossAttention, LayerNorm, Linear, LoadError, Mlp, Rotary, SelfAttention, Weights};
use steropes_ops::OpError;
use steropes_tensor::Tensor;

/// What the heads read of one view: the encoder's tokens and the decoder's after three of its blocks, the last
/// ones normalised.
#[derive(Clone, Debug)]
pub(super) struct Stages {
    pub(super) tokens: [Tensor; 4],
    pub(super) grid: [usize; 2],
    pub(super) size: [usize; 2],
}

#[derive(Debug)]
pub(super) struct Decoder {
    embed: Linear,
    first: Arc<Vec<DecoderBlock>>,
    second: Arc<Vec<DecoderBlock>>,
    norm: LayerNorm,
    hooks: [usize; 4],
}

impl Decoder {
    pub(super) fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let (inputs, width) = (config.encoder.width(), config.decoder.width);
        let embed = Linear::load(&weights.at("decoder_embed"), inputs, width)?;
        let stack = |path: &Weights<'_>| -> Result<_, LoadError> {
            let block = |i| DecoderBlock::load(&path.at(i), config);
            Ok(Arc::new(path.each(config.decoder.depth, block)?))
        };
        let (path, path2) = (weights.at("dec_blocks"), weights.at("dec_blocks2"));
        let first = stack(&path)?;
        let tied = path.stored_path() == path2.stored_path();
        let second = if tied { Arc::clone(&first) } else { stack(&path2)? };
        let norm = LayerNorm::load(&weights.at("dec_norm"), width, config.norm_eps)?;
        Ok(Self { embed, first, second, norm, hooks: config.hooks() })
    }

    /// Whether both streams have the same blocks, so that exchanging the views only exchanges the results.
    pub(super) fn is_symmetric(&self) -> bool {
        Arc::ptr_eq(&self.first, &self.second)
    }

    /// Decodes a pair. In each layer both streams read the other's tokens as they entered the layer.
    pub(super) fn forward(
        &self,
        view1: &Encoded,
        view2: &Encoded,
        observe: &mut Observer<'_>,
    ) -> Result<(Stages, Stages), OpError> {
        let mut x1 = self.embed.forward(&view1.tokens)?;
        let mut x2 = self.embed.forward(&view2.tokens)?;
        let early = &self.hooks[..3];
        let from_encoder = early.iter().filter(|&&hook| hook == 0).count();
        let mut kept = [view1, view2].map(|view| vec![view.tokens.clone(); from_encoder]);
        for (i, (first, second)) in self.first.iter().zip(self.second.iter()).enumerate() {
            let (memory1, memory2) = (first.remember(&x2)?, second.remember(&x1)?);
            x1 = first.forward(x1, &view1.rotary, (&memory1, &view2.rotary))?;
            x2 = second.forward(x2, &view2.rotary, (&memory2, &view1.rotary))?;
            observe(&format!("dec_blocks.{i}"), &x1);
            observe(&format!("dec_blocks2.{i}"), &x2);
            // In a shallow decoder two hooks may be one; the last is taken after the norm.
            for _ in early.iter().filter(|&&hook| hook == i + 1) {
                kept[0].push(x1.clone());
                kept[1].push(x2.clone());
            }
        }
        kept[0].push(self.norm.forward(&x1)?);
        kept[1].push(self.norm.forward(&x2)?);
        let [kept1, kept2] = kept;
        Ok((stages(kept1, view1), stages(kept2, view2)))
    }
}

fn stages(kept: Vec<Tensor>, view: &Encoded) -> Stages {
    let tokens = kept.try_into().expect("one tensor per hook");
    Stages { tokens, grid: view.grid, size: view.size }
}

/// `x += attn(norm1(x)); x += cross_attn(norm2(x), norm_y(y)); x += mlp(norm3(x))`.
#[derive(Debug)]
struct DecoderBlock {
    norm1: LayerNorm,
    attn: SelfAttention,
    norm_y: Option<LayerNorm>,
    norm2: LayerNorm,
    cross_attn: CrossAttention,
    norm3: LayerNorm,
    mlp: Mlp,
}

impl DecoderBlock {
    fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let (width, heads) = (config.decoder.width, config.decoder.heads);
        let norm = |name: &str| LayerNorm::load(&weights.at(name), width, config.norm_eps);
        Ok(Self {
            norm1: norm("norm1")?,
            attn: SelfAttention::load(&weights.at("attn"), width, heads, None)?,
            norm_y: config.norm_memory.then(|| norm("norm_y")).transpose()?,
            norm2: norm("norm2")?,
            cross_attn: CrossAttention::load(&weights.at("cross_attn"), width, heads)?,
            norm3: norm("norm3")?,
            mlp: Mlp::load(&weights.at("mlp"), width, config.hidden(width), width)?,
        })
    }

    /// The other view's tokens as the cross-attention reads them.
    fn remember(&self, other: &Tensor) -> Result<Tensor, OpError> {
        self.norm_y.as_ref().map_or_else(|| Ok(other.clone()), |norm| norm.forward(other))
    }

    fn forward(&self, x: Tensor, rotary: &Rotary, memory: (&Tensor, &Rotary)) -> Result<Tensor, OpError> {
        let normed = self.norm1.forward(&x)?;
        let x = self.attn.forward(x, &normed, Some(rotary))?;
        let normed = self.norm2.forward(&x)?;
        let x = self.cross_attn.forward(x, (&normed, rotary), memory)?;
        let normed = self.norm3.forward(&x)?;
        self.mlp.forward_add(x, &normed)
    }
}
