//! The image encoder: a vision transformer with rotary positions.

use super::{Config, Observer};
use crate::ModelError;
use steropes_nn::{Attention, Conv2d, LayerNorm, LoadError, Mlp, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::copy::copy_rows;
use steropes_ops::vision::conv2d::ConvOptions;
use steropes_tensor::{Device, Tensor};

/// Images after the encoder. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(super) tokens: Tensor,
    pub(super) positions: Tensor,
    pub(super) grid: [usize; 2],
    pub(super) size: [usize; 2],
}

impl Encoded {
    /// The images in groups of `each`, the last of which may have fewer.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device has no memory for them.
    ///
    /// # Panics
    /// If `each` is 0.
    pub fn split(&self, each: usize) -> Result<Vec<Self>, ModelError> {
        let group = |first: usize| -> Result<Self, ModelError> {
            let tokens = copy_rows(&self.tokens, first..(first + each).min(self.batch()))?;
            let positions = grid_positions(&tokens.device(), tokens.shape()[0], self.grid);
            Ok(Self { tokens, positions, grid: self.grid, size: self.size })
        };
        (0..self.batch()).step_by(each).map(group).collect()
    }

    /// The normalised tokens, `[batch, rows * columns, width]`, row by row.
    pub fn tokens(&self) -> &Tensor {
        &self.tokens
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.tokens.shape()[0]
    }

    /// Height and width of the images in pixels.
    pub fn size_px(&self) -> [usize; 2] {
        self.size
    }

    /// Rows and columns of patches.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    patch_embed: Conv2d,
    blocks: Vec<EncoderBlock>,
    norm: LayerNorm,
    patch: usize,
}

impl Encoder {
    pub(super) fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let (patch, width) = (config.patch_size, config.encoder.width);
        let patch_embed = Conv2d::load_patches(&weights.at("patch_embed.proj"), 3, width, patch)?;
        let block = |i| EncoderBlock::load(&weights.at("enc_blocks").at(i), config);
        let blocks = (0..config.encoder.depth).map(block).collect::<Result<_, _>>()?;
        let norm = LayerNorm::load(&weights.at("enc_norm"), width, config.norm_eps)?;
        Ok(Self { patch_embed, blocks, norm, patch })
    }

    /// Encodes normalised images `[batch, height, width, 3]` whose sides are multiples of the patch size.
    pub(super) fn forward(&self, images: &Tensor, observe: &mut Observer<'_>) -> Result<Encoded, ModelError> {
        let (patch, shape) = (self.patch, images.shape());
        let [batch, height, width] = match *shape {
            [batch, height, width, 3]
                if images_fit(batch, height, patch) && images_fit(batch, width, patch) =>
            {
                [batch, height, width]
            }
            _ => {
                let expected = format!("[batch, height, width, 3] with sides that are multiples of {patch}");
                return Err(OpError::shape("encode", "image", expected, shape).into());
            }
        };
        let grid = [height / patch, width / patch];
        let tokens = self.patch_embed.forward(images, ConvOptions::default())?;
        let flat = [batch, grid[0] * grid[1], tokens.shape()[3]];
        let mut tokens = tokens.reshape(&flat).expect("rows and columns become one axis");
        observe("patch_embed", &tokens);
        let positions = grid_positions(&images.device(), batch, grid);
        for (i, block) in self.blocks.iter().enumerate() {
            tokens = block.forward(tokens, &positions)?;
            observe(&format!("enc_blocks.{i}"), &tokens);
        }
        let tokens = self.norm.forward(&tokens)?;
        observe("enc_norm", &tokens);
        Ok(Encoded { tokens, positions, grid, size: [height, width] })
    }
}

fn images_fit(batch: usize, side: usize, patch: usize) -> bool {
    batch > 0 && side > 0 && side.is_multiple_of(patch)
}

/// (row, column) of every patch of every image, `[batch, rows * columns, 2]`.
fn grid_positions(device: &Device, batch: usize, [rows, columns]: [usize; 2]) -> Tensor {
    let places: Vec<u32> =
        (0..rows as u32).flat_map(|r| (0..columns as u32).flat_map(move |c| [r, c])).collect();
    Tensor::new(device, &[batch, rows * columns, 2], places.repeat(batch)).expect("two numbers per patch")
}

/// `x += attn(norm1(x)); x += mlp(norm2(x))`.
#[derive(Debug)]
struct EncoderBlock {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl EncoderBlock {
    fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let width = config.encoder.width;
        let norm = |name: &str| LayerNorm::load(&weights.at(name), width, config.norm_eps);
        Ok(Self {
            norm1: norm("norm1")?,
            attn: Attention::load_self(&weights.at("attn"), width, config.encoder.heads, config.rope_base)?,
            norm2: norm("norm2")?,
            mlp: Mlp::load(&weights.at("mlp"), width, config.hidden(width), width)?,
        })
    }

    fn forward(&self, x: Tensor, positions: &Tensor) -> Result<Tensor, OpError> {
        let normed = self.norm1.forward(&x)?;
        let x = self.attn.forward_self(x, &normed, positions)?;
        let normed = self.norm2.forward(&x)?;
        self.mlp.forward_add(x, &normed)
    }
}
