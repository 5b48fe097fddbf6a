//! CroCo's image encoder: a vision transformer with rotary positions.

use super::{Config, Observer, Trunk};
use steropes_nn::{BlockExtents, Conv2d, EncoderBlock, LayerNorm, LoadError, Rotary, Weights};
use steropes_ops::OpError;
use steropes_ops::vision::conv2d::ConvOptions;
use steropes_tensor::Tensor;

#[derive(Debug)]
pub(super) struct CrocoEncoder {
    patch_embed: Conv2d,
    blocks: Vec<EncoderBlock>,
    norm: LayerNorm,
}

impl CrocoEncoder {
    pub(super) fn load(
        weights: &Weights<'_>,
        config: &Config,
        Trunk { width, depth, heads }: Trunk,
    ) -> Result<Self, LoadError> {
        let patch_embed = Conv2d::load_patches(&weights.at("patch_embed.proj"), 3, width, config.patch_size)?;
        let (hidden, norm_eps) = (config.hidden(width), config.norm_eps);
        let extents = BlockExtents { width, heads, hidden, norm_eps, has_layer_scale: false };
        let blocks = weights.at("enc_blocks");
        let blocks = blocks.each(depth, |i| EncoderBlock::load(&blocks.at(i), &extents))?;
        let norm = LayerNorm::load(&weights.at("enc_norm"), width, norm_eps)?;
        Ok(Self { patch_embed, blocks, norm })
    }

    /// The normalised tokens, `[batch, rows * columns, width]`.
    pub(super) fn forward(
        &self,
        images: &Tensor,
        rotary: &Rotary,
        observe: &mut Observer<'_>,
    ) -> Result<Tensor, OpError> {
        let map = self.patch_embed.forward(images, ConvOptions::default())?;
        let &[batch, rows, columns, width] = map.shape() else { unreachable!("images have four extents") };
        let mut tokens =
            map.reshape(&[batch, rows * columns, width]).expect("rows and columns become one axis");
        observe("patch_embed", &tokens);
        for (i, block) in self.blocks.iter().enumerate() {
            tokens = block.forward(tokens, Some(rotary))?;
            observe(&format!("enc_blocks.{i}"), &tokens);
        }
        let tokens = self.norm.forward(&tokens)?;
        observe("enc_norm", &tokens);
        Ok(tokens)
    }
}
