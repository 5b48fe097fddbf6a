//! The encoder, from images to normalised tokens.

use super::resize_positions;
use crate::mast3r::Observer;
use crate::precision::upload;
use crate::{Config, ModelError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use steropes_nn::{BlockExtents, Checkpoint, Conv2d, EncoderBlock, LayerNorm, LoadError, Value, Weights};
use steropes_ops::elementwise::concat::concat;
use steropes_ops::matching::gather_rows::gather_rows;
use steropes_ops::vision::conv2d::ConvOptions;
use steropes_tensor::{DType, Device, Tensor, TensorError};

/// Mean and standard deviation of the channels of ImageNet, for colours in [0, 1].
const IMAGENET: [(f64, f64); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
/// What is added to the variance in the last normalisation; the others have that of the configuration.
const LAST_NORM_EPS: f32 = 1e-5;
/// Sizes of inputs whose positions are kept.
const KEPT_SIZES: usize = 8;

/// The encoder.
///
/// Tokens stand in the order class token, registers, patches. Positions are added to the class token and the patches; registers
/// have none. The encoder's own last normalisation is left out: the one of the pair network stands in its place.
#[derive(Debug)]
pub(crate) struct DuneEncoder {
    /// The patches of images in [-1, 1]; the step to the statistics of ImageNet is part of the weights.
    patch_embed: Conv2d,
    learned: Learned,
    blocks: Vec<EncoderBlock>,
    norm: LayerNorm,
    placed: Mutex<BTreeMap<[usize; 3], Placed>>,
}

/// What is learned about places, on the host.
#[derive(Debug)]
struct Learned {
    width: usize,
    /// Side of the grid of positions.
    side: usize,
    /// `[side, side, width]`.
    positions: Vec<f32>,
    /// The class token with its position, then the registers: `[1 + registers, width]`.
    prefix: Vec<f32>,
    dtype: DType,
}

/// What is learned about places, for images of one size. Cloning shares the memory.
#[derive(Clone, Debug)]
struct Placed {
    /// `[batch, rows, columns, width]`.
    positions: Tensor,
    /// `[batch, (1 + registers) width]`.
    prefix: Tensor,
    /// The numbers of the patches among the tokens of all images, `[batch * rows * columns]`, u32.
    patches: Tensor,
}

impl DuneEncoder {
    /// Reads the encoder below `weights` and its last normalisation at `norm`. The number of blocks and of registers is that of
    /// the file.
    pub(crate) fn load(
        weights: &Weights<'_>,
        norm: &Weights<'_>,
        config: &Config,
        heads: usize,
    ) -> Result<Self, LoadError> {
        let width = config.encoder.width();
        let inputs = IMAGENET.map(|(mean, deviation)| (0.5 / deviation, (0.5 - mean) / deviation));
        let patch = weights.at("patch_embed.proj");
        let blocks = weights.at("blocks.0");
        let depth = (0..).take_while(|&i| blocks.at(i).has("norm1.weight")).count();
        let block = |i: usize| {
            let weights = blocks.at(i);
            let [hidden, _] = weights.shape("mlp.fc1.weight")?;
            let norm_eps = config.norm_eps;
            EncoderBlock::load(
                &weights,
                &BlockExtents { width, heads, hidden, norm_eps, has_layer_scale: true },
            )
        };
        Ok(Self {
            patch_embed: Conv2d::load_patches_of(&patch, &inputs, width, config.patch_size)?,
            learned: Learned::load(weights, width)?,
            // Without any block the first is missing.
            blocks: blocks.each(depth.max(1), block)?,
            norm: LayerNorm::load(norm, width, LAST_NORM_EPS)?,
            placed: Mutex::default(),
        })
    }

    /// The normalised tokens of the patches, `[batch, rows * columns, width]`, of images `[batch, height, width, 3]` in [-1, 1]
    /// whose sides are multiples of the patch size.
    pub(crate) fn forward(
        &self,
        images: &Tensor,
        grid: [usize; 2],
        observe: &mut Observer<'_>,
    ) -> Result<Tensor, ModelError> {
        let (batch, count, width) = (images.shape()[0], grid[0] * grid[1], self.learned.width);
        let placed = self.placed([batch, grid[0], grid[1]], &images.device())?;
        let options = ConvOptions { residual: Some(&placed.positions), ..ConvOptions::default() };
        let patches = self.patch_embed.forward(images, options)?;
        let patches = patches.reshape(&[batch, count * width]).expect("a token per patch");
        let tokens = concat(&placed.prefix, &patches)?;
        let all = self.learned.before_patches() + count;
        let mut tokens = tokens.reshape(&[batch, all, width]).expect("a token per row");
        for (i, block) in self.blocks.iter().enumerate() {
            tokens = block.forward(tokens, None)?;
            observe(&format!("dune.blocks.0.{i}"), &tokens);
        }
        let rows = tokens.reshape(&[batch * all, width]).expect("images one after the other");
        let patches = gather_rows(&rows, &placed.patches)?;
        let patches = patches.reshape(&[batch, count, width]).expect("a token per patch");
        let tokens = self.norm.forward(&patches)?;
        observe("norm", &tokens);
        Ok(tokens)
    }

    /// What is learned about places, for `batch` images of `rows x columns` patches; kept for the next ones.
    fn placed(&self, size: [usize; 3], device: &Device) -> Result<Placed, ModelError> {
        let mut kept = self.placed.lock().expect("no panic while the lock is held");
        if let Some(placed) = kept.get(&size) {
            return Ok(placed.clone());
        }
        if kept.len() >= KEPT_SIZES {
            kept.clear();
        }
        let placed = self.learned.on(device, size)?;
        kept.insert(size, placed.clone());
        Ok(placed)
    }
}

impl Learned {
    fn load(weights: &Weights<'_>, width: usize) -> Result<Self, LoadError> {
        let [_, places, _] = weights.shape("pos_embed")?;
        let side = places.saturating_sub(1).isqrt();
        if side == 0 || places != 1 + side * side {
            let (expected, found) = (format!("[1, 1 + a square, {width}]"), weights.shape::<3>("pos_embed")?);
            return Err(weights.wrong_shape("pos_embed", expected, &found));
        }
        let mut class_position = weights.values("pos_embed", &[1, places, width])?;
        let positions = class_position.split_off(width);
        let mut prefix = weights.values("cls_token", &[1, 1, width])?;
        prefix.iter_mut().zip(&class_position).for_each(|(token, position)| *token += position);
        if weights.has("register_tokens") {
            let [_, registers, _] = weights.shape("register_tokens")?;
            prefix.extend(weights.values("register_tokens", &[1, registers, width])?);
        }
        Ok(Self { width, side, positions, prefix, dtype: weights.precision().values() })
    }

    /// Number of tokens in front of those of the patches.
    fn before_patches(&self) -> usize {
        self.prefix.len() / self.width
    }

    fn on(&self, device: &Device, [batch, rows, columns]: [usize; 3]) -> Result<Placed, ModelError> {
        let positions = resize_positions(&self.positions, [self.side, self.width], [rows, columns]);
        let (before, count) = (self.before_patches(), rows * columns);
        let first = |image: usize| image * (before + count) + before;
        let patches: Vec<u32> =
            (0..batch).flat_map(|image| (first(image)..first(image) + count).map(|row| row as u32)).collect();
        let shape = [batch, rows, columns, self.width];
        let [positions, prefix] =
            [(&shape[..], positions), (&[batch, self.prefix.len()], self.prefix.clone())]
                .map(|(shape, each)| upload(device, self.dtype, shape, each.repeat(batch)));
        let patches = Tensor::new(device, &[batch * count], patches);
        let [positions, prefix, patches] = [positions, prefix, patches].map(|tensor| match tensor {
            Err(TensorError::Device(error)) => Err(error),
            tensor => Ok(tensor.expect("as many values as the shape has")),
        });
        Ok(Placed { positions: positions?, prefix: prefix?, patches: patches? })
    }
}

/// The path of the encoder in a file that holds it: that of its class token, to which training programs add names of their wrappers.
/// Only a file without a pair network may hold it at its root, where the last normalisations of both have one name.
pub(crate) fn root_of(checkpoint: &Checkpoint) -> Option<String> {
    const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "encoder", "dune_backbone"];
    let path = |name: &str| Some(name.strip_suffix("cls_token")?.trim_end_matches('.').to_owned());
    let has_pair = checkpoint.names().any(|name| name.starts_with("mast3r."));
    let is_root = |path: &String| match path.as_str() {
        "" => !has_pair,
        path => path.split('.').all(|part| WRAPPERS.contains(&part)),
    };
    checkpoint.names().filter_map(path).find(is_root)
}

/// The file with the encoder in the folder of the pair network: one called so, or the published file of the encoder that the network
/// was trained with (`dune_vitbase_14_448_encoder` is in `dune_vitbase14_448.pth`).
pub(crate) fn encoder_beside(folder: &Path, checkpoint: &Checkpoint) -> Option<PathBuf> {
    let published = checkpoint.value("dune_backbone_name").and_then(Value::as_text).map(|name| {
        format!("{}.pth", name.strip_suffix("_encoder").unwrap_or(name).replacen("_14_", "14_", 1))
    });
    // The name comes from the file: it must not lead out of the folder.
    let published = published.filter(|name| !name.contains(['/', '\\']));
    let names = ["encoder.safetensors".to_owned(), "encoder.pth".to_owned()].into_iter().chain(published);
    names.map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Whether inference has no use for the tensor `name` of a file whose encoder is at `root`: what only training needs, the encoder's
/// own last normalisation, and the encoder that the pair network would have without this one.
pub(crate) fn is_known_unused(name: &str, root: Option<&str>) -> bool {
    let in_encoder = root.and_then(|root| match root {
        "" => Some(name),
        root => name.strip_prefix(root)?.strip_prefix('.'),
    });
    matches!(in_encoder, Some("mask_token" | "norm.weight" | "norm.bias"))
        || matches!(name, "imagenet_mean" | "imagenet_std")
        || ["mast3r.patch_embed.", "mast3r.enc_blocks.", "mast3r.enc_norm."]
            .iter()
            .any(|p| name.starts_with(p))
        || name.split('.').any(|part| part == "projectors" || part == "teacher_norms")
}
